"""Numbers for people: as many digits as a reader can use. Files for programs keep all of them."""

import math

DIGITS = 4  # significant ones


def rounded(value: float, sign: str = "") -> str:
    """`value` in four significant digits, whole parts entire: 0.04392, 136.3, 12,346.

    `sign`: "+" puts a sign before numbers above 0, too. Numbers under 0.0001 and from a million
    million on have an exponent.
    """
    if math.isfinite(value) and 1 <= abs(value) < 1e12:
        value = round(value, max(0, DIGITS - 1 - math.floor(math.log10(abs(value)))))
        return f"{value:{sign},.0f}" if value == int(value) else f"{value:{sign}g}"
    return f"{value:{sign}.{DIGITS}g}"


def rounded_text(text: str) -> str:
    """A number that a program wrote out, rounded; any other text as it is."""
    try:
        return rounded(float(text))
    except ValueError:
        return text


def distinguishable(first: float, second: float) -> tuple[str, str]:
    """Two numbers, rounded unless that makes different ones alike."""
    shown = rounded(first), rounded(second)
    return (repr(first), repr(second)) if first != second and shown[0] == shown[1] else shown
