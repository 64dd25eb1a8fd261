"""AUP, accuracy under parallelism: how well a decoder keeps its accuracy as it decodes faster.

In: pairs of parallelism (content tokens a forward pass) and accuracy (per cent), of one decoder at
several numbers of steps or thresholds. Out: the weighted area under their curve. d3LLM (Qian et al.
2026, arXiv 2601.07568) defines it; its code is `AUP_leaderboard/aup_utils.py`.

Axes: M points of a curve, S bootstrap samples, N problems.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from support.stats import RESAMPLES, Floats, Interval, percentile_interval, resampled

ALPHA = 3.0  # how much lost accuracy counts
MOST_LOST = 5.0  # points of accuracy that a point may be below the first
_ROUNDING = 1e-9  # points: exactly 5 points lower is still counted


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """What a decoder did at one speed, one value a problem.

    `right_N` is 1 where the problem was solved, `tokens_N` the content tokens that stayed,
    `passes_N` the forward passes.
    """

    right_N: Floats
    tokens_N: Floats
    passes_N: Floats

    @property
    def accuracy(self) -> float:
        """In per cent."""
        return 100 * float(self.right_N.sum()) / len(self.right_N)

    @property
    def parallelism(self) -> float:
        """Content tokens a forward pass."""
        return float(self.tokens_N.sum() / self.passes_N.sum())


def aup(parallelism_M: Sequence[float], accuracy_M: Sequence[float], best: float) -> float:
    """AUP of one curve; `best` is the highest accuracy on this task, of all that are compared.

    Accuracies are per cent. Points are taken in the order of their parallelism; those whose
    accuracy lies more than 5 points below the first are left out. ValueError without a point.
    """
    if not len(parallelism_M) or len(parallelism_M) != len(accuracy_M):
        raise ValueError(f"{len(parallelism_M)} speeds and {len(accuracy_M)} accuracies")
    speeds_M1, accuracies_M1 = (
        np.array(one, dtype=np.float64)[:, None] for one in (parallelism_M, accuracy_M)
    )
    return float(_areas(speeds_M1, accuracies_M1, np.array([best], dtype=np.float64))[0])


def aup_interval(
    points_M: Sequence[CurvePoint], others: Sequence[CurvePoint] = (), *, seed: int = 0
) -> Interval:
    """AUP of a curve with its 95 % interval (bootstrap over problems).

    All points, and all `others` that are compared, are of the same problems in the same order. The
    same problems are drawn for all of them, the best accuracy among them included.
    """
    everything = [*points_M, *others]
    value = aup(
        [one.parallelism for one in points_M],
        [one.accuracy for one in points_M],
        max(one.accuracy for one in everything),
    )

    def areas(drawn_SN: NDArray[np.intp]) -> Floats:
        right = [100 * one.right_N[drawn_SN].sum(1) / drawn_SN.shape[1] for one in everything]
        speeds_MS = np.array(
            [one.tokens_N[drawn_SN].sum(1) / one.passes_N[drawn_SN].sum(1) for one in points_M]
        )
        return _areas(speeds_MS, np.array(right[: len(points_M)]), np.max(right, axis=0))

    count = len(points_M[0].right_N)
    samples_S = resampled(areas, count, samples=RESAMPLES, seed=seed)
    return percentile_interval(value, samples_S)


def _areas(speeds_MS: Floats, accuracies_MS: Floats, best_S: Floats) -> Floats:
    """The weighted areas [S] under S curves; the first point's rectangle has no weight."""
    order_MS = np.argsort(speeds_MS, axis=0, kind="stable")
    speeds_MS = np.take_along_axis(speeds_MS, order_MS, 0)
    accuracies_MS = np.take_along_axis(accuracies_MS, order_MS, 0)
    loss_MS = 1 - accuracies_MS / np.where(best_S > 0, best_S, 1)  # all are 0 where the best is
    weighted_MS = accuracies_MS * np.minimum(np.exp(-ALPHA * loss_MS), 1)
    least_S = accuracies_MS[0] - MOST_LOST - _ROUNDING
    area_S = speeds_MS[0] * accuracies_MS[0]
    speed_S, height_S = speeds_MS[0], weighted_MS[0]  # of the last point that was kept
    for speed, height, accuracy in zip(
        speeds_MS[1:], weighted_MS[1:], accuracies_MS[1:], strict=True
    ):
        is_kept = accuracy >= least_S
        area_S = area_S + np.where(is_kept, (speed - speed_S) * (height + height_S) / 2, 0)
        speed_S = np.where(is_kept, speed, speed_S)
        height_S = np.where(is_kept, height, height_S)
    return np.asarray(area_S, dtype=np.float64)
