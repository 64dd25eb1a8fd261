"""Grade traces against gold answers: correct, wrong, unparsed, or timeout.

In: texts of traces with their gold answers and prompts. Out: an `Answer` each, in order. Plain
answers are decided here; the rest by math-verify 0.9.0 in worker processes, which are killed when
they take too long. The verdict depends on the attempt alone, not on its neighbours or on the number
of workers.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock
from typing import NamedTuple, Self

from schemas.records import Grade
from scorers.answers.compare.choices import capital, letter_of, options, text_of
from scorers.answers.compare.equations import one_side, right_side
from scorers.answers.compare.plain_rules import (
    LONGEST_ANSWER_CHARACTERS,
    is_number,
    quick_grade,
    tidy,
    wrap,
)
from scorers.answers.compare.rewriting import both_signs, rewritten
from scorers.answers.compare.variables import rename_clashing_letters
from scorers.answers.extract.announced_value import OPPOSITES, is_prose, spoken_value
from scorers.answers.extract.conclusion import conclusion, yes_or_no
from scorers.answers.extract.final_answer import extract
from scorers.answers.notation.units import spelled_power
from scorers.answers.verify.math_verify_pool import MathVerifyPool, Question

GRADING = 7
"""Bumped by hand where a verdict may change: shards and cells that it shaped are graded again."""

# JSON with one answer: '{"answer": "18"}'.
_NAMED = re.compile(r"\s*\{\s*[\"']answer[\"']\s*:\s*[\"']?([^{}\"']*)[\"']?\s*\}\s*")
# An amount of money: "$1,000.50".
_DOLLARS = re.compile(r"\$[0-9][0-9,]*(?:\.[0-9]+)?")
# A sum or a product of numbers: "15 + 15".
_SUM = re.compile(r"[0-9]\s*[+*]\s*[0-9]")


class Attempt(NamedTuple):
    """What is graded: the text of a trace against a gold; options are read from the prompt."""

    text: str
    gold: str
    prompt: str = ""


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
        self._pool = MathVerifyPool(workers or min(8, os.cpu_count() or 1), timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes; grading again starts new ones."""
        with self._lock:
            self._pool.close()

    def grade(self, items: Sequence[Attempt | tuple[str, str]]) -> list[Answer]:
        """One Answer for each (text, gold) or Attempt, in order. No text makes it raise."""
        return self._decided([_first_answer(Attempt(*item)) for item in items])

    def grade_at_once(self, items: Sequence[Attempt]) -> list[Answer] | None:
        """The same where rules decide all of them; None where math-verify would be asked."""
        answers: list[Answer] = []
        for item in items:
            answer, question = _first_answer(item)
            if question is not None:
                return None
            answers.append(answer)
        return answers

    def compare(self, pairs: Sequence[tuple[str, str]]) -> list[Grade]:
        """The grade of each (answer, gold), where the answer was found by other means."""
        found = [Answer(grade=Grade.UNPARSED, answer=tidy(answer), end=0) for answer, _ in pairs]
        golds = [tidy_gold(gold) for _, gold in pairs]
        decided = [_compared(one, gold, "") for one, gold in zip(found, golds, strict=True)]
        return [answer.grade for answer in self._decided(decided)]

    def _decided(self, firsts: Sequence["_First"]) -> list[Answer]:
        """The answers, with the grades of those that math-verify is asked about."""
        answers: list[Answer] = []
        indices_of: dict[Question, list[int]] = {}
        for index, (first, question) in enumerate(firsts):
            answers.append(first)
            if question is not None:
                indices_of.setdefault(question, []).append(index)
        if not indices_of:  # most are decided by rules: they wait for no other thread's question
            return answers
        with self._lock:
            grades = self._pool.ask(list(indices_of))
        for indices, grade in zip(indices_of.values(), grades, strict=True):
            for index in indices:
                answers[index] = replace(answers[index], grade=grade)
        return answers


@lru_cache(maxsize=8)
def tidy_gold(gold: str) -> str:
    r"""A gold answer as text: the content of a box or of JSON, without math delimiters."""
    if _DOLLARS.fullmatch(gold.strip()):
        return rf"\{gold.strip()}"  # a sign of money, no delimiter of mathematics
    boxed = extract(gold).answer if "boxed" in gold else None
    named = _NAMED.fullmatch(gold)
    return boxed or tidy(named[1] if named else gold)


_First = tuple[Answer, Question | None]
"""An answer as far as it is graded without math-verify, and the question for it, if any."""


def _first_answer(attempt: Attempt) -> _First:
    extracted = extract(attempt.text)
    answer, end = extracted.answer, extracted.end
    expected = tidy_gold(attempt.gold)
    if answer is None and not extracted.given_up:
        conclude = yes_or_no if expected.casefold() in OPPOSITES else conclusion
        answer = conclude(attempt.text, end)
    return _compared(Answer(grade=Grade.UNPARSED, answer=answer, end=end), expected, attempt.prompt)


def _compared(unparsed: Answer, expected: str, prompt: str) -> _First:
    answer, end = unparsed.answer, unparsed.end
    if answer is None or not expected:
        return unparsed, None
    if is_prose(answer) and not is_prose(expected):
        answer = spoken_value(answer)
    compared = _without_options(answer, expected, prompt)
    if compared is None:
        return unparsed, None
    read, expected = compared
    if not (is_number(read) and is_number(expected)):  # most are, and are written alike
        read, expected = _brought_together(read, expected)
    if (quick := quick_grade(read, expected)) is not None:
        return Answer(grade=quick, answer=answer, end=end), None
    if len(answer) > LONGEST_ANSWER_CHARACTERS:
        return replace(unparsed, answer=None), None
    if max(len(read), len(expected)) > LONGEST_ANSWER_CHARACTERS:
        return unparsed, None
    question = Question(*rename_clashing_letters(wrap(read), wrap(expected)))
    return replace(unparsed, answer=answer), question


def _brought_together(read: str, expected: str) -> tuple[str, str]:
    """Answer and gold, written alike: one side of an equation, numbers in words as figures."""
    read, expected = one_side(read, expected), one_side(expected, read)
    read, expected = rewritten(read), rewritten(expected)
    read, expected = spelled_power(read, expected), spelled_power(expected, read)
    read, expected = right_side(read, expected), right_side(expected, read)
    return both_signs(read), both_signs(expected)


def _without_options(answer: str, gold: str, prompt: str) -> tuple[str, str] | None:
    """Answer and gold with choices as letters or, where only one is a letter, as texts of options.

    None where an answer contradicts itself.
    """
    if not prompt:
        return answer, gold
    if not (listed := _options(prompt)):
        return answer, gold
    if len(listed) > 1 and gold not in listed.values():
        gold = capital(gold)
        answer = answer if answer in listed.values() else capital(answer)
    chosen, expected = letter_of(answer, small=True), letter_of(gold)
    if chosen is None and expected is None:
        return answer, gold
    if len(answer) == 1 and answer in listed.values():
        chosen = None  # the text of an option, not a letter
    if chosen is not None and expected is not None:
        text, own = text_of(answer), listed.get(chosen)
        if text and any(_is_text_of(text, other) for other in listed.values() if other != own):
            return None  # the letter of one option, the text of another
        # "b" is a choice where the prompt lists options; elsewhere it may be a variable.
        return (chosen, expected) if len(answer) == 1 and expected in listed else (answer, gold)
    # "15 + 15 + 15" restates a question; only a value can stand for its option.
    if expected is not None and expected in listed and not _SUM.search(answer):
        fits = [text for text in listed.values() if _is_text_of(answer, text)]
        wanted = listed[expected]
        unclear = len(fits) > 1 or fits[:1] not in ([], [wanted])
        unclear = unclear or _differ_in_per_cent(answer, wanted)
        return (answer, gold) if unclear else (answer, wanted)
    if chosen is not None and chosen in listed:
        return listed[chosen], gold
    return answer, gold


@lru_cache(maxsize=8)  # the samples of a prompt come together
def _options(prompt: str) -> dict[str, str]:
    """The options of a prompt, tidied; not to be changed by a caller."""
    return {letter: tidy(text) for letter, text in options(prompt).items()}


def _is_text_of(answer: str, option: str) -> bool:
    """Whether an answer is the text of an option, with the same per cent sign.

    "3" is the text of each option that is 3 with a unit.
    """
    same = option.startswith(f"{answer} ") or quick_grade(answer, option) is Grade.CORRECT
    return same and not _differ_in_per_cent(answer, option)


def _differ_in_per_cent(answer: str, option: str) -> bool:
    """Whether one is the other with a per cent sign: "50" and "50%" may both be options."""
    one, other = (re.sub(r"\s|\\?%", "", text) for text in (answer, option))
    return one == other and ("%" in answer) is not ("%" in option)
