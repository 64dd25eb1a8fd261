"""Counts, quantiles and intervals, once for everything that is printed, drawn or released.

A quantile that is shown is the least value with at least that share of all values at or below it,
and where that is exactly the share, the middle between it and the next one (definition 2 of
Hyndman and Fan 1996): of an even number of values the median is the middle of the two in the
middle. A limit that is learnt is a value that occurs (`rank`, definition 1). The ends of a
bootstrap's interval lie between two of its samples (definition 7, numpy's own).
Axes: N values, S bootstrap samples.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES = 10_000
_Z = 1.959963984540054  # 97.5 % point of the normal distribution
_DRAWN = 1 << 22  # counts of a bootstrap that are in memory at a time
_CELLS = 1 << 20  # resampled values that are in memory at a time


class Interval(NamedTuple):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


class Binned(NamedTuple):
    """Values in every bin [K]; `beyond` of them lie outside and are counted in the outermost."""

    bins: NDArray[np.int64]
    beyond: int


def rank(share: float, count: int) -> int:
    """The nearest rank of a quantile among `count` values, from 1."""
    # 0.55 * 100 is 55.00000000000001 in floats; that must not make the rank 56.
    return max(1, math.ceil(round(share * count, 9)))


def binned(values_N: Floats, edges: Floats) -> Binned:
    """Count finite values by bin, of edges [K + 1]; a bin holds its lower edge, the last both."""
    inside = np.clip(values_N, edges[0], edges[-1])
    return Binned(np.histogram(inside, edges)[0], int(np.count_nonzero(inside != values_N)))


class Histogram:
    """How often each value occurs, rounded to `digits`; None, NaN and infinities are missing."""

    def __init__(self, digits: int) -> None:
        self.missing = 0
        self._digits = digits
        self._counts: Counter[float] = Counter()

    def add(self, values: Iterable[float | None]) -> None:
        """Count more values."""
        for value in values:
            if value is None or not math.isfinite(value):
                self.missing += 1
            else:
                self._counts[round(float(value), self._digits) + 0.0] += 1

    @property
    def count(self) -> int:
        """How many values there are, without the missing ones."""
        return self._counts.total()

    def mean(self) -> float:
        """The mean, rounded; ZeroDivisionError without values."""
        total = math.fsum(value * n for value, n in sorted(self._counts.items()))
        return round(total / self.count, self._digits) + 0.0

    def quantiles(self, shares: Sequence[float], *, occurring: bool = False) -> list[float]:
        """The quantiles of shares, 0 for the least value; IndexError without values.

        `occurring`: none lies between two values, as in statistics of earlier versions.
        """
        ordered = sorted(self._counts.items())
        ends = np.cumsum([n for _, n in ordered])
        found = []
        for share in shares:
            first = last = rank(share, self.count)
            is_between = 0 < share < 1 and abs(share * self.count - first) < 1e-9
            if is_between and not occurring:
                last = first + 1
            low, high = (ordered[at][0] for at in np.searchsorted(ends, (first, last)))
            found.append(low if low == high else round((low + high) / 2, self._digits) + 0.0)
        return found


def t_point(freedom: int) -> float:
    """The 97.5 % point of Student's t; ValueError without a degree of freedom.

    With three or more it is Cornish and Fisher's expansion, which is right to 0.2 %.
    """
    if freedom < 1:
        raise ValueError(f"{freedom} degrees of freedom")
    if freedom < 3:
        return (12.706205, 4.302653)[freedom - 1]
    z, n = _Z, freedom
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * n**4)
    )


def t_interval(values_N: Sequence[float]) -> Interval:
    """The mean of independent values with its Student's t interval; ValueError of fewer than two.

    It is for a few values, such as one a training seed. Equal ones have an interval without width.
    """
    point = t_point(len(values_N) - 1)
    value = math.fsum(values_N) / len(values_N)
    variance = math.fsum((one - value) ** 2 for one in values_N) / (len(values_N) - 1)
    half = point * math.sqrt(variance / len(values_N))
    return Interval(value, value - half, value + half)


def wilson(right: int, count: int) -> Interval:
    """Wilson's score interval of a share (Wilson 1927); ValueError where nothing was counted."""
    if not 0 <= right <= count or count < 1:
        raise ValueError(f"{right} of {count} is no share")
    share, z2 = right / count, _Z**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    # Rounding must not put a share outside of its own interval.
    return Interval(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p of so uneven a split of discordant pairs by chance (exact McNemar test)."""
    count = wins + losses
    ways = sum(math.comb(count, k) for k in range(min(wins, losses) + 1))
    return min(1.0, float(Fraction(2 * ways, 1 << count)))


def percentile_interval(value: float, samples_S: Floats) -> Interval:
    """An estimate with the middle 95 % of its bootstrap samples (Efron 1979)."""
    low, high = np.quantile(samples_S, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def mean(values_N: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The mean of values with its bootstrap interval; ValueError without any."""
    if not len(values_N):
        raise ValueError("no values have no mean")
    # Equal values are drawn together: a resample is how often each of them came.
    found_K, counts_K = np.unique(np.asarray(values_N, dtype=np.float64), return_counts=True)
    count = int(counts_K.sum())
    rng = np.random.default_rng(seed)
    size = max(1, _DRAWN // len(found_K))
    sums = [
        rng.multinomial(count, counts_K / count, size=min(size, resamples - start)) @ found_K
        for start in range(0, resamples, size)
    ]
    return percentile_interval(float(found_K @ counts_K / count), np.concatenate(sums) / count)


def paired_difference(
    first_N: Sequence[float],
    second_N: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """What the first has on the same problems more than the second, on average.

    The bootstrap is over problems; ValueError where the numbers of values differ or are 0.
    """
    if len(first_N) != len(second_N) or not len(first_N):
        raise ValueError(f"{len(first_N)} answers against {len(second_N)}: no pairs")
    delta_N = np.asarray(first_N, dtype=np.float64) - np.asarray(second_N, dtype=np.float64)
    return mean(delta_N.tolist(), seed=seed, resamples=resamples)


def resampled(
    statistic: Callable[[NDArray[np.intp]], Floats], count: int, *, samples: int, seed: int = 0
) -> Floats:
    """A statistic of bootstrap samples of `count` rows.

    `statistic` maps drawn row numbers [S', N] to values whose last axis is S'; so is the result's.
    """
    rng = np.random.default_rng(seed)
    size = max(1, _CELLS // count)
    parts = [
        statistic(rng.integers(0, count, (min(size, samples - start), count)))
        for start in range(0, samples, size)
    ]
    return np.concatenate(parts, axis=-1)
