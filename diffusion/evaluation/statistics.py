"""Intervals. In: right and wrong answers, or a value for each problem. Out: 95 % intervals.

Axes: N problems.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

_Z = 1.959963984540054  # 97.5 % point of the normal distribution
RESAMPLES = 10_000
_DRAWN = 1 << 22  # counts held at a time


class Interval(NamedTuple):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


def wilson(right: int, count: int) -> Interval:
    """Wilson's score interval of a share (Wilson 1927); ValueError where nothing was counted."""
    if not 0 <= right <= count or count < 1:
        raise ValueError(f"{right} of {count} is no share")
    share, z2 = right / count, _Z**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    # Rounding must not put a share outside of its own interval.
    return Interval(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def paired_difference(
    first_N: Sequence[float],
    second_N: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """What the first system has on the same problems more than the second, on average.

    Percentile bootstrap over problems (Efron 1979).
    """
    if len(first_N) != len(second_N) or not len(first_N):
        raise ValueError(f"{len(first_N)} answers against {len(second_N)}: no pairs")
    delta_N = np.asarray(first_N, dtype=np.float64) - np.asarray(second_N, dtype=np.float64)
    return mean(delta_N.tolist(), seed=seed, resamples=resamples)


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p of so uneven a split of discordant pairs by chance (exact McNemar test)."""
    count = wins + losses
    ways = sum(math.comb(count, k) for k in range(min(wins, losses) + 1))
    return min(1.0, float(Fraction(2 * ways, 1 << count)))


def mean(values_N: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The mean of values; percentile bootstrap over them. ValueError without any."""
    if not len(values_N):
        raise ValueError("no values have no mean")
    # Equal values are drawn together: a resample is how often each of them came.
    found_K, counts_K = np.unique(np.asarray(values_N, dtype=np.float64), return_counts=True)
    count = int(counts_K.sum())
    centre = float(found_K @ counts_K / count)
    rng = np.random.default_rng(seed)
    size = max(1, _DRAWN // len(found_K))
    means = [
        rng.multinomial(count, counts_K / count, size=min(size, resamples - start)) @ found_K
        for start in range(0, resamples, size)
    ]
    low, high = np.quantile(np.concatenate(means) / count, [0.025, 0.975])
    return Interval(centre, float(low), float(high))
