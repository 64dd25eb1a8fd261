"""Numbers rounded for readers; files for programs keep all digits."""

import math

DIGITS = 4  # significant ones


def rounded(value: float, sign: str = "") -> str:
    """`value` in four significant digits, or all of its whole part: 0.04392, 136.3, 12,346.

    `sign`: "+" puts a sign before positive numbers, too. Numbers below 0.0001 and from 10^12 on
    have an exponent.
    """
    if math.isfinite(value) and 1 <= abs(value) < 1e12:
        value = round(value, max(0, DIGITS - 1 - math.floor(math.log10(abs(value)))))
        return f"{value:{sign},.0f}" if value == int(value) else f"{value:{sign}g}"
    return f"{value:{sign}.{DIGITS}g}"


def rounded_text(text: str) -> str:
    """The text of a number, rounded; any other text unchanged."""
    try:
        return rounded(float(text))
    except ValueError:
        return text


def distinguishable(first: float, second: float) -> tuple[str, str]:
    """Two numbers as text, rounded unless that would make different numbers equal."""
    shown = rounded(first), rounded(second)
    return (repr(first), repr(second)) if first != second and shown[0] == shown[1] else shown
