"""Keep canvases by sequential dependence (Eq. 4, Li et al. 2026), in nats.

In a recipe: `{kind: seqdep, max: 0.4}` for an absolute limit on the path level's nats per token, or
`{kind: seqdep, level: step, unit: nats, quantile: 0.9}` to keep what lies at or below the 0.9
quantile of the corpus. The quantile is one of the measured values (at least that share of them is
kept), found once in `fit` and frozen in the manifest with every digit of the float.
`{kind: seqdep, above_unrelated: 0.2}` keeps canvases whose paths gain at most so much more than
paths of other prompts do. Where the scorer does not tell that control from one path repeated, it
keeps every canvas.
"""

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from curation.filters import Filter
from schemas.facts import ControlFacts
from schemas.records import Canvas, Scores, Verdict
from support.display.digits import distinguishable
from support.errors import UserError
from support.stats import rank

Measure = Literal["path", "step"]
Unit = Literal["nats_per_token", "nats"]


@dataclass(slots=True, kw_only=True)
class SeqDepFilter(Filter):
    """Keeps values from `least` to `most`; None is no limit.

    A `quantile` sets `most` in `fit`, `above_unrelated` in `see`.
    """

    level: Measure
    unit: Unit
    least: float | None
    most: float | None
    quantile: float | None
    above_unrelated: float | None
    keep_undefined: bool
    is_fitted: bool = False

    def see(self, controls: ControlFacts | None) -> None:
        """Set the limit above paths of other prompts, if the scorer tells the controls apart."""
        if self.above_unrelated is not None:
            others = controls.others if controls is not None and controls.tells else None
            self.most = None if others is None else others.mean + self.above_unrelated

    def fit(self, corpus: Iterable[tuple[Canvas, Scores]]) -> None:
        """Find the quantile's value; holds one float a canvas."""
        if self.quantile is not None:
            values = array("d")
            values.extend(v for _, scores in corpus if (v := self.value(scores)) is not None)
            self.most = _quantile(values, self.quantile)
        self.is_fitted = True

    def frozen(self) -> str:
        """The limit that was learnt as a float literal; empty for absolute limits."""
        is_learnt = self.quantile is not None or self.above_unrelated is not None
        return repr(self.most) if is_learnt and self.most is not None else ""

    def value(self, scores: Scores) -> float | None:
        """The measured value; None where there is none (one segment, no scorer, not finite)."""
        measured = scores.path if self.level == "path" else scores.step
        if measured is None:
            return None
        value = measured.nats if self.unit == "nats" else measured.nats_per_token
        return value if value is not None and math.isfinite(value) else None

    def judge(self, canvas: Canvas, scores: Scores) -> Verdict:
        """Drop with `seqdep_undefined`, `seqdep_below` or `seqdep_above`."""
        assert self.quantile is None or self.is_fitted, "a quantile is judged after fit"
        if self.above_unrelated is not None and self.most is None:
            return Verdict(True)
        value = self.value(scores)
        unit = f"{self.unit.replace('_', ' ')} at {self.level} level"
        if value is None:
            if self.keep_undefined:
                return Verdict(True)
            return Verdict(False, "seqdep_undefined", f"no {unit}: it needs two scored segments")
        if self.least is not None and value < self.least:
            measured, limit = distinguishable(value, self.least)
            return Verdict(False, "seqdep_below", f"{measured} {unit}, at least {limit} wanted")
        if self.most is not None and value > self.most:
            measured, limit = distinguishable(value, self.most)
            return Verdict(False, "seqdep_above", f"{measured} {unit}, at most {limit} allowed")
        return Verdict(True)


def _quantile(values: "array[float]", share: float) -> float | None:
    """The least value such that `share` of all are at or below it; None of none."""
    if not values:
        return None
    position = rank(share, len(values)) - 1
    view = np.frombuffer(values, dtype=np.float64)  # the array's own memory: no second copy
    view.partition(position)
    return float(view[position])


def build(
    level: Measure = "path",
    unit: Unit = "nats_per_token",
    max: float | None = None,
    min: float | None = None,
    quantile: float | None = None,
    above_unrelated: float | None = None,
    undefined: Literal["drop", "keep"] = "drop",
) -> Filter:
    """The filter; UserError unless it has absolute limits, a quantile, or `above_unrelated`."""
    ways = (max is not None or min is not None, quantile is not None, above_unrelated is not None)
    if not any(ways):
        raise UserError("filter seqdep: no limit; give max, min, quantile or above_unrelated")
    if sum(ways) > 1:
        raise UserError(
            "filter seqdep: give max and min, or quantile, or above_unrelated, and one of them only"
        )
    if above_unrelated is not None and (level, unit) != ("path", "nats_per_token"):
        raise UserError(
            "filter seqdep: above_unrelated is in nats_per_token at path level, where the controls "
            "are measured; take level and unit out"
        )
    if quantile is not None and not 0 < quantile <= 1:
        raise UserError(f"filter seqdep: quantile is {quantile}; give a value above 0, up to 1")
    for name, limit in (("max", max), ("min", min), ("above_unrelated", above_unrelated)):
        if limit is not None and not math.isfinite(limit):
            raise UserError(f"filter seqdep: {name} is {limit}; give a finite number of nats")
    if max is not None and min is not None and max < min:
        raise UserError(f"filter seqdep: max is {max}, min is {min}: nothing could pass; raise max")
    return SeqDepFilter(
        level=level,
        unit=unit,
        least=min,
        most=max,
        quantile=quantile,
        above_unrelated=above_unrelated,
        keep_undefined=undefined == "keep",
    )
