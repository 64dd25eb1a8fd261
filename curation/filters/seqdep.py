"""Keep canvases by sequential dependence (Eq. 4, Li et al. 2026), in nats.

In a recipe: `{kind: seqdep, max: 0.4}` for an absolute limit on the path level's nats per token, or
`{kind: seqdep, level: step, unit: nats, quantile: 0.9}` to keep what lies at or below the 0.9
quantile of the corpus. The quantile is one of the measured values (at least that share of them is
kept), found once in `fit` and frozen in the manifest with every digit of the float.
"""

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from curation.filters import Filter
from schemas.records import Canvas, Scores, Verdict
from support.display.digits import distinguishable
from support.errors import UserError
from support.stats import rank

Measure = Literal["path", "step"]
Unit = Literal["nats_per_token", "nats"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What of a canvas's scores is read, and the values that pass; None is no limit."""

    level: Measure
    unit: Unit
    least: float | None
    most: float | None
    keep_undefined: bool

    def value(self, scores: Scores) -> float | None:
        """The measured value; None where there is none (one segment, no scorer, not finite)."""
        measured = scores.path if self.level == "path" else scores.step
        if measured is None:
            return None
        value = measured.nats if self.unit == "nats" else measured.nats_per_token
        return value if value is not None and math.isfinite(value) else None

    def judge(self, scores: Scores) -> Verdict:
        """Keep, or drop with `seqdep_undefined`, `seqdep_below` or `seqdep_above`."""
        value = self.value(scores)
        unit = f"{self.unit.replace('_', ' ')} at {self.level} level"
        if value is None:
            if self.keep_undefined:
                return Verdict(True)
            return Verdict(False, "seqdep_undefined", f"no {unit}: it needs two scored segments")
        if self.least is not None and value < self.least:
            found, limit = distinguishable(value, self.least)
            return Verdict(False, "seqdep_below", f"{found} {unit}, at least {limit} wanted")
        if self.most is not None and value > self.most:
            found, limit = distinguishable(value, self.most)
            return Verdict(False, "seqdep_above", f"{found} {unit}, at most {limit} allowed")
        return Verdict(True)


class SeqDepFilter:
    """`Limits`, whose upper one may be a quantile that is learnt in `fit`."""

    def __init__(self, limits: Limits, quantile: float | None) -> None:
        self._limits = limits
        self._quantile = quantile
        self._fitted = quantile is None

    def fit(self, corpus: Iterable[tuple[Canvas, Scores]]) -> None:
        """Find the quantile's value; holds one float a canvas."""
        if self._quantile is None:
            return
        values = array("d")
        values.extend(v for _, scores in corpus if (v := self._limits.value(scores)) is not None)
        self._limits = replace(self._limits, most=_quantile(values, self._quantile))
        self._fitted = True

    def frozen(self) -> str:
        """The quantile's value as a float literal; empty for absolute limits."""
        learnt = self._quantile is not None and self._limits.most is not None
        return repr(self._limits.most) if learnt else ""

    def judge(self, canvas: Canvas, scores: Scores) -> Verdict:
        """Drop with `seqdep_undefined`, `seqdep_below` or `seqdep_above`."""
        assert self._fitted, "a quantile is judged after fit"
        return self._limits.judge(scores)


def _quantile(values: "array[float]", share: float) -> float | None:
    """The least value such that `share` of all are at or below it; None of none."""
    if not values:
        return None
    at = rank(share, len(values)) - 1
    view = np.frombuffer(values, dtype=np.float64)  # the array's own memory: no second copy
    view.partition(at)
    return float(view[at])


def build(
    level: Measure = "path",
    unit: Unit = "nats_per_token",
    max: float | None = None,
    min: float | None = None,
    quantile: float | None = None,
    undefined: Literal["drop", "keep"] = "drop",
) -> Filter:
    """The filter; UserError unless it has either absolute limits or a quantile."""
    if max is None and min is None and quantile is None:
        raise UserError("filter seqdep: no limit; give max, min or quantile")
    if quantile is not None and (max is not None or min is not None):
        raise UserError("filter seqdep: give either max and min, or quantile, not both")
    if quantile is not None and not 0 < quantile <= 1:
        raise UserError(f"filter seqdep: quantile is {quantile}; give a value above 0, up to 1")
    for name, limit in (("max", max), ("min", min)):
        if limit is not None and not math.isfinite(limit):
            raise UserError(f"filter seqdep: {name} is {limit}; give a finite number of nats")
    if max is not None and min is not None and max < min:
        raise UserError(f"filter seqdep: max is {max}, min is {min}: nothing could pass; raise max")
    limits = Limits(level=level, unit=unit, least=min, most=max, keep_undefined=undefined == "keep")
    return SeqDepFilter(limits, quantile)
