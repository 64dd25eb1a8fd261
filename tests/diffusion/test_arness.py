"""ARness: the cases of METHOD section 3 by hand, and chance by simulation."""

import numpy as np
import pytest

from diffusion.evaluation.arness import arness, global_arness, local_arness


def by_hand(steps: list[int], positions: list[int], k: int) -> float:
    """Eq. 2 as it is written, one commit after the other."""
    masked = sorted(positions)
    hits = 0
    for _, position in sorted(zip(steps, positions, strict=True)):
        hits += position in masked[:k]
        masked.remove(position)
    return hits / len(positions)


def test_left_to_right_is_1_at_any_number_of_tokens_a_step() -> None:
    positions = list(range(10, 74))
    for size in (1, 2, 4, 7):
        steps = [i // size for i in range(64)]
        assert global_arness(steps, positions) == 1.0
        assert local_arness(steps, positions) == 1.0


def test_the_order_in_a_step_decides_if_it_is_not_read_ascending() -> None:
    """Four tokens a step: 1.00 ascending, 0.25 descending; we read ascending whatever comes."""
    ascending = [c // 4 for c in range(64)], list(range(64))
    mixed = ascending[0], [4 * (c // 4) + 3 - c % 4 for c in range(64)]
    assert global_arness(*mixed) == global_arness(*ascending) == 1.0
    one_by_one = list(range(64)), mixed[1]
    assert global_arness(*one_by_one) == 0.25


def test_right_to_left_hits_only_the_last() -> None:
    steps, positions = list(range(50)), list(range(49, -1, -1))
    assert global_arness(steps, positions) == 1 / 50
    assert local_arness(steps, positions) == 0.0
    assert global_arness(steps, positions, k=2) == 2 / 50


def test_three_streams_score_about_a_third() -> None:
    """Ideal parallel-forced decoding of 3 x 100 masks, one token of each at every step."""
    steps = [c for c in range(100) for _ in range(3)]
    positions = [100 * block + c for c in range(100) for block in range(3)]
    assert global_arness(steps, positions) == pytest.approx(1 / 3, abs=0.03)
    assert local_arness(steps, positions) == 0.0


def test_gaps_are_not_neighbours() -> None:
    steps, positions = [0, 1, 2, 3, 4], [3, 4, 6, 7, 8]
    assert local_arness(steps, positions, k=1) == 3 / 4
    assert local_arness(steps, positions, k=2) == 1 / 3
    assert global_arness(steps, positions) == 1.0  # nothing masked lies left of any


@pytest.mark.parametrize("k", [1, 2, 5])
def test_random_orders_equal_eq_2_as_it_is_written(k: int) -> None:
    rng = np.random.default_rng(k)
    for _ in range(20):
        positions = rng.choice(200, 40, replace=False).tolist()
        steps = rng.integers(0, 15, 40).tolist()
        assert global_arness(steps, positions, k) == pytest.approx(by_hand(steps, positions, k))


@pytest.mark.parametrize("size", [1, 3, 8])
def test_chance_is_what_random_subsets_score(size: int) -> None:
    rng = np.random.default_rng(0)
    steps = [c // size for c in range(48)]
    scores = [global_arness(steps, rng.permutation(48).tolist()) for _ in range(3000)]
    found = arness(steps, list(range(48)))
    assert found is not None
    assert found.chance == pytest.approx(np.mean(scores), abs=0.004)


def test_corrected_is_0_at_chance_and_1_from_left_to_right() -> None:
    found = arness(list(range(30)), list(range(30)))
    assert found is not None
    assert (found.raw, found.corrected, found.commits) == (1.0, 1.0, 30)
    rng = np.random.default_rng(1)
    corrected = [
        one.corrected
        for _ in range(2000)
        if (one := arness([c // 4 for c in range(40)], rng.permutation(40).tolist()))
    ]
    assert np.mean(corrected) == pytest.approx(0, abs=0.01)


def test_what_has_no_order_has_no_arness() -> None:
    assert arness([], []) is None
    assert arness([0], [5]) is None
    assert arness([3, 3, 3], [1, 2, 9]) is None  # all at once
    with pytest.raises(ValueError, match="twice"):
        global_arness([0, 1], [4, 4])
    with pytest.raises(ValueError, match="1 steps for 2 positions"):
        global_arness([0], [4, 5])
