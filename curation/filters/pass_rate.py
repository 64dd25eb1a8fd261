"""Keep canvases by how often the teacher solves their prompt: neither trivial nor hopeless ones.

In a recipe: `{kind: pass_rate, at_least: 0.1, at_most: 0.9}`. The pass rate is that of the first
round of samples, which is unbiased; `over: all` counts all samples that were drawn, which are more,
but where a prompt is sampled in rounds their number depends on what came.
"""

from dataclasses import dataclass
from typing import Literal

from curation.filters import Filter
from schemas.records import Canvas, Scores, Verdict
from support.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRateFilter(Filter):
    """At least `at_least` and at most `at_most`, both inclusive."""

    at_least: float
    at_most: float
    over: Literal["first_round", "all"]

    def judge(self, canvas: Canvas, scores: Scores) -> Verdict:
        """Drop with `pass_rate_below`, `pass_rate_above` or `pass_rate_unknown`."""
        draws = canvas.draws
        if draws is None:
            return Verdict(False, "pass_rate_unknown", "the canvas is of an earlier version")
        drawn, correct = draws.drawn, draws.correct
        if self.over == "first_round":
            drawn, correct = draws.first_round_drawn, draws.first_round_correct
        if not drawn:
            return Verdict(False, "pass_rate_unknown", "the first round has no sample")
        found = f"{correct} of {drawn} samples are right"
        share = correct / drawn  # a product would round 7 of 25 away from 0.28
        if share < self.at_least:
            return Verdict(False, "pass_rate_below", f"{found}, at least {self.at_least} wanted")
        if share > self.at_most:
            return Verdict(False, "pass_rate_above", f"{found}, at most {self.at_most} allowed")
        return Verdict(True)


def build(
    at_least: float = 0.0,
    at_most: float = 1.0,
    over: Literal["first_round", "all"] = "first_round",
) -> Filter:
    """The filter; UserError where no pass rate could lie between the limits."""
    if not 0 <= at_least <= at_most <= 1:
        raise UserError(
            f"filter pass_rate: at_least is {at_least}, at_most is {at_most}; give shares from 0 "
            "to 1, the first not above the second"
        )
    return PassRateFilter(at_least=at_least, at_most=at_most, over=over)
