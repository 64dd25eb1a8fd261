"""Grade one number: by value, within a tolerance, and with its unit.

Numbers are read as mathematics reads them (`scorers/answers`): thousands separators, powers of ten,
fractions, numbers in words. Nothing is converted: where the gold names a measure, the answer must
name the same. J and N m are neither the same nor different: such an answer is not read. Nor is a
range, a bound or a number that is changed by what stands behind it.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, NamedTuple

from pydantic import Field

from curation.graders import Grader, Submission
from schemas.records import Grade, GradedTrace, Prompt
from scorers.answers.compare.equations import one_side, right_side
from scorers.answers.compare.mismatches import TEXT_COMMAND
from scorers.answers.compare.numerals import Number, read_number
from scorers.answers.compare.rewriting import rewritten
from scorers.answers.extract.announced_value import is_prose, spoken_value
from scorers.answers.extract.conclusion import conclusion
from scorers.answers.extract.final_answer import extract
from scorers.answers.extract.statements import reply_start
from scorers.answers.grade import GRADING, Answer, tidy_gold
from scorers.answers.notation import si_units
from scorers.answers.notation.number_words import in_figures
from scorers.answers.notation.unicode_math import to_latex
from scorers.answers.notation.units import is_currency, is_measure, unit_of
from support.errors import UserError

VERSION = 3
LONGEST_CHARACTERS = 300
_DEGREES = {"celsius", "fahrenheit", "kelvin", "K"}  # "degree" alone may be any of them
_PERCENT = ("%", "percent", "per cent")
# A word before a rounded number: the "about" of "about 9.8".
_ABOUT = re.compile(r"(?:approximately|about|roughly|around|\\approx|\\sim|~)\s*(?=[-+$\\.0-9])")
# An amount of dollars, where no second sign makes a formula of it: "$5".
_DOLLARS = re.compile(r"^[^$]*\$\s?[0-9][^$]*$")
# A clause that calls an announced number wrong: the ", which is wrong" behind it.
_REFUSED = re.compile(r"\b(?:which|that|this|it) (?:is|was) (?:wrong|incorrect|false|not)\b", re.I)

Tolerance = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


def build(
    atol: Tolerance = 0.0, rtol: Share = 0.0, unit: str | None = None, percent: bool = False
) -> Grader:
    """The grader.

    Args:
        atol: how far an answer may be from the gold.
        rtol: the same, as a share of the gold; the larger of the two counts.
        unit: the unit of every gold, which an answer may leave out; any other unit is wrong.
        percent: 28% is 0.28.
    """
    if unit is not None and re.match(r"\s*(?:[0-9]|$)", unit):
        raise UserError(f"grader.unit is {unit!r}; give a unit such as km, or take it out")
    if percent and unit is not None:
        raise UserError(
            "grader.percent: 28% is 0.28, so that golds have no unit; take out grader.unit, or "
            "grader.percent"
        )
    return NumberGrader(atol, rtol, (unit or "").strip(), percent)


def _spelled(text: str) -> str | None:
    """The last value of a text whose last paragraph has one number, in words: "forty-two"."""
    start = reply_start(text)
    paragraph = text[start:].strip().rsplit("\n\n", 1)[-1]
    written = in_figures(paragraph) if len(paragraph) <= LONGEST_CHARACTERS else None
    return conclusion(written, len(written)) if written else None


class _Quantity(NamedTuple):
    number: Number
    unit: str | None


class NumberGrader(Grader):
    """Compares exact fractions."""

    def __init__(self, atol: float, rtol: float, unit: str, percent: bool) -> None:
        self._atol, self._rtol = Fraction(str(atol)), Fraction(str(rtol))
        self._unit = unit
        self._percent = percent

    def grade(self, submissions: Sequence[Submission]) -> list[Answer]:
        """Compare the final answer of each trace with the gold."""
        return [self._grade(prompt.gold, trace.text) for prompt, trace in submissions]

    def at_once(self, submissions: Sequence[Submission]) -> list[Answer]:
        """The same: it waits for nothing."""
        return self.grade(submissions)

    def fault(self, prompt: Prompt) -> str:
        """Several golds, or one that is no number, or has another unit than the recipe says."""
        if prompt.more_golds:
            return "the gold is a list of answers, and the grader number compares one"
        gold = self._read(tidy_gold(prompt.gold))
        if gold is None:
            return (
                f"the gold {prompt.gold[:60]!r} is no number; where a unit stands behind it that "
                "is not known here, name it in grader.unit, or in the question if units differ"
            )
        if self._unit and self._compare_units(gold.unit, gold.unit) is not None:
            return f"the gold {prompt.gold[:60]!r} has another unit than grader.unit={self._unit}"
        return ""

    def final_answer(self, prompt: Prompt, correct: Sequence[GradedTrace]) -> str:
        """The gold, with the recipe's unit where it has none."""
        gold = self._read(tidy_gold(prompt.gold))
        if not self._unit or gold is None or gold.number.percent or gold.unit is not None:
            return prompt.gold
        return f"{prompt.gold}%" if self._unit in _PERCENT else f"{prompt.gold} {self._unit}"

    def fingerprint(self) -> object:
        """The versions of the comparison and of the rules that find an answer."""
        return [VERSION, GRADING]

    def _grade(self, gold_text: str, text: str) -> Answer:
        found = extract(text)
        answer = found.answer
        if answer is None and not found.given_up:
            answer = conclusion(text, found.end) or _spelled(text[: found.end])
        unparsed = Answer(grade=Grade.UNPARSED, answer=answer, end=found.end)
        if answer is None or len(answer) > LONGEST_CHARACTERS or _REFUSED.search(found.said):
            return unparsed
        if self._unit and self._named() != "dollar" and _DOLLARS.search(found.said):
            return unparsed
        gold = self._read(tidy_gold(gold_text))
        is_words = is_prose(answer) and self._in_si(answer) is None
        value = spoken_value(answer) if is_words else answer
        read = self._read(value, tidy_gold(gold_text))
        if read is None or gold is None:
            return unparsed
        grade = self._compare_units(read.unit, gold.unit) or self._compare(read.number, gold.number)
        return Answer(grade=grade, answer=answer, end=found.end)

    def _compare(self, number: Number, wanted: Number) -> Grade:
        values = [one.value / 100 if one.percent else one.value for one in (number, wanted)]
        if not self._percent:
            if number.percent is not wanted.percent and self._unit not in _PERCENT:
                return Grade.UNPARSED
            values = [number.value, wanted.value]
        allowed = max(self._atol, self._rtol * abs(values[1]))
        return Grade.CORRECT if abs(values[0] - values[1]) <= allowed else Grade.WRONG

    def _compare_units(self, given: str | None, named: str | None) -> Grade | None:
        """The verdict where the answer's and the gold's unit differ, or one is missing, or None."""
        if self._unit:
            named = "" if self._unit in _PERCENT else self._named()
            if given is None or given == named:
                return None
        elif named is None:
            return None
        elif given is None:  # "12 people" may be just 12; and "$" may be a sign of mathematics
            return Grade.UNPARSED if _is_measure(named) and not is_currency(named) else None
        elif given == named or ("degree" in (given, named) and _DEGREES & {given, named}):
            return None
        one, other = si_units.parse(given), si_units.parse(named or "")
        if one is not None and other is not None:
            if one == other:
                return None
            return Grade.UNPARSED if si_units.measure_the_same(one, other) else Grade.WRONG
        return Grade.WRONG if _is_measure(given) else Grade.UNPARSED

    def _named(self) -> str:
        written = f"1 {self._unit}"
        if found := next(si_units.split(written), None):
            return si_units.written(found[1])
        return unit_of(written) or unit_of(to_latex(written) or written) or self._unit

    def _read(self, text: str, beside: str = "") -> _Quantity | None:
        """A text as a number and its unit; `beside` is the gold, which may want a decimal.

        Symbols of physics are units where the gold or the recipe has one: the "5 K" of money is no
        5 kelvin.
        """
        if (self._unit or not beside or self._in_si(beside)) and (found := self._in_si(text)):
            return found
        plain = (to_latex(text) or text).replace("per cent", "percent")
        if (self._atol or self._rtol) and (about := _ABOUT.match(plain)):
            plain = plain[about.end() :]
        plain = right_side(rewritten(one_side(plain, beside) if beside else plain), beside)
        bare = self._without_unit(plain)
        number = read_number(plain) or read_number(bare)
        if number is None:
            return None
        # The recipe's unit is known even if no other rule knows it; "€" is gone from `plain`.
        unit = self._named() if bare != plain else unit_of(plain) or unit_of(text)
        return _Quantity(number, unit)

    def _in_si(self, text: str) -> _Quantity | None:
        """A number with a unit of physics; None where it is anything else."""
        if self._unit in _PERCENT:
            return None
        for value, factors in si_units.split(text):
            head = (to_latex(value) or value).strip("$ ")
            if (self._atol or self._rtol) and (about := _ABOUT.match(head)):
                head = head[about.end() :]
            number = read_number(rewritten(head))
            if number is not None and not number.percent:
                return _Quantity(number, si_units.written(factors))
        return None

    def _without_unit(self, text: str) -> str:
        if not self._unit or self._unit in _PERCENT:
            return text
        bare = TEXT_COMMAND.sub(r" \1", text).rstrip()
        before = bare.removesuffix(self._unit).rstrip(r" \,~")
        return before if before != bare and before[-1:].isdigit() else text


def _is_measure(unit: str) -> bool:
    return is_measure(unit) or si_units.parse(unit) is not None
