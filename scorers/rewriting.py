r"""Ways of writing an answer that are brought to one: "5 (five)", "five" and `\text{5}` are 5.

In: a tidied answer. Out: the same answer as the rules of `plain_answer` know it.
"""

import re
from decimal import Decimal

from scorers.arithmetic import are_equal, value_of
from scorers.spelled import spelled_number
from scorers.units import spaced_unit
from scorers.unseen import TEXT_COMMAND

_COLOUR = re.compile(r"\\(?:text)?color\s?\{[A-Za-z]{1,20}\}")
_GLOSS = re.compile(r"(?P<first>[a-z0-9 -]{1,60}?)\s?\((?P<second>[a-z0-9 -]{1,60})\)")
_STYLE = re.compile(r"\\(?:bf|rm|it)\s+(?=[0-9])|\\(?:bf|underline|framebox)\s?\{([^{}]*)\}")
_ANNOUNCED = re.compile(r"\\(?:text|textbf|mathrm)\s?\{[^{}]*\b(?:[Aa]nswer|is)\b[^{}]*\}(?=.)")
_WORD_BEHIND = re.compile(
    r"(?<=[0-9])\s?\\(?:text|mathrm)\s?\{\s*(thousand|million|billion|trillion|percent)\s*\}"
)
_ORDINAL = re.compile(
    r"(?<=[0-9])\s?(?:\\text\s?\{\s?(st|nd|rd|th)\s?\}|\^\s?\{\s?(?:\\text\s?\{)?(st|nd|rd|th)\}+)"
)
_PERCENT = re.compile(r"(?<=[0-9])\s?(?:pct|percent)\b\.?")
_US = re.compile(r"^US(?=\\?\$?[0-9])")
_SO = re.compile(r"^(?:So|Thus|Therefore|Hence),? (?=.*=)")
_WORK = re.compile(r"(?P<figure>\\?\$?[0-9][0-9.,]*)\s?\((?P<work>[^()]*)\)")  # "45 (3 x 15)"
_RUPEES = re.compile(r"\\text\s?\{\s*Rs\.?\s*\}\s*|^Rs\.?\s*(?=[0-9])")
_RANK = re.compile(r"([0-9]+)(?:st|nd|rd|th)")
_MEMBER = re.compile(r"^[A-Za-z]\s?\\in\s?(?=\\?[\[({]|\\left)")
_NO_IMAGINARY_PART = re.compile(r"\(?([^()]{1,60}?)\s*[-+]\s*0(?:\.0+)?\s?i\)?")
_TIME_OF_DAY = re.compile(
    r"(?<=[0-9])\s?(?:\\text\s?\{\s*)?([AaPp])\.?\s?[Mm](?:\.?\s*\}|\.|$|(?=[\s,]))"
)
_FULL_HOUR = re.compile(r"([0-9]{1,2}) ([AP]M)")
_REMAINDER = re.compile(
    r"([0-9]+)\s*(?:\\text\s?\{\s*)?(?:R|r|remainder|Remainder)\.?(?:\s*\})?\s*([0-9]+)"
)
_DOLLARS_AND_CENTS = re.compile(r"([0-9][0-9,]*) dollars? and ([0-9]{1,2}) cents?")
_NO_SOLUTION = re.compile(
    r"(?:\\text\s?\{)?(?:there (?:is|are) )?no (?:real )?solutions?(?: exists?)?\}?", re.IGNORECASE
)
_EITHER_SIGN = r"\pm"
_SCALED = re.compile(
    r"(?P<sign>-?\\?\$?)(?P<figure>[0-9][0-9,]{0,20}(?:\.[0-9]{1,9})?)\s"
    r"(?P<scale>(?i:thousand|million|billion|trillion))(?![A-Za-z])"
)
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}


def both_signs(text: str) -> str:
    r"""`1 \pm \sqrt{2}` as `1 + \sqrt{2}, 1 - \sqrt{2}`; a text with other commas as it is."""
    if text.count(_EITHER_SIGN) != 1 or "," in text or "=" in text:
        return text
    return ", ".join(text.replace(_EITHER_SIGN, sign) for sign in "+-")


def rewritten(text: str) -> str:
    """`text` with numbers in words as figures and the cover of a figure taken off.

    "3 million" is 3000000, "5cm" is "5 cm", "2 p.m." is "2 PM".
    """
    text = text.replace("{:}", ":").replace(r"\mathbb R", r"\mathbb{R}")
    text = _RUPEES.sub("", _US.sub("", text))
    text = _STYLE.sub(lambda found: found[1] or "", _COLOUR.sub("", _MEMBER.sub("", text)))
    text = _ANNOUNCED.sub("", text.replace(r"\varnothing", r"\emptyset"), count=1)
    text = _PERCENT.sub("%", text)
    text = _ORDINAL.sub(r"\1\2", _WORD_BEHIND.sub(r" \1", text))
    covered = TEXT_COMMAND.fullmatch(text)
    if covered and (re.match(r"\s*[-$]?[0-9]", covered[1]) or spelled_number(covered[1])):
        text = covered[1].strip()
    text = _SO.sub("", text)
    if (work := _WORK.fullmatch(text)) and (done := value_of(work["work"])) is not None:
        shown = value_of(work["figure"])
        text = work["figure"] if shown is not None and are_equal(done, shown) else text
    if gloss := _GLOSS.fullmatch(text):
        first, second = gloss["first"], gloss["second"]
        if str(spelled_number(first)) == second or str(spelled_number(second)) == first:
            text = first if first.isdecimal() else second
    if (number := spelled_number(text)) is not None:
        return str(number)
    if real := _NO_IMAGINARY_PART.fullmatch(text):
        text = real[1]
    if rank := _RANK.fullmatch(text):
        return rank[1]
    if _NO_SOLUTION.fullmatch(text):
        return "no solution"
    if money := _DOLLARS_AND_CENTS.fullmatch(text):
        return rf"\${money[1]}.{money[2]:0>2}"
    if division := _REMAINDER.fullmatch(text):
        return f"{int(division[1])} R {int(division[2])}"
    text = _TIME_OF_DAY.sub(lambda found: f" {found[1].upper()}M", text)
    text = _FULL_HOUR.sub(r"\1:00 \2", text) if ":" not in text else text
    if scaled := _SCALED.match(text):
        value = Decimal(scaled["figure"].replace(",", "")) * _SCALES[scaled["scale"].lower()]
        text = f"{scaled['sign']}{value.normalize():f}{text[scaled.end() :]}"
    return spaced_unit(text)
