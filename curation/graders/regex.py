"""Grade answers that a pattern finds: for texts that end in a form of their own, "RESULT=12".

The pattern is Python's; its one group is the answer, or all of the match where it has none. It is
searched in the reply behind the last `</think>`. What it finds is compared with the golds as words
(`exact`) or as mathematics (`math`). Matching runs in processes that are killed when they take too
long, because some patterns take years on some texts.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Annotated, Literal

from pydantic import Field

from curation.graders import Grader, Submission
from schemas.records import Grade, Prompt
from scorers.answers.compare.words import normal
from scorers.answers.extract.statements import reply_start
from scorers.answers.grade import GRADING, Answer, GradePool
from scorers.answers.verify.worker_pool import LOST, WorkerPool
from support.errors import UserError

VERSION = 2
LONGEST_CHARACTERS = 1000  # of an answer; a gold is no longer
WORKER = Path(__file__).with_name("_regex_worker.py")


def build(
    pattern: str,
    first: bool = False,
    compare: Literal["text", "math"] = "text",
    case: bool = False,
    timeout_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2.0,
) -> Grader:
    """The grader.

    Args:
        pattern: a regular expression of Python with one group, or none.
        first: the first match counts, not the last.
        compare: how the answer and the golds are compared.
        case: with `compare: text`, capitals and small letters are different.
        timeout_seconds: processor time for one trace, to match and to compare.
    """
    try:
        groups = re.compile(pattern).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(f"grader.pattern: {pattern!r} is no regular expression: {error}") from None
    if groups > 1:
        raise UserError(
            f"grader.pattern: {pattern!r} has {groups} groups, and the answer is one; write the "
            "others as (?:…)"
        )
    if not pattern.strip():
        raise UserError("grader.pattern: empty; give a pattern that finds the answer")
    if compare == "math" and case:
        raise UserError("grader.case: counts with compare: text alone; take it out")
    return RegexGrader(pattern, first, compare == "math", case, timeout_seconds)


class RegexGrader(Grader):
    """Matches and compares in processes of its own, which start when they are needed."""

    def __init__(
        self, pattern: str, first: bool, math: bool, case: bool, timeout_seconds: float
    ) -> None:
        self._pattern = pattern
        self._first = first
        self._case = case
        self._lock = Lock()
        self._matchers = WorkerPool(WORKER, min(8, os.cpu_count() or 1), timeout_seconds)
        self._math = GradePool(timeout_seconds=timeout_seconds) if math else None

    def grade(self, submissions: Sequence[Submission]) -> list[Answer]:
        """Find and compare the answer of each trace."""
        texts = [trace.text for _, trace in submissions]
        asked = [(self._pattern, self._first, text[reply_start(text) :]) for text in texts]
        with self._lock:
            found = self._matchers.ask(asked)
        golds = [(prompt.gold, *prompt.more_golds) for prompt, _ in submissions]
        grades = self._grades(found, golds)
        return [
            Answer(grade=grade, answer=answer if isinstance(answer, str) else None, end=len(text))
            for text, answer, grade in zip(texts, found, grades, strict=True)
        ]

    def fault(self, prompt: Prompt) -> str:
        """No gold, or several where one is compared."""
        if not prompt.gold:
            return "there is no gold for the grader regex"
        if self._math and prompt.more_golds:
            return "the gold is a list of answers, and compare=math compares one; set compare=text"
        if not self._math and not all(map(self._normal, (prompt.gold, *prompt.more_golds))):
            return f"the gold {prompt.gold[:60]!r} is empty once it is normalised"
        return ""

    def fingerprint(self) -> object:
        """The versions of the comparison and of the rules that compare values."""
        return [VERSION, GRADING]

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            self._matchers.close()
        if self._math:
            self._math.close()

    def _grades(self, found: Sequence[object], golds: Sequence[tuple[str, ...]]) -> list[Grade]:
        grades = [Grade.TIMEOUT if answer is LOST else Grade.UNPARSED for answer in found]
        read = {
            index: answer
            for index, answer in enumerate(found)
            if isinstance(answer, str) and answer.strip() and len(answer) <= LONGEST_CHARACTERS
        }
        if self._math:
            pairs = [(answer, golds[index][0]) for index, answer in read.items()]
            decided = self._math.compare(pairs)
        else:
            decided = [
                self._compare(answer, {self._normal(gold) for gold in golds[index]})
                for index, answer in read.items()
            ]
        for index, grade in zip(read, decided, strict=True):
            grades[index] = grade
        return grades

    def _compare(self, answer: str, golds: set[str]) -> Grade:
        form = self._normal(answer)
        if not form:
            return Grade.UNPARSED
        return Grade.CORRECT if form in golds else Grade.WRONG

    def _normal(self, text: str) -> str:
        return normal(text, case=self._case)
