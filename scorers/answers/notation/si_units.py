r"""Units of physics, alone and compound: "N", `\text{kg/m}^3`, "J mol⁻¹ K⁻¹", "kilowatt hours".

In: an answer. Out: where its unit begins, and which units it is a product of. Nothing is converted:
two units are the same where they have the same factors, whatever their order and notation. What is
ambiguous is not read, such as "J/mol K".
"""

import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

# Powers of metre, kilogram, second, ampere, kelvin, mole.
_Dimension = tuple[int, int, int, int, int, int]


class _Unit(NamedTuple):
    """How many of the base units one of it is, and of which."""

    factor: Fraction
    dimension: _Dimension


_ONE = Fraction(1)
# Symbol, singular of its name, factor, dimension. C and °C, and d for a day, are no symbols here.
_UNITS: tuple[tuple[str, str, Fraction, _Dimension], ...] = (
    ("m", "metre", _ONE, (1, 0, 0, 0, 0, 0)),
    ("g", "gram", Fraction(1, 1000), (0, 1, 0, 0, 0, 0)),
    ("s", "second", _ONE, (0, 0, 1, 0, 0, 0)),
    ("A", "ampere", _ONE, (0, 0, 0, 1, 0, 0)),
    ("K", "kelvin", _ONE, (0, 0, 0, 0, 1, 0)),
    ("mol", "mole", _ONE, (0, 0, 0, 0, 0, 1)),
    ("N", "newton", _ONE, (1, 1, -2, 0, 0, 0)),
    ("J", "joule", _ONE, (2, 1, -2, 0, 0, 0)),
    ("W", "watt", _ONE, (2, 1, -3, 0, 0, 0)),
    ("Pa", "pascal", _ONE, (-1, 1, -2, 0, 0, 0)),
    ("V", "volt", _ONE, (2, 1, -3, -1, 0, 0)),
    ("\u03a9", "ohm", _ONE, (2, 1, -3, -2, 0, 0)),
    ("F", "farad", _ONE, (-2, -1, 4, 2, 0, 0)),
    ("H", "henry", _ONE, (2, 1, -2, -2, 0, 0)),
    ("T", "tesla", _ONE, (0, 1, -2, -1, 0, 0)),
    ("Hz", "hertz", _ONE, (0, 0, -1, 0, 0, 0)),
    ("eV", "electronvolt", Fraction("1.602176634e-19"), (2, 1, -2, 0, 0, 0)),
    ("L", "litre", Fraction(1, 1000), (3, 0, 0, 0, 0, 0)),
)
_PREFIXES = {
    "p": ("pico", Fraction(1, 10**12)),
    "n": ("nano", Fraction(1, 10**9)),
    "\u03bc": ("micro", Fraction(1, 10**6)),
    "m": ("milli", Fraction(1, 1000)),
    "k": ("kilo", Fraction(1000)),
    "M": ("mega", Fraction(10**6)),
    "G": ("giga", Fraction(10**9)),
}
_OTHERS = {
    "min": _Unit(Fraction(60), (0, 0, 1, 0, 0, 0)),
    "h": _Unit(Fraction(3600), (0, 0, 1, 0, 0, 0)),
    "cm": _Unit(Fraction(1, 100), (1, 0, 0, 0, 0, 0)),
    "kWh": _Unit(Fraction(3_600_000), (2, 1, -2, 0, 0, 0)),
}
_SPELLINGS = {
    **dict.fromkeys(("minute", "minutes"), "min"),
    **dict.fromkeys(("hour", "hours", "hr", "hrs"), "h"),
    **dict.fromkeys(("centimetre", "centimetres", "centimeter", "centimeters"), "cm"),
    **dict.fromkeys(("amp", "amps"), "A"),
    **dict.fromkeys(("sec",), "s"),
}


def _table() -> tuple[dict[str, _Unit], dict[str, str]]:
    """Every unit by its symbol, and every symbol by its spellings."""
    units, spellings = dict(_OTHERS), {symbol: symbol for symbol in _OTHERS} | _SPELLINGS
    prefixed = {"": ("", _ONE), **_PREFIXES}
    for symbol, name, factor, dimension in _UNITS:
        for sign, (word, times) in prefixed.items():
            whole = sign + symbol
            assert whole not in units, whole
            units[whole] = _Unit(factor * times, dimension)
            spellings[whole] = whole
            american = name.replace("metre", "meter").replace("litre", "liter")
            for one in (name, american):
                plural = one if one.endswith("z") else f"{one}s"
                spellings |= dict.fromkeys((word + one, word + plural), whole)
            if symbol == "L":
                spellings[f"{sign}l"] = whole
    return units, spellings


_BY_SYMBOL, _BY_SPELLING = _table()

Factors = tuple[tuple[str, int], ...]
"""The symbols of a unit, sorted, with their powers."""

_LONGEST = 60
# Commands of LaTeX that only set a unit upright or apart; what they hold stays.
_UPRIGHT = re.compile(r"\\(?:text|mathrm|rm|mbox|textnormal|operatorname|si|unit)\s?(?=\{)")
_APART = re.compile(r"\\[,;:! ]|~|\\(?:quad|thinspace)(?![A-Za-z])")
_TIMES = re.compile(r"\\cdot(?![A-Za-z])|[\u00b7\u22c5\u2219*\u2022]")
_RAISED = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-"
)
_SUPERSCRIPT = re.compile("[\u207b\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")
# A unit with its power: "m^3", "m^{-3}", "m-3"; the last one only with its sign.
_FACTOR = re.compile(
    r"(?P<unit>[A-Za-z\u03a9\u03bc]+)(?:\^\(?(?P<power>-?[1-9])\)?|(?P<bare>-[1-9]))?"
)
_STARTS = re.compile(r"(?<![A-Za-z\u03a9\u03bc^])[A-Za-z\u03a9\u03bc]")
# A power in words: "square metres", "second squared".
_WORDS_OF_POWER = re.compile(r"\b(?:(square|cubic) ([a-z]+)|([a-z]+) (squared|cubed))\b")
_KILOWATT_HOURS = re.compile(r"\bkilowatt[- ]hours?\b")


def plain(text: str) -> str:
    r"""A text without what only sets a unit upright or apart: `5\,\text{N}` is "5 N"."""
    text = _UPRIGHT.sub("", text)
    text = _APART.sub(" ", text).replace("\\Omega", "\u03a9").replace("\u2126", "\u03a9")
    return re.sub(r"\\mu(?![A-Za-z])\s?|\u00b5", "\u03bc", text)


def split(text: str) -> Iterator[tuple[str, Factors]]:
    """Every way to read `text` as a value and a unit of the table; shorter values first."""
    text = plain(text.strip().removesuffix(".")).strip("$ ")
    for start in _STARTS.finditer(text):
        value, unit = text[: start.start()].rstrip(" {"), text[start.start() :]
        if value[-1:] in (*"0123456789})",) and (factors := parse(unit)) is not None:
            yield value, factors


def parse(unit: str) -> Factors | None:
    """The factors of a unit; None where it is none, or ambiguous."""
    if len(unit) > _LONGEST:
        return None
    unit = _SUPERSCRIPT.sub(lambda match: f"^{match[0].translate(_RAISED)}", unit)
    unit = _TIMES.sub("\u00b7", unit.replace("\u2212", "-"))
    unit = re.sub(r"\^\s?\{\s?(-?[1-9])\s?\}", r"^\1 ", unit)
    unit = _KILOWATT_HOURS.sub("kWh", unit)
    unit = _WORDS_OF_POWER.sub(_raised, unit.replace("}^", "^").replace("{", "").replace("}", " "))
    above, *below = re.split(r"/|\bper\b", unit)
    counts = _product(above)
    if counts is None:
        return None
    for part in below:
        inside = re.fullmatch(r"\s*\((.*)\)\s*", part) if len(below) == 1 else None
        divided = _product(inside[1] if inside else part)
        if divided is None or (inside is None and len(divided) > 1):
            return None  # J/mol K
        counts.subtract(divided)
    found = tuple(sorted((symbol, power) for symbol, power in counts.items() if power))
    return found or None


def written(factors: Factors) -> str:
    """A unit in the one form of this module, which `parse` reads: "kg·m^-3"."""
    return "\u00b7".join(f"{symbol}^{power}" if power != 1 else symbol for symbol, power in factors)


def measure_the_same(one: Factors, other: Factors) -> bool:
    """Whether two units are equal by their definitions, as J and N·m are."""
    return _value(one) == _value(other)


def _value(factors: Factors) -> _Unit:
    factor, dimension = _ONE, [0] * 6
    for symbol, power in factors:
        unit = _BY_SYMBOL[symbol]
        factor *= unit.factor**power
        dimension = [a + power * b for a, b in zip(dimension, unit.dimension, strict=True)]
    a, b, c, d, e, f = dimension
    return _Unit(factor, (a, b, c, d, e, f))


def _product(text: str) -> Counter[str] | None:
    counts: Counter[str] = Counter()
    for word in re.split(r"[\s\u00b7-]*[\s\u00b7][\s\u00b7]*", text.strip(" \u00b7")):
        match = _FACTOR.fullmatch(word)
        symbol = _symbol(match["unit"]) if match else None
        if match is None or symbol is None:
            return None
        counts[symbol] += int(match["power"] or match["bare"] or 1)
    return counts


def _symbol(spelling: str) -> str | None:
    return _BY_SPELLING.get(spelling) or _BY_SPELLING.get(
        spelling.lower() if len(spelling) > 3 else ""
    )


def _raised(match: re.Match[str]) -> str:
    power = 2 if (match[1] or match[4]).startswith("square") else 3
    return f"{match[2] or match[3]}^{power}"
