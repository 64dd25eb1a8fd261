"""Intervals are what the books say; a quantile is one thing; a histogram loses no value."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.stats import (
    Histogram,
    binned,
    mean,
    paired_difference,
    rank,
    sign_test,
    t_point,
    wilson,
)


@given(st.integers(0, 1000), st.integers(1, 500))
def test_a_quantile_is_the_least_value_with_its_share_at_or_below_it(share: int, n: int) -> None:
    expected = next(k for k in range(1, n + 1) if 1000 * k >= share * n)
    assert rank(share / 1000, n) == expected


def test_a_histogram_rounds_and_counts_what_is_missing() -> None:
    found = Histogram(2)
    found.add([1, 0.004, -0.001, None, math.nan, math.inf, 2.004])
    assert (found.count, found.missing) == (4, 3)
    assert found.quantiles((0, 0.5, 0.51, 1)) == [0.0, 0.5, 1.0, 2.0]
    assert str(found.quantiles((0,))[0]) == "0.0", "no zero has a sign"
    assert found.mean() == 0.75


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=50))
def test_a_median_is_the_middle(values: list[int]) -> None:
    found = Histogram(2)
    found.add(values)
    assert found.quantiles((0.5,)) == [statistics.median(values)]
    assert found.quantiles((0, 1)) == [min(values), max(values)]
    (occurring,) = found.quantiles((0.5,), occurring=True)
    assert occurring == statistics.median_low(values)
    shares = (0.05, 0.25, 0.75, 0.95)
    wanted = np.quantile(values, shares, method="averaged_inverted_cdf")
    assert found.quantiles(shares) == pytest.approx(wanted)


@given(st.lists(st.floats(-9, 9), max_size=50))
def test_every_value_is_in_a_bin(values: list[float]) -> None:
    found = binned(np.array(values), np.array([-3.0, 0.0, 3.0]))
    assert found.bins.sum() == len(values)
    assert found.bins[0] == sum(value < 0 for value in values)
    assert found.beyond == sum(abs(value) > 3 for value in values)


def test_wilsons_interval_is_the_published_one() -> None:
    assert wilson(8, 10) == pytest.approx((0.8, 0.490162, 0.943318), abs=1e-6)
    assert wilson(0, 10) == pytest.approx((0.0, 0.0, 0.277533), abs=1e-6)
    assert wilson(10, 10) == pytest.approx((1.0, 0.722467, 1.0), abs=1e-6)
    for count in range(1, 60):
        for right in range(count + 1):
            value, low, high = wilson(right, count)
            assert 0 <= low <= value <= high <= 1
    with pytest.raises(ValueError, match="0 of 0"):
        wilson(0, 0)


def test_the_exact_test_is_the_published_one() -> None:
    assert sign_test(4, 0) == sign_test(0, 4) == 0.125
    assert sign_test(12, 2) == pytest.approx(0.012939, abs=1e-6)
    assert sign_test(0, 0) == sign_test(3, 3) == 1.0
    assert 0 < sign_test(2_000, 1_800) < 0.01


def test_a_mean_has_the_interval_of_resampled_values() -> None:
    rng = np.random.default_rng(4)
    values = rng.random(80)
    means = values[rng.integers(0, 80, (40_000, 80))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    assert mean(values.tolist()) == pytest.approx((values.mean(), low, high), abs=0.004)
    assert mean([0.25] * 9) == (0.25, 0.25, 0.25)
    with pytest.raises(ValueError, match="no mean"):
        mean([])


def test_the_paired_bootstrap_equals_one_that_resamples_problems() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.random(150) < 0.7, rng.random(150) < 0.55
    found = paired_difference(first.tolist(), second.tolist(), resamples=40_000)
    picks = rng.integers(0, 150, (40_000, 150))
    means = (first.astype(float) - second)[picks].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    assert found == pytest.approx((first.mean() - second.mean(), low, high), abs=0.008)
    assert paired_difference([True, False], [True, False]) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="no pairs"):
        paired_difference([True], [])


@pytest.mark.parametrize(
    ("freedom", "point"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (7, 2.3646), (15, 2.1314), (200, 1.9719)],
)
def test_points_of_students_t_are_those_of_its_table(freedom: int, point: float) -> None:
    assert t_point(freedom) == pytest.approx(point, rel=2e-3)
    with pytest.raises(ValueError, match="0 degrees of freedom"):
        t_point(0)
