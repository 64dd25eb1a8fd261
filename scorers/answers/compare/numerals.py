r"""Plain numbers, ratios and numerals of other bases, compared exactly.

In: two answers in LaTeX (`notation.to_latex`). Out: a verdict, or None: then algebra decides.

Numbers are compared as math-verify 0.9.0 was measured to do it, but exactly: integers, fractions
and decimals by value, a decimal and a fraction to six places, below 0.001 to a part in a thousand.
A percentage equals its figure and a hundredth of it, because golds are written both ways: "28%" is
28 and 0.28.
"""

import re
from fractions import Fraction
from typing import NamedTuple

from schemas.records import Grade
from scorers.answers.notation.units import without_unit

_INTEGER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"
# A number with its power of ten and its per cent sign: "-1,234.5", `2 \times 10^{3}`, "28%".
_DECIMAL = re.compile(
    rf"(?P<sign>[-+]?)(?P<digits>{_INTEGER}(?P<point>\.[0-9]+)?|(?P<bare>\.[0-9]+))"
    r"(?P<power> ?(?:\\times|\\cdot|\*|x) ?10 ?\^ ?"
    r"(?:\{ ?(?P<a>[-+]?[0-9]{1,3}) ?\}|(?P<b>[0-9])))?"
    r"(?P<percent> ?\\?%| percent)?"
)
# A power of ten alone: `10^{-3}`.
_POWER_OF_TEN = re.compile(
    r"(?P<sign>[-+]?)10 ?\^ ?(?:\{ ?(?P<a>[-+]?[0-9]{1,3}) ?\}|(?P<b>[0-9]))"
)
# A fraction of two whole numbers: "3/4", `\frac{3}{4}`.
_FRACTION = re.compile(
    r"(?P<sign>-?)(?:(?P<a>[0-9]+)/(?P<b>[0-9]+)|\\[dt]?frac\{(?P<c>[0-9]+)\}\{(?P<d>[0-9]+)\})"
)
# A whole number and a fraction: "3 1/2", `3\frac{1}{2}`.
_MIXED = re.compile(
    r"(?P<sign>-?)(?P<whole>[0-9]{1,12})"
    r"(?:\s+(?P<a>[0-9]{1,9})/(?P<b>[0-9]{1,9})|\s*\\[dt]?frac\{(?P<c>[0-9]{1,9})\}\{(?P<d>[0-9]{1,9})\})"
    r"(?P<percent> ?\\?%)?"
)
# A number whose thousands are divided by spaces: "1 000 000".
_GROUPED = re.compile(r"[-+]?[0-9]{1,3}(?:\s[0-9]{3})+(?:\.[0-9]+)?")
# A currency before a number: the "USD" of "USD 5".
_CURRENCY = re.compile(r"(?:USD|US\\?\$|EUR|GBP|Rs\.?)\s?(?=[0-9])")

# A term of a ratio with the sign behind it: the "2:" of "2:3".
_RATIO = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)(?: ?(?::|\\colon|\bto\b) ?(?=[0-9]))?")
# The sign of a ratio: the colon of "2:3", "2 to 3".
_RATIO_MARK = re.compile(r":|\\colon|[0-9] to [0-9]")
# A time of day, which may also be a ratio: "12:30".
_CLOCK = re.compile(r"[0-9]{1,2}:[0-5][0-9]")
# A numeral with the prefix of its base: "0x1F".
_OTHER_BASE = re.compile(r"0(?P<base>[xXbBoO])(?P<digits>[0-9A-Fa-f]{1,64})")

# A decimal comma where the other answer has a point: "1,22" and "0,111", never "1,222".
_COMMA = re.compile(r"-?(?:[0-9]+,(?:[0-9]{1,2}|[0-9]{4,})|0,[0-9]+)")
# A decimal comma that may also divide a list: "1,2", written without a space.
_MAYBE_LIST = re.compile(r"-?[1-9][0-9]*,[0-9]")
# A number with a decimal point: "1.22".
_POINT = re.compile(r"-?[0-9]+\.[0-9]+")

# Doubles hold 15 significant digits; beyond them math-verify's own rounding decides.
_EXACT_DIGITS = 15
MOST_DIGITS = 40
_SURELY_DIFFERENT = Fraction(2, 10**6)
_LARGEST_DECIMAL = 10**9
# math-verify rounds to six places, where a tiny value has no digits left: these are compared as
# they are, to a part in a thousand.
_TINY = Fraction(1, 1000)


class Number(NamedTuple):
    """A plain number; `percent` where a per cent sign stands behind `value`."""

    value: Fraction
    decimal: bool
    percent: bool
    digits: int


def compare_numbers(answer: str, gold: str) -> Grade | None:
    """The verdict on two plain numbers; None where one is no plain number, or rounding decides."""
    if "," in answer + gold:
        answer, gold = without_unit(answer), without_unit(gold)
    if _COMMA.fullmatch(answer) and _POINT.fullmatch(gold):
        answer = answer.replace(",", ".")
    elif _COMMA.fullmatch(gold) and _POINT.fullmatch(answer):
        if _MAYBE_LIST.fullmatch(gold):
            return Grade.UNPARSED
        gold = gold.replace(",", ".")
    one, other = read_number(answer), read_number(gold)
    if one is None or other is None:
        return None
    if one.percent is not other.percent:
        return _compare_with_percentage(one, other)
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


def compare_ratios(answer: str, gold: str) -> Grade | None:
    """The verdict where one is a ratio such as 2:3; a whole number is no ratio."""
    if not _RATIO_MARK.search(answer) and not _RATIO_MARK.search(gold):
        return None
    one, other = _terms(answer), _terms(gold)
    if one is None or other is None:
        return None
    if _CLOCK.fullmatch(gold) and one != other:  # a time of day as well
        return Grade.WRONG if len(one) == 2 else Grade.UNPARSED
    if _CLOCK.fullmatch(gold) and not _RATIO_MARK.search(answer):
        return Grade.UNPARSED
    if len(one) != len(other) or not any(one) or not any(other):
        return Grade.WRONG
    return _verdict(all(a * other[0] == b * one[0] for a, b in zip(one, other, strict=True)))


def compare_other_bases(answer: str, gold: str) -> Grade | None:
    """The verdict where one is a numeral such as 0x1F, which never equals its decimal value.

    The other may leave the prefix out where its digits alone show the base.
    """
    one, other = _OTHER_BASE.fullmatch(answer), _OTHER_BASE.fullmatch(gold)
    if one and other:
        same_base = one["base"].lower() == other["base"].lower()
        return _verdict(same_base and _digits(one["digits"]) == _digits(other["digits"]))
    if named := one or other:
        bare = gold if one else answer
        if not re.fullmatch(r"[0-9A-Fa-f]+", bare) or _digits(bare) != _digits(named["digits"]):
            return Grade.WRONG
        return Grade.UNPARSED if bare.isdecimal() else Grade.CORRECT
    return Grade.UNPARSED if re.search(r"\b0[xXbBoO][0-9]", answer + " " + gold) else None


def _compare_with_percentage(one: Number, other: Number) -> Grade | None:
    percentage, bare = (one, other) if one.percent else (other, one)
    values = percentage.value, percentage.value / 100
    distance = min(abs(bare.value - value) for value in values)
    if distance == 0:
        return Grade.CORRECT
    rounded = bare.decimal or percentage.decimal
    return None if rounded and distance <= _SURELY_DIFFERENT else Grade.WRONG


def read_number(text: str) -> Number | None:
    """`text` as a plain number with an optional currency sign, per cent sign or unit."""
    text = without_unit(text.replace("{,}", ",").replace(r"\!", "")).replace(r"\$", "", 1).strip()
    text = _CURRENCY.sub("", text.removeprefix("+"), count=1)
    if mixed := _MIXED.fullmatch(text):
        return _mixed_number(mixed)
    if _GROUPED.fullmatch(text):
        text = "".join(text.split())
    if fraction := _FRACTION.fullmatch(text):
        top, bottom = fraction["a"] or fraction["c"], fraction["b"] or fraction["d"]
        if len(top) > _EXACT_DIGITS or len(bottom) > _EXACT_DIGITS or int(bottom) == 0:
            return None
        sign = -1 if fraction["sign"] else 1
        return Number(Fraction(sign * int(top), int(bottom)), False, False, len(top))
    if power := _POWER_OF_TEN.fullmatch(text):
        value = Fraction(10) ** int(power["a"] or power["b"])
        return Number(-value if power["sign"] == "-" else value, False, False, 1)
    decimal = _DECIMAL.fullmatch(text)
    if not decimal or len(decimal["digits"]) > MOST_DIGITS:
        return None
    value = Fraction(decimal["sign"] + decimal["digits"].replace(",", ""))
    if decimal["power"]:
        value *= Fraction(10) ** int(decimal["a"] or decimal["b"])
    digits = sum(character.isdigit() for character in decimal["digits"].lstrip("0."))
    point = decimal["point"] is not None or decimal["bare"] is not None
    return Number(value, point, decimal["percent"] is not None, digits)


def _mixed_number(mixed: re.Match[str]) -> Number | None:
    """The value of a mixed number such as "3 1/2"; None where the fraction is improper."""
    top, bottom = int(mixed["a"] or mixed["c"]), int(mixed["b"] or mixed["d"])
    if not 0 < top < bottom:
        return None
    sign = -1 if mixed["sign"] else 1
    return Number(
        sign * (int(mixed["whole"]) + Fraction(top, bottom)), False, bool(mixed["percent"]), 1
    )


def _terms(text: str) -> tuple[Fraction, ...] | None:
    """The terms of a ratio or of a plain fraction; None for anything else."""
    if fraction := _FRACTION.fullmatch(text):
        if fraction["sign"]:
            return None
        return Fraction(fraction["a"] or fraction["c"]), Fraction(fraction["b"] or fraction["d"])
    terms, end = [], 0
    while match := _RATIO.match(text, end):
        terms.append(Fraction(match[1]))
        end = match.end()
    return tuple(terms) if end == len(text) and len(terms) > 1 else None


def _digits(digits: str) -> str:
    return digits.lower().lstrip("0")


def _verdict(same: bool) -> Grade:
    return Grade.CORRECT if same else Grade.WRONG
