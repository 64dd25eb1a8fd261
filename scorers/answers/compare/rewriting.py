r"""Different ways of writing one answer, rewritten in one: "5 (five)", "five", `\text{5}` are 5.

In: a tidied answer. Out: the same answer as the rules of `plain_rules` expect it.
To add a way of writing, add a line to `_SUBSTITUTIONS` or a function to `_READINGS`.
"""

import re
from collections.abc import Callable
from decimal import Decimal

from scorers.answers.compare.arithmetic import are_equal, value_of
from scorers.answers.compare.mismatches import TEXT_COMMAND, spoken
from scorers.answers.notation.number_words import spelled_number
from scorers.answers.notation.unit_words import is_unit, measure
from scorers.answers.notation.units import spaced_unit

_Reading = Callable[[str], str]

# Each pattern, an example of what it matches, and what is written in its place; in this order.
_SUBSTITUTIONS = tuple(
    (re.compile(pattern), written)
    for pattern, written in (
        (r"\{:\}", ":"),  # "3{:}2"
        (r"\\mathbb ([RZNQC])(?![A-Za-z])", r"\\mathbb{\1}"),  # `\mathbb R`
        (r"\\varnothing", r"\\emptyset"),  # the other sign of the empty set
        (r"^US(?=\\?\$?[0-9])", ""),  # "US$5"
        (r"\\text\s?\{\s*Rs\.?\s*\}\s*|^Rs\.?\s*(?=[0-9])", ""),  # "Rs. 5"
        # "x \in [1, 2]" is the interval.
        (r"^[A-Za-z]\s?\\in\s?(?=\\?[\[({]|\\left)", ""),
        # The condition of "k\pi, k \in \mathbb{Z}", which a gold may leave out.
        (
            r"(?:\\text\s?\{\s?(?:for|where|with)(?: (?:any|all))?(?: integers?)?\s?\}"
            r"|[,(]|\\quad|\s){1,4}[kn]\s?\\in\s?\\mathbb\s?\{?\s?Z\s?\}?\)?$",
            "",
        ),
        (r"\\(?:text)?color\s?\{[A-Za-z]{1,20}\}", ""),  # `\color{red}`
        (r"\\(?:bf|rm|it)\s+(?=[0-9])", ""),  # `\bf 5`
        (r"\\(?:bf|underline|framebox)\s?\{([^{}]*)\}", r"\1"),  # `\underline{5}`
        # `\text{The answer is } 5`
        (r"\\(?:text|textbf|mathrm)\s?\{[^{}]*\b(?:[Aa]nswer|is)\b[^{}]*\}(?=.)", ""),
        # `3\text{ million}`
        (
            r"(?<=[0-9])\s?\\(?:text|mathrm)\s?"
            r"\{\s*(thousand|million|billion|trillion|percent)\s*\}",
            r" \1",
        ),
        (r"(?<=[0-9])\s?(?:pct|percent(?:age)?)\b\.?", "%"),  # "5 percent"
        (r"(?<=[0-9])\s?\\text\s?\{\s?(st|nd|rd|th)\s?\}", r"\1"),  # `21\text{st}`
        (r"(?<=[0-9])\s?\^\s?\{\s?(?:\\text\s?\{)?(st|nd|rd|th)\}+", r"\1"),  # `21^{st}`
        (r"(?<=[0-9])\s?\\text\s?\{\s?to\s?\}\s?(?=[0-9])", ":"),  # `2\text{ to }3`
        (r"^[A-Z]{2}\s?:\s?[A-Z]{2}\s?=\s?(?=[0-9])", ""),  # "AP:PB = 3:2"
        (r"\([a-z](?:,\s?[a-z]){1,5}\)\s?=\s?(?=\()", ""),  # "(m,n)=(1,1), (m,n)=(2,3)"
        (r"^(?:[Mm]inus|[Nn]egative) (?=[0-9a-z])", "-"),  # "negative 5"
        (r"(?<=[0-9]) \(in [a-z ]{2,30}\)$", ""),  # "42 (in dollars)"
        (r"^(?:only|still|just) (?=[0-9$\\-])|(?<=[=\s][0-9]) only$", ""),  # "only 5"
        (r"^(?:So|Thus|Therefore|Hence),? (?=.*=)", ""),  # "So x = 5"
    )
)
# A text and another in brackets: "5 (five)".
_GLOSS = re.compile(r"(?P<first>[a-z0-9 -]{1,60}?)\s?\((?P<second>[a-z0-9 -]{1,60})\)")
# A figure with its calculation: "45 (3 x 15)".
_WORK = re.compile(r"(?P<figure>\\?\$?[0-9][0-9.,]*)\s?\((?P<work>[^()]*)\)")
# A measure and another in brackets: "45 minutes (0.75 hours)".
_MEASURED_TWICE = re.compile(
    r"(?P<first>[0-9][0-9.,/]* (?P<unit>[A-Za-z]{1,15}))"
    r" \((?:or |= ?|about )?[0-9][0-9.,/]* (?P<other>[A-Za-z]{1,15})\)"
)
# Equations in rows: `\begin{cases} x = 1 \\ y = 2 \end{cases}`.
_EQUATIONS = re.compile(
    r"\\begin\{(?P<kind>cases|aligned|align\*?|gathered)\}(?P<rows>.*)\\end\{(?P=kind)\}"
)
# An equation for one variable, without spaces: "x_1=5".
_ONE_EQUATION = re.compile(r"[A-Za-z](?:_\{?[0-9A-Za-z]\}?)?=[^=<>]+")
# A fraction whose arguments may stand without braces: `\frac\pi4`.
_FRACTION = re.compile(
    r"\\[dt]?frac(?P<arguments>(?:\s?(?:\{[^{}]*\}|\\[A-Za-z]++|[0-9A-Za-z])){2})"
)
# One argument of such a fraction: `{2}`, `\pi`, "4".
_ARGUMENT = re.compile(r"\{([^{}]*)\}|(\\[A-Za-z]+|[0-9A-Za-z])")
# An ordinal in figures: "21st".
_RANK = re.compile(r"([0-9]+)(?:st|nd|rd|th)")
# A complex number without an imaginary part: "5 + 0i".
_NO_IMAGINARY_PART = re.compile(r"\(?([^()]{1,60}?)\s*[-+]\s*0(?:\.0+)?\s?i\)?")
# The half of the day behind a time: the "p.m." of "2 p.m.".
_TIME_OF_DAY = re.compile(
    r"(?<=[0-9])\s?(?:\\text\s?\{\s*)?([AaPp])\.?\s?[Mm](?:\.?\s*\}|\.|$|(?=[\s,]))"
)
# A full hour of the day: "2 PM".
_FULL_HOUR = re.compile(r"([0-9]{1,2}) ([AP]M)")
# A quotient and its remainder: "7 remainder 2", "7 R 2".
_REMAINDER = re.compile(
    r"([0-9]+)\s*(?:\\text\s?\{\s*)?(?:R|r|remainder|Remainder)\.?(?:\s*\})?\s*([0-9]+)"
)
# An amount in two measures: "3 dollars and 50 cents".
_DOLLARS_AND_CENTS = re.compile(r"([0-9][0-9,]*) dollars? and ([0-9]{1,2}) cents?")
# The statement that there is no solution: "there are no real solutions".
_NO_SOLUTION = re.compile(
    r"(?:\\text\s?\{)?(?:there (?:is|are) )?no (?:real )?solutions?(?: exists?)?\}?", re.IGNORECASE
)
# A value in two measures: "2 hours and 30 minutes".
_TWO_MEASURES = re.compile(
    r"(?P<x>[0-9][0-9.]*) (?P<a>[A-Za-z]{1,12}),?\s{1,2}(?:and\s{1,2})?"
    r"(?P<y>[0-9][0-9.]*) (?P<b>[A-Za-z]{1,12})"
)
# The word or the sign "or": `\text{ or }`, `\lor`.
_OR = re.compile(r"\s*(?:\\text\s?\{\s*or\s*\}|\bor\b|\\lor|\\vee)\s*")
# An inequality of a variable and a number: `x \le -1`.
_RAY = re.compile(
    r"(?P<name>[a-z])\s?(?P<relation><|>|\\[lg](?:t|e|eq|eqslant)(?![a-z]))\s?"
    r"(?P<value>-?(?:[0-9.]+|\\[dt]?frac\{[0-9]+\}\{[0-9]+\}|\\sqrt\{[0-9]+\}))"
)
_STRICT = ("<", ">", r"\lt", r"\gt")
_EITHER_SIGN = r"\pm"
# A number and a scale in words: "3 million".
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
    """`text` with numbers in words as figures, and without commands and remarks around a figure.

    "3 million" is 3000000, "5cm" is "5 cm", "2 p.m." is "2 PM".
    """
    for pattern, written in _SUBSTITUTIONS:
        text = pattern.sub(written, text)
    for reading in _READINGS:
        text = reading(text)
    return text


def _equations(text: str) -> str:
    r"""The rows of `cases` or `aligned` as a list of equations, or as one chain of equations."""
    match = _EQUATIONS.fullmatch(text)
    if not match:
        return text
    rows = [row.replace("&", "").strip(" ,;") for row in match["rows"].split(r"\\")]
    rows = [row for row in rows if row]
    if all(_ONE_EQUATION.fullmatch("".join(row.split())) for row in rows):
        return ", ".join(rows)
    if rows and all(row.startswith("=") for row in rows[1:]):
        return " ".join(rows)
    return text


def _fractions(text: str) -> str:
    r"""`\frac\pi4` as `\frac{\pi}{4}`."""
    return _FRACTION.sub(_fraction, text) if "frac" in text else text


def _fraction(match: re.Match[str]) -> str:
    top, bottom = (part[1] or part[2] or "" for part in _ARGUMENT.finditer(match["arguments"]))
    plain = not {top, bottom} & {r"\frac", r"\sqrt", r"\text", r"\dfrac", r"\left"}
    return rf"\frac{{{top}}}{{{bottom}}}" if plain else match[0]


def _uncovered(text: str) -> str:
    covered = TEXT_COMMAND.fullmatch(text)
    if covered and (re.match(r"\s*[-$]?[0-9]", covered[1]) or spelled_number(covered[1])):
        return covered[1].strip()
    return text


def _without_work(text: str) -> str:
    """The 45 of "45 (3 x 15)", where the calculation has that value."""
    if not (work := _WORK.fullmatch(text)) or (done := value_of(work["work"])) is None:
        return text
    shown = value_of(work["figure"])
    return work["figure"] if shown is not None and are_equal(done, shown) else text


def _without_gloss(text: str) -> str:
    """The figure of "5 (five)", and the first measure of "45 minutes (0.75 hours)"."""
    if gloss := _GLOSS.fullmatch(text):
        first, second = gloss["first"], gloss["second"]
        if str(spelled_number(first)) == second or str(spelled_number(second)) == first:
            return first if first.isdecimal() else second
    if twice := _MEASURED_TWICE.fullmatch(text):
        units = measure(twice["unit"]), measure(twice["other"])
        if None not in units and units[0] != units[1]:
            return twice["first"]
    return text


def _number(text: str) -> str:
    sign = "-" if text.startswith("-") else ""
    text = text.removeprefix("-")
    if (number := spelled_number(text)) is not None:
        return f"{sign}{number}"
    words = text.split()
    for count in range(min(3, len(words) - 1), 0, -1):
        number = spelled_number(" ".join(words[:count]))
        if number is not None and is_unit(" ".join(words[count:])):
            return f"{sign}{number} {' '.join(words[count:])}"  # "five apples"
    return f"{sign}{text}"


def _compound(text: str) -> str:
    """Two measures without what joins them: "2 hours 30 minutes"."""
    match = _TWO_MEASURES.fullmatch(spoken(text))
    if not match or None in (measure(match["a"]), measure(match["b"])):
        return text
    return f"{match['x']} {match['a']} {match['y']} {match['b']}"


def _union(text: str) -> str:
    r"""`x \le -1 \text{ or } x \ge 3` as `(-\infty, -1] \cup [3, \infty)`."""
    pieces = _OR.split(text)
    rays = [ray for piece in pieces if (ray := _RAY.fullmatch(piece.strip()))]
    below = [ray for ray in rays if ray["relation"].startswith(("<", r"\l"))]
    above = [ray for ray in rays if ray not in below]
    if len(pieces) != 2 or len(below) != 1 or len(above) != 1:
        return text
    left, right = below[0], above[0]
    if left["name"] != right["name"]:
        return text
    closing = ")" if left["relation"] in _STRICT else "]"
    opening = "(" if right["relation"] in _STRICT else "["
    return rf"(-\infty, {left['value']}{closing} \cup {opening}{right['value']}, \infty)"


def _alone(pattern: re.Pattern[str], written: Callable[[re.Match[str]], str]) -> _Reading:
    """A reading of texts that match `pattern` as a whole."""
    return lambda text: written(match) if (match := pattern.fullmatch(text)) else text


def _time_of_day(text: str) -> str:
    text = _TIME_OF_DAY.sub(lambda match: f" {match[1].upper()}M", text)
    return text if ":" in text else _FULL_HOUR.sub(r"\1:00 \2", text)


def _scaled(text: str) -> str:
    if not (scaled := _SCALED.match(text)):
        return text
    value = Decimal(scaled["figure"].replace(",", "")) * _SCALES[scaled["scale"].lower()]
    return f"{scaled['sign']}{value.normalize():f}{text[scaled.end() :]}"


_READINGS: tuple[_Reading, ...] = (
    _equations,
    _fractions,
    _uncovered,
    _without_work,
    _without_gloss,
    _number,
    _alone(_DOLLARS_AND_CENTS, lambda match: rf"\${match[1]}.{match[2]:0>2}"),
    _compound,
    _union,
    _alone(_NO_IMAGINARY_PART, lambda match: match[1]),
    _alone(_RANK, lambda match: match[1]),
    _alone(_NO_SOLUTION, lambda _: "no solution"),
    _alone(_REMAINDER, lambda match: f"{int(match[1])} R {int(match[2])}"),
    _time_of_day,
    _scaled,
    spaced_unit,
)
