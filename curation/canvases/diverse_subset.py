"""The most diverse P of K traces. In: similarities and which traces are correct. Out: P positions.

Diversity is the max-min criterion: the subset whose two closest traces are farthest apart wins. Of
equal ones, the subset with the greatest total distance wins, then the one with the lowest
positions. If there are at most EXHAUSTIVE subsets, all are tried. Otherwise the search is greedy
with swaps; it too chooses enough correct traces, but may miss the best subset.

Axes: K traces, P chosen, C subsets, R candidates for one more place, B traces chosen so far.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

EXHAUSTIVE = 20_000  # subsets that are all tried: this takes a few milliseconds
_DIGITS = 12  # of totals: sums in another order differ in the last bits, and equals must stay equal


class SubsetDiversity(NamedTuple):
    """The least and the total distance between any two of the chosen; compared in this order."""

    least: float
    total: float


def most_diverse(
    similarity_KK: NDArray[np.float64],
    correct: Sequence[bool],
    size: int,
    need: int,
    need_other: int = 0,
) -> tuple[int, ...]:
    """Positions, ascending, of the most diverse `size` of K with at least `need` correct ones.

    Args:
        similarity_KK: symmetric similarities in [0, 1].
        correct: [K] whether each is correct.
        size: how many to choose, at most K.
        need: least number of correct ones, at most `size` and at most the correct ones there are.
        need_other: least number of those that are not; both needs together are at most `size`.
    """
    available = len(correct)
    assert size <= available, f"{size} of {available}"
    assert need <= min(size, sum(correct)), f"{need} correct of {sum(correct)}"
    others = available - sum(correct)
    assert need_other <= min(size - need, others), f"{need_other} others of {others}"
    if size == available:
        return tuple(range(size))
    distance_KK = 1.0 - similarity_KK
    if math.comb(available, size) <= EXHAUSTIVE:
        return exhaustive(distance_KK, correct, size, need, need_other)
    return greedy(distance_KK, correct, size, need, need_other)


def diversity(distance_KK: NDArray[np.float64], chosen: Sequence[int]) -> SubsetDiversity:
    """Least and total pairwise distance of the chosen; the least is 1 for one alone."""
    positions_P = np.array(sorted(chosen), dtype=np.intp)
    first, second = np.triu_indices(len(positions_P), k=1)
    pairs = distance_KK[positions_P[first], positions_P[second]].tolist()
    return SubsetDiversity(min(pairs, default=1.0), round(math.fsum(pairs), _DIGITS))


def exhaustive(
    distance_KK: NDArray[np.float64],
    correct: Sequence[bool],
    size: int,
    need: int,
    need_other: int = 0,
) -> tuple[int, ...]:
    """The best subset, found by trying all."""
    subsets_CP = _subsets(len(correct), size)
    right_C = np.asarray(correct)[subsets_CP].sum(axis=1)
    subsets_CP = subsets_CP[(right_C >= need) & (right_C <= size - need_other)]
    least_C = np.ones(len(subsets_CP))
    total_C = np.zeros(len(subsets_CP))
    for i, j in combinations(range(size), 2):
        pair_C = distance_KK[subsets_CP[:, i], subsets_CP[:, j]]
        np.minimum(least_C, pair_C, out=least_C)
        total_C += pair_C
    total_C = np.where(least_C == least_C.max(), total_C.round(_DIGITS), -1.0)
    return tuple(int(k) for k in subsets_CP[int(total_C.argmax())])


@lru_cache(maxsize=16)  # most prompts of a corpus have as many traces
def _subsets(available: int, size: int) -> NDArray[np.int64]:
    """All subsets, in lexicographic order: the first of equals has the lowest positions."""
    subsets_CP = np.array(list(combinations(range(available), size)))
    subsets_CP.setflags(write=False)
    return subsets_CP


def greedy(
    distance_KK: NDArray[np.float64],
    correct: Sequence[bool],
    size: int,
    need: int,
    need_other: int = 0,
) -> tuple[int, ...]:
    """A good subset: the most distant pair, grown by one trace at a time, improved by swaps."""
    everyone = range(len(correct))

    def grow(base: Sequence[int]) -> tuple[SubsetDiversity, tuple[int, ...]] | None:
        """`base` and the one trace that makes it most diverse; both needs can still be met.

        None where no trace can be added.
        """
        right = sum(correct[k] for k in base)
        free = size - len(base)
        # Places that a trace may take that is not correct, and one that is.
        room, room_right = free - (need - right), free - (need_other - (len(base) - right))
        candidates = [
            k for k in everyone if k not in base and (room_right > 0 if correct[k] else room > 0)
        ]
        if room < 0 or room_right < 0 or not candidates:
            return None
        to_base_RB = distance_KK[np.ix_(candidates, list(base))]
        base_diversity = diversity(distance_KK, base)
        least_R = np.minimum(to_base_RB.min(axis=1, initial=1.0), base_diversity.least)
        total_R = np.where(least_R == least_R.max(), to_base_RB.sum(axis=1).round(_DIGITS), -1.0)
        subset = tuple(sorted((*base, candidates[int(total_R.argmax())])))
        return diversity(distance_KK, subset), subset

    starts = (grow(base) for base in ([(k,) for k in everyone] if size > 1 else [()]))
    best, chosen = max(filter(None, starts), key=lambda pair: pair[0])  # first of equals
    while len(chosen) < size:
        grown = grow(chosen)
        assert grown is not None, "enough correct ones were asserted by the caller"
        best, chosen = grown
    while True:
        bases = (tuple(k for k in chosen if k != old) for old in chosen)
        swapped = max(filter(None, map(grow, bases)), key=lambda pair: pair[0])
        if swapped[0] <= best:
            return chosen
        best, chosen = swapped
