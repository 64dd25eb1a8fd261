"""Grade mathematics with one final answer: the value of an answer is compared with the gold.

Recipes that name no grader use this one. `scorers/answers` finds the answer and compares it; where
values cannot be compared by simple rules, math-verify decides.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from curation.graders import Grader, Submission
from schemas.records import Prompt
from scorers.answers.grade import GRADING, Answer, Attempt, GradePool


def build(
    timeout_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0,
) -> Grader:
    """The grader; `timeout_seconds` of processor time are allowed for comparing one answer."""
    return MathGrader(timeout_seconds)


class MathGrader(Grader):
    """Grades in processes of its own, which start when the first answer needs them."""

    def __init__(self, timeout_seconds: float) -> None:
        self._pool = GradePool(timeout_seconds=timeout_seconds)

    def grade(self, submissions: Sequence[Submission]) -> list[Answer]:
        """Compare the final answer of each trace with the gold."""
        return self._pool.grade(_attempts(submissions))

    def at_once(self, submissions: Sequence[Submission]) -> list[Answer] | None:
        """The same, where simple rules decide."""
        return self._pool.grade_at_once(_attempts(submissions))

    def fault(self, prompt: Prompt) -> str:
        """Several golds, or none."""
        if prompt.more_golds:
            return (
                f"the gold is a list of {1 + len(prompt.more_golds)} answers, and the grader math "
                "compares one; use grader.kind=exact, where any of them is right"
            )
        return "" if prompt.gold else "there is no gold for the grader math"

    def fingerprint(self) -> object:
        """The version of the rules that read and compare answers."""
        return GRADING

    def close(self) -> None:
        """End the processes."""
        self._pool.close()


def _attempts(submissions: Sequence[Submission]) -> list[Attempt]:
    return [Attempt(trace.text, prompt.gold, prompt.text) for prompt, trace in submissions]
