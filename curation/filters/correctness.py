"""Keep canvases by how many of their paths are right.

In a recipe: `{kind: correctness, min_correct: 2}`, or, for canvases of P = 3 that hold both right
and wrong paths, `{kind: correctness, min_correct: 1, max_correct: 2}`. Every grade but CORRECT is
wrong.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from curation.filters import Filter
from schemas.records import Canvas, Grade, Scores, Verdict
from support.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectnessFilter:
    """At least `min_correct` and at most `max_correct` correct paths."""

    min_correct: int
    max_correct: int | None

    def fit(self, corpus: Iterable[tuple[Canvas, Scores]]) -> None:
        """Nothing to learn."""

    def frozen(self) -> str:
        """Nothing was learnt."""
        return ""

    def judge(self, canvas: Canvas, scores: Scores) -> Verdict:
        """Drop with `correct_below` or `correct_above`."""
        correct = sum(path.grade is Grade.CORRECT for path in canvas.paths)
        found = f"{correct} of {len(canvas.paths)} paths are correct"
        if correct < self.min_correct:
            return Verdict(False, "correct_below", f"{found}, at least {self.min_correct} wanted")
        if self.max_correct is not None and correct > self.max_correct:
            return Verdict(False, "correct_above", f"{found}, at most {self.max_correct} allowed")
        return Verdict(True)


def build(min_correct: int = 1, max_correct: int | None = None) -> Filter:
    """The filter; UserError where no count of correct paths could pass it."""
    if min_correct < 0:
        raise UserError(f"filter correctness: min_correct is {min_correct}; give 0 or more")
    if max_correct is not None and max_correct < min_correct:
        limits = f"max_correct is {max_correct}, min_correct is {min_correct}"
        raise UserError(f"filter correctness: {limits}: nothing could pass; raise max_correct")
    return CorrectnessFilter(min_correct=min_correct, max_correct=max_correct)
