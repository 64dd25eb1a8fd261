"""Means, slopes and bins of many documents."""

import numpy as np
import pytest

from scorers.seqdep.curve import BINS, FEW, Interval, curve


def test_a_line_has_its_slope_and_no_spread() -> None:
    tokens = list(range(100, 1100, 10))
    found = curve([2 + 0.003 * t for t in tokens], tokens)
    assert found.slope is not None and found.mean is not None
    assert found.slope.value == pytest.approx(3.0)  # a thousand tokens
    assert (found.slope.low, found.slope.high) == pytest.approx((3.0, 3.0))
    assert found.mean.value == pytest.approx(2 + 0.003 * np.mean(tokens))
    assert found.documents == 100


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(7)
    held, trials = np.zeros(2), 200
    for seed in range(trials):
        tokens = random.integers(50, 2000, 60).tolist()
        values = (1.0 + 0.0005 * np.array(tokens) + random.normal(0, 1, 60)).tolist()
        found = curve(values, tokens, seed=seed)
        assert found.mean is not None and found.slope is not None
        assert found.mean.low is not None and found.mean.high is not None
        assert found.slope.low is not None and found.slope.high is not None
        expected = 1.0 + 0.0005 * np.mean(tokens)
        held += (
            found.mean.low <= expected <= found.mean.high,
            found.slope.low <= 0.5 <= found.slope.high,
        )
    assert (held / trials > 0.88).all() and (held / trials < 0.99).all()


def test_bins_hold_every_document_once() -> None:
    random = np.random.default_rng(1)
    tokens = random.integers(10, 60, 500).tolist()  # many equal lengths
    found = curve(random.normal(size=500).tolist(), tokens)
    assert sum(one.documents for one in found.bins) == 500
    assert 2 <= len(found.bins) <= BINS
    for one, after in zip(found.bins, found.bins[1:], strict=False):
        assert one.shortest <= one.tokens <= one.longest < after.shortest
        assert one.quartile_1 <= one.median <= one.quartile_3


def test_few_documents_have_no_curve_and_one_has_no_mean() -> None:
    few = curve([1.0, 2.0] * (FEW // 2 - 1), list(range(FEW - 2)))
    assert few.mean == Interval(1.5, None, None)  # a bootstrap of few is too sure of itself
    assert (few.slope, few.bins) == (None, ())
    assert curve([1.0], [5]).mean is None
    assert curve([], []).documents == 0
    same = curve([1.0] * 40, [7] * 40)
    assert (same.slope, same.bins) == (None, ())
    with pytest.raises(ValueError, match="2 values for 1 lengths"):
        curve([1.0, 2.0], [1])


def test_the_same_documents_give_the_same_intervals() -> None:
    values, tokens = [float(i % 7) for i in range(50)], list(range(50))
    assert curve(values, tokens) == curve(values, tokens)
