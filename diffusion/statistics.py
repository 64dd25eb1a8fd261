"""Intervals for accuracies. In: right and wrong answers. Out: 95 % intervals, as shares of 1.

Axes: N problems.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_Z = 1.959963984540054  # 97.5 % point of the normal distribution
RESAMPLES = 10_000


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
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def paired_difference(
    first_N: Sequence[bool], second_N: Sequence[bool], *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Accuracy of the first system minus the second's on the same problems.

    Percentile bootstrap over problems. Since each is worth -1, 0 or 1, a resample is one draw of
    three counts from a multinomial distribution.
    """
    if len(first_N) != len(second_N) or not len(first_N):
        raise ValueError(f"{len(first_N)} answers against {len(second_N)}: no pairs")
    delta = np.asarray(first_N, dtype=np.int64) - np.asarray(second_N, dtype=np.int64)
    count = len(delta)
    shares = [(delta == sign).mean() for sign in (-1, 0, 1)]
    drawn = np.random.default_rng(seed).multinomial(count, shares, size=resamples)
    low, high = np.quantile((drawn[:, 2] - drawn[:, 0]) / count, [0.025, 0.975])
    return Interval(float(delta.mean()), float(low), float(high))
