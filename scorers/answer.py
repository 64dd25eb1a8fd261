"""Grade traces against gold answers: correct, wrong, unparsed, or timeout.

In: (text of a trace, gold answer) pairs. Out: an `Answer` each, in order. Plain answers are decided
here; the rest by math-verify 0.9.0 in worker processes, which are killed when they take too long.
The verdict depends on the pair alone, not on its neighbours or on the number of workers.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from types import TracebackType
from typing import Self

from schemas.records import Grade
from scorers.conclusion import conclusion
from scorers.extract import Extracted, extract
from scorers.grade_pool import Question, Reply, WorkerPool
from scorers.notation import to_latex
from scorers.plain_answer import LONGEST_ANSWER_CHARACTERS, quick_grade, tidy, wrap

__all__ = ["Answer", "Extracted", "GradePool", "extract"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A graded trace: `answer` as it was read (None if none was), `text[:end]` the solution.

    UNPARSED: no answer in the trace, one that cannot be parsed, or a gold that cannot be. TIMEOUT:
    the verifier took too long, ran out of memory or died; never counted as right.
    """

    grade: Grade
    answer: str | None
    end: int


class GradePool:
    """Grades in up to `workers` processes; a context manager, usable from any thread.

    `timeout_seconds` is processor time for one answer, so that a busy machine grades like an idle
    one; six times as much wall-clock time is the backstop. No process starts before it is needed.
    """

    def __init__(self, workers: int | None = None, timeout_seconds: float = 5.0) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers: {workers} is not at least 1")
        if not timeout_seconds > 0:
            raise ValueError(f"timeout_seconds: {timeout_seconds} is not above 0")
        self._lock = Lock()
        self._pool = WorkerPool(workers or min(8, os.cpu_count() or 1), timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes; grading again starts new ones."""
        with self._lock:
            self._pool.close()

    def grade(self, items: Sequence[tuple[str, str]]) -> list[Answer]:
        """One Answer for each (text, gold), in order. No text makes it raise."""
        answers: list[Answer] = []
        asked: dict[Question, list[int]] = {}
        for index, (text, gold) in enumerate(items):
            first, question = _first_answer(text, gold)
            answers.append(first)
            if question is not None:
                asked.setdefault(question, []).append(index)
        with self._lock:
            replies = self._pool.ask(list(asked))
        for indices, reply in zip(asked.values(), replies, strict=True):
            for index in indices:
                answers[index] = _with_reply(answers[index], reply)
        return answers


def tidy_gold(gold: str) -> str:
    r"""A gold answer as text: the content of its box where it has one, and no math delimiters."""
    boxed = extract(gold).answer if "boxed" in gold else None
    return boxed or tidy(gold)


def _first_answer(text: str, gold: str) -> tuple[Answer, Question | None]:
    """What can be said without math-verify, and what to ask it, if anything."""
    answer, end = (found := extract(text)).answer, found.end
    expected = tidy_gold(gold)
    quick = quick_grade(answer, expected) if answer is not None and expected else None
    if quick is not None:
        return Answer(grade=quick, answer=answer, end=end), None
    if answer is not None and len(answer) > LONGEST_ANSWER_CHARACTERS:
        return Answer(grade=Grade.UNPARSED, answer=None, end=end), None
    first = Answer(grade=Grade.UNPARSED, answer=answer, end=end)
    if not 0 < len(expected) <= LONGEST_ANSWER_CHARACTERS:
        return first, None
    if answer is not None:
        return first, Question(wrap(answer), wrap(expected))
    read = conclusion(text, end)
    return first, Question(read, wrap(expected)) if read and to_latex(expected) else None


def _with_reply(before: Answer, reply: Reply | None) -> Answer:
    if reply is None:
        return Answer(grade=Grade.TIMEOUT, answer=before.answer, end=before.end)
    grade = Grade.UNPARSED
    if reply.verdict is not None:
        grade = Grade.CORRECT if reply.verdict else Grade.WRONG
    answer = before.answer if before.answer is not None else reply.text
    return Answer(grade=grade, answer=answer, end=before.end)
