r"""The value of plain arithmetic, to see whether a chain such as "V = 2 * 3 = 6" is true.

In: an expression of numbers in LaTeX or as in a program. Out: its value, exact where no root and no
pi is in it; None for anything else. Nothing is executed: the tree of the expression is walked.
"""

import ast
import math
import operator
import re
from collections.abc import Callable
from fractions import Fraction

Value = Fraction | float

_LONGEST = 200
_HIGHEST_POWER = 64
_CARELESS = 0.01  # of an approximation: people stop a division early
# The comma of a group of thousands: that of "1,000".
_GROUPS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
# A fraction of TeX without braces inside: `\frac{1}{2}`, `\frac12`.
_FRACTION = re.compile(r"\\[dt]?frac\s?(?:\{([^{}]+)\}\s?\{([^{}]+)\}|([0-9])\s?([0-9]))")
# A square root of TeX: `\sqrt{2}`, `\sqrt2`.
_ROOT = re.compile(r"\\sqrt\s?(?:\{([^{}]+)\}|([0-9]))")
# An exponent: the `^{10}` of `2^{10}`.
_POWER = re.compile(r"\^\s?(?:\{([^{}]+)\}|([0-9]))")
_WRITTEN = (
    *((r"\left", ""), (r"\right", ""), (r"\,", ""), (r"\!", ""), (r"\$", ""), ("{,}", "")),
    *((r"\times", "*"), (r"\cdot", "*"), (r"\div", "/"), (r"\pi", " pi ")),
)
# A letter x or a cross between two numbers: that of "3 x 4".
_TIMES = re.compile(r"(?<=[0-9)])\s?[x\u00d7]\s?(?=[$0-9(])")
# Text of numbers, operators, brackets and pi alone: "2*(3 + pi)".
_ALLOWED = re.compile(r"(?:[0-9.+*/() -]|pi)*")
_OPERATIONS: dict[type[ast.operator], Callable[[Value, Value], Value]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def value_of(text: str) -> Value | None:
    """The value of an expression of numbers, the four operations, powers, roots and pi."""
    if len(text) > _LONGEST:
        return None
    text = _TIMES.sub("*", _GROUPS.sub("", text)).replace("\u00b7", "*").replace("$", "")
    for written, read in _WRITTEN:
        text = text.replace(written, read)
    for _ in range(3):  # fractions and roots within one another
        text = _FRACTION.sub(lambda f: f"(({f[1] or f[3]})/({f[2] or f[4]}))", text)
        text = _ROOT.sub(lambda f: f"(({f[1] or f[2]})**0.5)", text)
        text = _POWER.sub(lambda f: f"**({f[1] or f[2]})", text)
    if not _ALLOWED.fullmatch(text):
        return None
    try:
        return _walked(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError):
        return None


def _walked(node: ast.expr) -> Value:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return Fraction(str(node.value))
    if isinstance(node, ast.Name):
        return math.pi
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return 0 - _walked(node.operand)
    if isinstance(node, ast.BinOp):
        left: Value = _walked(node.left)
        right: Value = _walked(node.right)
        if operation := _OPERATIONS.get(type(node.op)):
            return operation(left, right)
        if isinstance(node.op, ast.Pow) and -_HIGHEST_POWER <= right <= _HIGHEST_POWER:
            if isinstance(right, Fraction) and right.denominator == 1:
                power: Value = left ** int(right)
                return power
            if left >= 0:
                return math.pow(left, right)
    raise ValueError("no plain arithmetic")


def are_equal(one: Value, other: Value) -> bool:
    """Whether two values are the same, exactly or as far as floating-point numbers tell."""
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one == other
    return math.isclose(one, other, rel_tol=1e-9)


def is_rounded(exact: str, rounded: str) -> bool:
    r"""Whether `rounded` may stand for `exact`, as in `\frac{1}{3} \approx 0.33`.

    The two may differ by one in the last decimal place, or by a hundredth of the larger value. True
    where one of them has no plain value.
    """
    one, other = value_of(exact), value_of(rounded)
    if one is None or other is None:
        return True
    decimals = _decimals(rounded) or _decimals(exact)
    distance, largest = abs(float(one) - float(other)), max(abs(float(one)), abs(float(other)))
    return distance <= max(10.0**-decimals, _CARELESS * largest)


def _decimals(text: str) -> int:
    match = re.fullmatch(r"\s*-?[0-9]*\.([0-9]+)\s*", text)
    return len(match[1]) if match else 0
