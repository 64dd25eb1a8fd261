"""Statistics of many SeqDep values: mean, slope, and the curve over length (Figures 3 and 7).

In: one value and one length in tokens for each document. Out: means with 95 % intervals
(percentiles of 2,000 seeded bootstrap samples of documents, 400 above 10,000 documents), quartiles
in bins of length. Under `FEW` documents there is no curve and no slope. Axes: D documents.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from support.stats import Floats, percentile_interval, resampled

FEW = 30
SAMPLES, SAMPLES_OF_MANY, MANY = 2_000, 400, 10_000
BINS = 10
PER_TOKENS = 1_000  # a slope is a change a thousand tokens


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95 % interval, which is None under `FEW` documents."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Bin:
    """Documents of `shortest` to `longest` tokens; bins have equal numbers, but for ties."""

    shortest: int
    longest: int
    tokens: float
    documents: int
    mean: float
    quartile_1: float
    median: float
    quartile_3: float


@dataclass(frozen=True, slots=True)
class Curve:
    """The mean over D documents, the slope over length (a thousand tokens), and the bins.

    `mean` is None under two documents. `slope` is None and `bins` empty under `FEW` documents, or
    if all have one length.
    """

    documents: int
    mean: Interval | None
    slope: Interval | None
    bins: tuple[Bin, ...]


def curve(values_D: Sequence[float], tokens_D: Sequence[float], *, seed: int = 0) -> Curve:
    """The curve of values over tokens; ValueError if their numbers differ."""
    if len(values_D) != len(tokens_D):
        raise ValueError(f"{len(values_D)} values for {len(tokens_D)} lengths")
    values, tokens = np.asarray(values_D, float), np.asarray(tokens_D, float)
    if len(values) < 2:
        return Curve(len(values), None, None, ())
    if len(values) < FEW:  # the bootstrap interval of few documents is far too narrow
        return Curve(len(values), Interval(float(values.mean()), None, None), None, ())
    means, slopes = resampled(
        lambda rows: np.stack([values[rows].mean(1), _slopes(values[rows], tokens[rows])]),
        len(values),
        samples=SAMPLES if len(values) <= MANY else SAMPLES_OF_MANY,
        seed=seed,
    )
    mean = Interval(*percentile_interval(float(values.mean()), means))
    if tokens.min() == tokens.max():
        return Curve(len(values), mean, None, ())
    slope = float(_slopes(values[None], tokens[None])[0])
    interval = Interval(*percentile_interval(slope, slopes))
    return Curve(len(values), mean, interval, _bins(values, tokens))


def _slopes(values: Floats, tokens: Floats) -> Floats:
    """Least-squares slopes along the last axis; 0 where all lengths are equal."""
    x = tokens - tokens.mean(-1, keepdims=True)
    variance = (x * x).sum(-1)
    slopes: Floats = np.divide(
        (x * values).sum(-1), variance, out=np.zeros_like(variance), where=variance > 0
    )
    return slopes * PER_TOKENS


def _bins(values: Floats, tokens: Floats) -> tuple[Bin, ...]:
    order = np.argsort(tokens, kind="stable")
    values, tokens = values[order], tokens[order]
    edges = np.unique(
        np.searchsorted(tokens, np.quantile(tokens, np.linspace(0, 1, BINS + 1)[1:-1]))
    )
    bins = []
    for part, lengths in zip(np.split(values, edges), np.split(tokens, edges), strict=True):
        if not len(part):
            continue
        first, middle, third = np.percentile(part, (25, 50, 75))
        bins.append(
            Bin(
                shortest=int(lengths[0]),
                longest=int(lengths[-1]),
                tokens=float(lengths.mean()),
                documents=len(part),
                mean=float(part.mean()),
                quartile_1=float(first),
                median=float(middle),
                quartile_3=float(third),
            )
        )
    return tuple(bins)
