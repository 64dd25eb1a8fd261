"""The most diverse subset: optimal where it is exhaustive, admissible everywhere, deterministic."""

from itertools import combinations

import numpy as np
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curation.canvases.diverse_subset import diversity, exhaustive, greedy, most_diverse

Matrix = NDArray[np.float64]


def distances(values: list[int], size: int) -> Matrix:
    """A symmetric matrix [K, K] with few distinct values, so that ties are common."""
    distance_KK = np.zeros((size, size))
    for value, (i, j) in zip(values, combinations(range(size), 2), strict=False):
        distance_KK[i, j] = distance_KK[j, i] = value / 10
    return distance_KK


@st.composite
def problems(draw: st.DrawFn) -> tuple[Matrix, list[bool], int, int]:
    available = draw(st.integers(1, 8))
    pairs = available * (available - 1) // 2
    values = draw(st.lists(st.integers(0, 10), min_size=pairs, max_size=pairs))
    correct = draw(st.lists(st.booleans(), min_size=available, max_size=available))
    size = draw(st.integers(1, available))
    need = draw(st.integers(0, min(size, sum(correct))))
    return distances(values, available), correct, size, need


def brute(distance_KK: Matrix, correct: list[bool], size: int, need: int) -> tuple[int, ...]:
    best: tuple[int, ...] = ()
    for subset in combinations(range(len(correct)), size):
        if sum(correct[k] for k in subset) < need:
            continue
        if not best or diversity(distance_KK, subset) > diversity(distance_KK, best):
            best = subset
    return best


@given(problems())
def test_exhaustive_is_the_optimum_with_the_lowest_positions(
    problem: tuple[Matrix, list[bool], int, int],
) -> None:
    assert exhaustive(*problem) == brute(*problem)
    distance_KK, correct, size, need = problem
    assert most_diverse(1 - distance_KK, correct, size, need) == brute(*problem)


@given(problems())
@example((np.zeros((3, 3)), [False, True, True], 2, 2))
@example((np.zeros((4, 4)), [False, False, False, True], 1, 1))
def test_greedy_is_admissible_and_never_better_than_the_optimum(
    problem: tuple[Matrix, list[bool], int, int],
) -> None:
    distance_KK, correct, size, need = problem
    chosen = greedy(*problem)
    assert len(set(chosen)) == size
    assert list(chosen) == sorted(chosen)
    assert sum(correct[k] for k in chosen) >= need
    found, optimum = diversity(distance_KK, chosen), diversity(distance_KK, exhaustive(*problem))
    assert found <= optimum
    if size <= 2:
        assert found == optimum
    for old in chosen:  # no single swap helps
        for new in set(range(len(correct))) - set(chosen):
            swapped = sorted({*chosen, new} - {old})
            if sum(correct[k] for k in swapped) >= need:
                assert diversity(distance_KK, swapped) <= found


@given(st.integers(0, 50), st.integers(1, 40), st.integers(0, 20))
@settings(max_examples=20, deadline=None)
def test_many_traces(seed: int, size: int, need: int) -> None:
    rng = np.random.default_rng(seed)
    points_K2 = rng.random((40, 2))
    distance_KK = np.linalg.norm(points_K2[:, None] - points_K2[None], axis=-1) / 2
    correct = [bool(c) for c in rng.random(40) < 0.5]
    assume(need <= min(size, sum(correct)))
    chosen = most_diverse(1 - distance_KK, correct, size, need)
    assert len(set(chosen)) == size
    assert sum(correct[k] for k in chosen) >= need
    assert chosen == most_diverse(1 - distance_KK, correct, size, need)


def test_the_closest_pair_decides_before_the_mean() -> None:
    distance_KK = distances([9, 9, 1, 5, 5, 5], 4)
    distance_KK[0, 3] = distance_KK[3, 0] = 0.1
    # 0-1 and 0-2 are far, but the triple 1-2-3 has the larger closest distance.
    assert most_diverse(1 - distance_KK, [True] * 4, 3, 0) == (0, 1, 2)
    distance_KK[1, 2] = distance_KK[2, 1] = 0.4
    distance_KK[1, 3] = distance_KK[3, 1] = distance_KK[2, 3] = distance_KK[3, 2] = 0.4
    assert most_diverse(1 - distance_KK, [True] * 4, 3, 0) == (0, 1, 2)
    assert most_diverse(1 - distance_KK, [False, True, True, True], 3, 3) == (1, 2, 3)
