"""What was sampled for a prompt, in plain words, and what each kind of grader compares.

In: a released row, the statistics of a release, or a manifest. Out: lines for the terminal and for
the page.
"""

from collections.abc import Iterator

from curation.canvases.rules import STOPS
from curation.release.statistics import Distribution, Stats
from schemas.records import Released
from support.display.digits import rounded

GRADERS = {
    "math": "compares mathematical values with the gold",
    "choice": "compares the option that a trace names with the gold's",
    "exact": "compares the words of the answer with the golds",
    "number": "compares a number and its unit with the gold",
    "regex": "compares what a pattern finds with the golds",
    "label": "trusts the labels of the source",
    "code": "runs the program against the tests",
    "judge": "asks a language model",
    "first_of": "several graders in turn; the first that decides counts",
}


def grader(kind: str) -> str:
    """A kind of grader with what it does, where that is known."""
    return f"{kind} ({GRADERS[kind]})" if kind in GRADERS else kind


def of_row(row: Released) -> str:
    """How many samples of a prompt were drawn and are right; empty where it is not recorded."""
    if row.samples_drawn is None or row.samples_correct is None or row.stop_reason is None:
        return ""
    rate = ""
    if row.pass_rate is not None and row.pass_rate_low is not None:
        assert row.pass_rate_high is not None
        between = f"{row.pass_rate_low:.0%} to {row.pass_rate_high:.0%}"
        rate = f" (pass rate {row.pass_rate:.0%}, 95 % interval {between})"
    first = ""
    if row.first_round_drawn is not None and row.first_round_drawn < row.samples_drawn:
        first = f"; in the first round {row.first_round_correct} of {row.first_round_drawn}"
    drawn = f"{row.samples_correct} of {row.samples_drawn} samples right{rate}{first}"
    return f"{drawn}; why no more: {STOPS[row.stop_reason]}"


def of_release(stats: Stats) -> Iterator[tuple[str, str]]:
    """The same over all released prompts; nothing for a release of an earlier version."""
    if not stats.samples_drawn.count:
        return
    yield "samples", f"{_spread(stats.samples_drawn)} for a released prompt"
    yield "pass rate", f"{_spread(stats.pass_rate, percent=True)} of a released prompt's samples"
    stops = sorted(stats.stop_reasons, key=lambda one: -one.rows)
    yield "why no more", "; ".join(f"{STOPS[one.reason]}: {one.rows:,} prompts" for one in stops)


def _spread(one: Distribution, *, percent: bool = False) -> str:
    assert one.p50 is not None and one.p05 is not None and one.p95 is not None
    figures = (one.p50, one.p05, one.p95)
    middle, low, high = (f"{value:.0%}" if percent else rounded(value) for value in figures)
    return f"median {middle}, 5-95 %: {low} to {high}"
