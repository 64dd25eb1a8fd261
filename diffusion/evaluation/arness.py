"""ARness: how much a decoding order resembles left to right (Eqs. 2 and 3, Li et al. 2026).

In: the commits of one row, each a step and a position. Out: shares. Positions of one step are read
in ascending order, so that a strict left-to-right decode is 1 at any number of tokens a step
(METHOD section 3). Positions that are never committed (a prompt, headers) do not count.

Axes: L commits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arness:
    """The ARness of a decode; every share lies in [0, 1] except `corrected` (at most 1).

    `raw` is Global-ARness@1, `chance` its expectation if each step commits a uniform random subset
    of as many masked positions, `corrected` = (raw - chance) / (1 - chance), `local` is
    Local-ARness@1, `commits` is L.
    """

    raw: float
    chance: float
    corrected: float
    local: float
    commits: int


def arness(steps_L: Sequence[int], positions_L: Sequence[int]) -> Arness | None:
    """ARness at k = 1 of commits in any order; None under two commits, or if chance is 1."""
    steps, positions = _ordered(steps_L, positions_L)
    if len(steps) < 2:
        return None
    raw, chance = _share(_is_leftmost(positions)), _chance(steps)
    if chance == 1.0:  # all in one step: there is no order
        return None
    return Arness(
        raw=raw,
        chance=chance,
        corrected=(raw - chance) / (1 - chance),
        local=_local(positions, 1),
        commits=len(steps),
    )


def global_arness(steps_L: Sequence[int], positions_L: Sequence[int], k: int = 1) -> float:
    """Global-ARness@k (Eqs. 2, 3): share of commits among the k leftmost positions still masked."""
    _, positions = _ordered(steps_L, positions_L)
    return _share(_ranks(positions) < k)


def local_arness(steps_L: Sequence[int], positions_L: Sequence[int], k: int = 1) -> float:
    """Local-ARness@k (Gong et al. 2025): share of commits c > k that end k + 1 neighbours."""
    _, positions = _ordered(steps_L, positions_L)
    return _local(positions, k)


def _ordered(steps_L: Sequence[int], positions_L: Sequence[int]) -> tuple[Numbers, Numbers]:
    steps = np.asarray(steps_L, dtype=np.int64)
    positions = np.asarray(positions_L, dtype=np.int64)
    if len(steps) != len(positions):
        raise ValueError(f"{len(steps)} steps for {len(positions)} positions")
    if len(np.unique(positions)) != len(positions):
        raise ValueError("a position is committed twice")
    order = np.lexsort((positions, steps))
    return steps[order], positions[order]


def _is_leftmost(positions: Numbers) -> NDArray[np.bool_]:
    """For each position, ascending: whether all positions left of it were committed before it.

    The same as a rank of 0, without the memory of L x L.
    """
    commit_L = np.argsort(positions)
    is_leftmost_L: NDArray[np.bool_] = commit_L == np.maximum.accumulate(commit_L)
    return is_leftmost_L


def _ranks(positions: Numbers) -> Numbers:
    """The number of positions left of each commit's that are still masked, [L]."""
    place = np.argsort(np.argsort(positions))  # 0 … L - 1 in the order of positions
    earlier_LL = np.tri(len(place), k=-1, dtype=np.bool_)  # [c, d]: d was committed before c
    left_LL = place[None, :] < place[:, None]
    ranks: Numbers = place - (earlier_LL & left_LL).sum(1)
    return ranks


def _chance(steps: Numbers) -> float:
    """Expected Global-ARness@1 of uniform random subsets: (1/L) sum of q / (m - q + 1) over steps.

    q positions are committed of m that are masked: the expected leading run of a random subset.
    """
    _, quotas = np.unique(steps, return_counts=True)
    masked = len(steps) - np.cumsum(quotas) + quotas  # before each step
    return float((quotas / (masked - quotas + 1)).sum() / len(steps))


def _local(positions: Numbers, k: int) -> float:
    if len(positions) <= k:
        return float("nan")
    return _share(
        np.all([positions[k - i : -i] == positions[k:] - i for i in range(1, k + 1)], axis=0)
    )


def _share(hits: NDArray[np.bool_]) -> float:
    return float(hits.mean()) if len(hits) else float("nan")
