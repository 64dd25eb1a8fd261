r"""Answers as text: tidy them, wrap them for math-verify, and decide the plain ones without it.

In: an answer or a gold answer as found in the wild. Out: a verdict for identical texts, plain
numbers and choice letters, or None: then math-verify decides. Whatever is in doubt is None.
"(B)", "B." and "(B) 12" are choice B, which math-verify does not know.

The rules for numbers are what math-verify 0.9.0 was measured to do: exact for integers and
fractions; decimals are equal to six places; "28%" equals both 28 and 28/100.
"""

import re
from fractions import Fraction
from typing import NamedTuple

from schemas.records import Grade
from scorers.notation import to_latex
from scorers.units import is_unit
from scorers.unseen import TEXT_COMMAND, differ, spaced

# No answer is longer. It also keeps a question within a pipe's buffer, so that asking never blocks.
LONGEST_ANSWER_CHARACTERS = 2000
PLACEHOLDER = re.compile(r"[\s.\\…]*|[\s\[<]*(?:your |final |the )?answer[\s\]>]*", re.IGNORECASE)

_BETWEEN_FORMULAS = re.compile(
    r"(?:(?<!\\)\$|\\\))\s{0,9},?\s{0,9}(?:and|or|,)\s{0,9}(?:(?<!\\)\$|\\\()"
)
_DELIMITERS = re.compile(r"(?<!\\)(?:\$|\\[()\[\]])")
_UNITS = re.compile(r"(?P<number>.*[0-9])\s+(?P<words>[A-Za-z]{2,}(?:[ ][A-Za-z]{2,}){0,5})")
_WORDS = re.compile(r"(?=.*[A-Za-z]{4})[A-Za-z]+(?:[ '-][A-Za-z]+)*")
_UPRIGHT = re.compile(r"\\(?:mathrm|rm)\s?\{\s?([ei])\s?\}")
_SPACES = re.compile(r"(?<![0-9])\s+|\s+(?![0-9])")

_INTEGER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"
_DECIMAL = re.compile(
    rf"(?P<sign>[-+]?)(?P<digits>{_INTEGER}(?P<point>\.[0-9]+)?)(?P<percent>\\?%)?"
)
_FRACTION = re.compile(
    r"(?P<sign>-?)(?:(?P<a>[0-9]+)/(?P<b>[0-9]+)|\\[dt]?frac\{(?P<c>[0-9]+)\}\{(?P<d>[0-9]+)\})"
)
_CHOICE = re.compile(r"\(?(?P<letter>[A-J])(?:[).:](?=\s|$)|$)(?P<rest>.*)")
_ANOTHER_CHOICE = re.compile(r"(?:^|[\s(,])(?:[A-J](?:[).:,]|$)|(?:or|and|not|nor|both)\b)")
_MIXED = re.compile(
    r"(?P<sign>-?)(?P<whole>[0-9]{1,12})"
    r"(?:\s+(?P<a>[0-9]{1,9})/(?P<b>[0-9]{1,9})|\s*\\[dt]?frac\{(?P<c>[0-9]{1,9})\}\{(?P<d>[0-9]{1,9})\})"
)
_GROUPED = re.compile(r"[-+]?[0-9]{1,3}(?:\s[0-9]{3})+(?:\.[0-9]+)?")
_TEX_GROUPS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:(?:\\[, ]|~)[0-9]{3})+(?![0-9])")
_TEX_SPACES = re.compile(r"(?<=[0-9])(?:\\[,;: ]|~)[\s~]*(?=[0-9])")
_RANGE = re.compile(r"[0-9]+(?:\.[0-9]+)?\s?-\s?[0-9]+(?:\.[0-9]+)?")
_CURRENCY = re.compile(r"(?:USD|US\\?\$|EUR|GBP|Rs\.?)\s?(?=[0-9])")

# Doubles hold 15 significant digits; beyond them math-verify's own rounding decides.
_EXACT_DIGITS = 15
_MOST_DIGITS = 40
_SURELY_DIFFERENT = Fraction(2, 10**6)
_LARGEST_DECIMAL = 10**9
# math-verify rounds to six places, where a tiny value has no digits left: these are compared as
# they are, to a part in a thousand.
_TINY = Fraction(1, 1000)


class _Number(NamedTuple):
    value: Fraction
    decimal: bool
    percent: bool
    digits: int


def tidy(text: str) -> str:
    """`text` without math delimiters, markup and closing punctuation, on one line."""
    if "$" in text or "\\" in text:
        text = _DELIMITERS.sub("", _BETWEEN_FORMULAS.sub(", ", text).replace("\0", ""))
    text = " ".join(text.replace("\0", "").split())
    return text.lstrip('*_`" ').rstrip('.,;:*_`" ').removesuffix("\\").strip()


def wrap(text: str) -> str:
    """`text` as a formula that math-verify reads as a whole; takes what `tidy` returned.

    Words are marked as text: as a formula, "listen" would be a product and equal to "silent".
    """
    text = _separated(to_latex(text) or text)
    # math-verify 0.9.0 takes these for a unit and drops what follows: 1 - 1/e equals 1 + 1/e.
    text = _UPRIGHT.sub(r"\1", text)
    if _WORDS.fullmatch(text):
        return rf"$\text{{{text}}}$"
    unit = _UNITS.fullmatch(text)
    if unit and is_unit(unit["words"]):
        return rf"${unit['number']}\text{{ {unit['words']}}}$"
    return f"${text}$"


def quick_grade(answer: str, gold: str) -> Grade | None:
    """The verdict on two tidied texts where it needs no algebra, else None.

    UNPARSED is the verdict where one of them holds a symbol that nobody here can read.
    """
    if answer == gold:
        return Grade.CORRECT
    if _is_whole(answer) and _is_whole(gold):  # most answers; what follows says the same of them
        return _verdict(int(answer) == int(gold))
    if _same_text(answer) == _same_text(gold):
        return Grade.CORRECT
    if max(len(answer), len(gold)) > LONGEST_ANSWER_CHARACTERS:
        return None
    read, expected = to_latex(answer), to_latex(gold)
    if read is None or expected is None:
        return Grade.UNPARSED
    read, expected = _separated(read), _separated(expected)
    letter, gold_letter = _CHOICE.fullmatch(_bare(read)), _CHOICE.fullmatch(_bare(expected))
    if letter and gold_letter:
        return _verdict(_is_same_choice(letter, gold_letter))
    if differ(read, expected):
        return Grade.WRONG
    if _RANGE.fullmatch(read):  # "18-20": a range or a difference that nobody worked out
        return Grade.UNPARSED
    one, other = _number(read), _number(expected)
    if one is None or other is None:
        return None
    return _compare(one, other)


def _is_whole(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) <= _MOST_DIGITS


def _is_same_choice(one: re.Match[str], other: re.Match[str]) -> bool:
    """Whether both choose the same one letter, with the same text where both repeat it."""
    rests = [choice["rest"].strip().casefold() for choice in (one, other)]
    if one["letter"] != other["letter"]:
        return False
    if all(rests):
        return _same_text(rests[0]) == _same_text(rests[1])
    return not any(_ANOTHER_CHOICE.search(choice["rest"].strip()) for choice in (one, other))


def _compare(one: _Number, other: _Number) -> Grade | None:
    if one.percent or other.percent:
        # Only the plain case: with decimals or signs the verifier has no simple rule.
        plain = all(
            n.value >= 0 and not n.decimal and n.value.denominator == 1 for n in (one, other)
        )
        return _verdict(one.value == other.value) if plain else None
    if not one.decimal and not other.decimal:
        return _verdict(one.value == other.value)
    largest = max(abs(one.value), abs(other.value))
    if 0 < largest < _TINY and abs(one.value - other.value) > largest / 1000:
        return Grade.WRONG
    if one.value == other.value and max(one.digits, other.digits) <= _EXACT_DIGITS:
        return Grade.CORRECT
    large = largest >= _LARGEST_DECIMAL
    if not large and abs(one.value - other.value) > _SURELY_DIFFERENT:
        return Grade.WRONG
    return None


def _number(text: str) -> _Number | None:
    """`text` as a plain number with an optional currency sign, per cent sign or unit."""
    text = _strip_unit(text.replace("{,}", ",").replace(r"\!", "")).replace(r"\$", "", 1).strip()
    text = _CURRENCY.sub("", text, count=1)
    if mixed := _MIXED.fullmatch(text):
        return _mixed_number(mixed)
    if _GROUPED.fullmatch(text):
        text = "".join(text.split())
    fraction = _FRACTION.fullmatch(text)
    if fraction:
        top, bottom = fraction["a"] or fraction["c"], fraction["b"] or fraction["d"]
        if len(top) > _EXACT_DIGITS or len(bottom) > _EXACT_DIGITS or int(bottom) == 0:
            return None
        sign = -1 if fraction["sign"] else 1
        return _Number(Fraction(sign * int(top), int(bottom)), False, False, len(top))
    decimal = _DECIMAL.fullmatch(text)
    if not decimal or len(decimal["digits"]) > _MOST_DIGITS:
        return None
    value = Fraction(decimal["sign"] + decimal["digits"].replace(",", ""))
    digits = sum(character.isdigit() for character in decimal["digits"].lstrip("0."))
    return _Number(value, decimal["point"] is not None, decimal["percent"] is not None, digits)


def _mixed_number(mixed: re.Match[str]) -> _Number | None:
    """Three and a half for "3 1/2"; an improper fraction behind a number is something else."""
    top, bottom = int(mixed["a"] or mixed["c"]), int(mixed["b"] or mixed["d"])
    if not 0 < top < bottom:
        return None
    sign = -1 if mixed["sign"] else 1
    return _Number(sign * (int(mixed["whole"]) + Fraction(top, bottom)), False, False, 1)


def _strip_unit(text: str) -> str:
    r"""`text` without a trailing unit, in words or in `\text{}`; unchanged where that is unsafe."""
    text = re.sub(r"\s?(?:\^\s?(?:\\circ|\{\s?\\circ\s?\})|°)$", "", text)
    unit = re.fullmatch(
        r"(.*[0-9])\s?\\(?:text|mathrm|mbox|textnormal)\{\s*([A-Za-z .]{1,40})\}", text
    )
    if unit:
        return unit[1] if is_unit(unit[2]) else text
    words = _UNITS.fullmatch(text)
    return words["number"] if words and is_unit(words["words"]) else text


def _same_text(text: str) -> str:
    """`text` with the differences removed that never change its meaning."""
    text = re.sub(r"\\(?:left|right|displaystyle)(?![A-Za-z])", "", TEXT_COMMAND.sub(r"\1", text))
    text = " ".join(spaced(_joined_groups(text)).split())
    return _SPACES.sub("", text.replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac"))


def _separated(text: str) -> str:
    r"""`text` with `10\,000` as 10000, and any other TeX space between digits as a plain one."""
    return _TEX_SPACES.sub(" ", _joined_groups(text))


def _joined_groups(text: str) -> str:
    return _TEX_GROUPS.sub(lambda found: re.sub(r"[^0-9]", "", found[0]), text)


def _bare(text: str) -> str:
    return TEXT_COMMAND.sub(r"\1", text).strip()


def _verdict(same: bool) -> Grade:
    return Grade.CORRECT if same else Grade.WRONG
