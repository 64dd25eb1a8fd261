"""A filter of your own: keep canvases whose paths reach different answers.

Run it to see what it would drop of a small corpus, built from bundled problems by the bundled
teacher: `python examples/own_filter.py`. To use it in recipes, declare it in the pyproject.toml of
a package that you install:

    [project.entry-points."polytrace.filters"]
    distinct_answers = "own_filter:build"

and write in a recipe: `filters: [{kind: distinct_answers, least: 2}]`.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import polytrace
from curation.filters import Filter
from schemas.records import Canvas, Scores, Verdict
from support.errors import UserError


@dataclass(frozen=True, slots=True)
class DistinctAnswers:
    """Asks the paths of a canvas for at least so many different answers."""

    least: int

    def fit(self, corpus: Iterable[tuple[Canvas, Scores]]) -> None:
        """Nothing to learn: a rule that needs a quantile would read the corpus here, once."""

    def frozen(self) -> str:
        """What was learnt, for the manifest."""
        return ""

    def judge(self, canvas: Canvas, scores: Scores) -> Verdict:
        """Keep, or drop with a reason of a few words and a sentence; both are counted and kept."""
        found = {path.answer for path in canvas.paths} - {None}
        if len(found) < self.least:
            detail = f"{len(found)} different answers, at least {self.least} wanted"
            return Verdict(False, "answers_alike", detail)
        return Verdict(True)


def build(least: int = 2) -> Filter:
    """The filter; UserError where no canvas could pass."""
    if least < 1:
        raise UserError(f"filter distinct_answers: least is {least}; give 1 or more")
    return DistinctAnswers(least)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        run = polytrace.build("demo", "scorer=null", out=folder, limit=12)
        rule = build(least=2)
        rule.fit(run.scored())
        verdicts = [rule.judge(canvas, scores) for canvas, scores in run.scored()]
    print(Counter(one.reason or "kept" for one in verdicts))
