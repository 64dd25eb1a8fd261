r"""Answers with "=": whether what stands on the left leaves the value on the right as it is.

"x = 5" says 5 and so does "V = 2 * 3 = 6" say 6; "x^2 = 5", "|x| = 5" and "6 = 5" do not.
math-verify 0.9.0 compares the right-hand sides alone.
In: two answers in LaTeX. Out: UNPARSED where an equation cannot stand for a value, else None; one
side of an equation or of an approximation.
"""

import re

from schemas.records import Grade
from scorers.answers.compare.arithmetic import are_equal, is_rounded, value_of
from scorers.answers.compare.mismatches import COMMAND, TEXT_COMMAND, spaced
from scorers.answers.notation.units import without_unit

# An index: the `_{max}` of `x_{max}`.
_INDEX = re.compile(r"_\s?(?:\{[^{}]*\}|\w)")
# Any letter: the x of "x = 5".
_LETTER = re.compile(r"[A-Za-z]")
# A relation other than "=": `\le` in `x \le 5`.
_RELATION = re.compile(r"[<>]|\\(?:l|g|n)eq?(?![A-Za-z])|\\(?:approx|neq|sim|equiv|in)(?![A-Za-z])")
# A congruence or a membership: `\equiv` in `x \equiv 2`.
_CONGRUENT = re.compile(r"\\(?:equiv|in|[bp]?mod)(?![A-Za-z])")
# What joins two equations: the comma of "x = 1, y = 2".
_PIECES = re.compile(r"\s*(?:[,;]|\band\b|\bor\b|\\q?quad)\s*")
# An equation in round brackets: "(x = 5)".
_COVERED = re.compile(r"\(([^()]*=[^()]*)\)")
# A label in words before a calculation: the "Earned:" of "Earned: 68 - 36".
_LABEL = re.compile(
    r"^(?=[A-Za-z]{3})[A-Za-z][A-Za-z ,.'-]*(?::\s*|\s)(?=\$?[0-9]|\((?![A-Z]{2,5}\)))"
)
# A word that denies: the "no" of "no solution".
_DENIED = re.compile(r"\b(?:no|not|never|without|unless|except)\b", re.IGNORECASE)
_GREEK = (
    r"\\(?:alpha|beta|gamma|delta|epsilon|varepsilon|theta|lambda|mu|nu|rho|sigma|tau|phi|varphi"
    r"|omega|pi|ell|Delta|Omega|Gamma|Lambda|Phi|Sigma|Theta)(?![A-Za-z])"
)
# A variable that is calculated with: "2x", "x^2", "x + 1".
_ALGEBRA = re.compile(
    r"[0-9]\s*\*?\s*[a-z]|[a-z]\s*\^|[a-z0-9)]\s*[-+*]\s*[a-z(]|[a-z)]\s*[-+*]\s*[0-9]"
)
# The beginning of a derivative: that of `\frac{dy}{dx}`.
_DERIVATIVE = re.compile(r"\\[dt]?frac\s?\{d")
# A probability or an expected value of anything: "P(X > 2)", `\mathbb{E}[X]`.
_MEASURE = re.compile(
    r"(?<![A-Za-z])(?:Pr?|E|Var|\\Pr|\\mathbb\s?\{?\s?[PE]\s?\}?)\s?[(\[][^()\[\]]{1,80}[)\]]"
)
# Numbers with functions that `arithmetic` does not know: `\binom{5}{2}`, "5!", `\log 32`.
_CLOSED = re.compile(
    r"(?=.*[0-9])(?:[0-9.,+*/()!{}\s-]|\\(?:[dt]?binom|[dt]?frac|log|ln|gcd|lcm|sqrt|cdot|times"
    r"|operatorname\{(?:gcd|lcm)\})(?![A-Za-z]))+"
)
# A sum, a limit or an integral: the `\sum` of `\sum_{k=1}^n k`.
_WITH_BOUND_VARIABLE = re.compile(r"\\(?:sum|int|lim|prod|iint|oint)(?![A-Za-z])")
# Round brackets and what they hold: the "(2, 3)" of "f(2, 3)".
_ARGUMENTS = re.compile(r"\([^()]*\)")
# A function at a number: "f(2)", "P(X>2)".
_AT_A_PLACE = re.compile(r"[A-Za-z]'*\([^()]*[0-9][^()]*\)")
_VARIABLE = rf"(?:[A-Za-z]|{_GREEK})\s?'*"
# A variable, a segment, an angle, a function, a tuple of variables or words: `\angle ABC`.
_NAME = re.compile(
    rf"(?:{_VARIABLE}|m?\s?\\angle\s?[A-Z]{{1,3}}|\|?[A-Z]{{2,4}}\|?"
    r"|\\(?:overline|overrightarrow|vec|hat|bar|mathbf|mathcal|mathbb|mathrm)\s?\{?\s?[A-Za-z]{1,4}\s?\}?"
    rf"|(?:{_VARIABLE}|\\(?:gcd|lcm|det|deg|dim|max|min))\s?(?:\^\s?\{{?-1\}}?\s?)?\([^()=]{{1,40}}\)"
    r"|\\[dt]?frac\s?\{d\^?[0-9]?[A-Za-z]?\}\s?\{d[A-Za-z]\^?[0-9]?\}"
    rf"|\(\s?{_VARIABLE}(?:\s?,\s?{_VARIABLE}){{1,5}}\s?\)"
    r"|\[[A-Z]{3,5}\]|[A-Za-z ]{3,30}\([A-Z]{2,5}\)|(?=.*[A-Za-z]{3})[A-Za-z][A-Za-z .'-]*)"
)
# The sign of an approximation: `\approx`.
_APPROXIMATELY = re.compile(r"\s*(?:\\approx|≈)\s*")
# A number with decimal places: "0.33".
_DECIMAL_FIGURE = re.compile(r"-?[0-9]*\.[0-9]+")
# The name of one variable, or nothing: "x", `\theta`.
_LONE_NAME = re.compile(r"\s*(?:[A-Za-z]|\\theta)?\s*")


def compare_equations(answer: str, gold: str) -> Grade | None:
    """UNPARSED where an equation says something else than its right-hand side; else None."""
    congruent = [_CONGRUENT.search(text) is not None for text in (answer, gold)]
    if congruent[0] is not congruent[1]:
        return Grade.UNPARSED
    if "=" not in answer + gold:
        return None
    if "=" in answer and "=" in gold:
        if not _LETTER.search(COMMAND.sub("", answer + gold)):
            return Grade.UNPARSED  # without variables they say the same only if they are the same
        lefts = ["".join(text.partition("=")[0].split()) for text in (answer, gold)]
        called = all(_AT_A_PLACE.fullmatch(left) for left in lefts)
        return Grade.UNPARSED if called and lefts[0] != lefts[1] else None
    if "=" in answer:
        return None if _says_a_value(answer) else Grade.UNPARSED
    # The left side of a gold is what was asked for, unless the gold is an equation to be solved.
    left = _INDEX.sub("", COMMAND.sub(" ", TEXT_COMMAND.sub("", gold.partition("=")[0])))
    return Grade.UNPARSED if gold.count("=") == 1 and _ALGEBRA.search(left) else None


def _says_a_value(text: str) -> bool:
    text = _plain(text)
    if _RELATION.search(text) or "=" not in text:
        return True  # other rules decide
    pieces = _PIECES.split(text)
    if not all("=" in piece for piece in pieces):
        pieces = [text]
    names = [piece.partition("=")[0].strip() for piece in pieces]
    # "y = 3, x = 2" is not (3, 2)
    return names == sorted(names) and all(_is_value(piece) for piece in pieces)


def one_side(text: str, beside: str) -> str:
    r"""One side of `x \approx 0.33`: the decimal beside a decimal, else the exact value."""
    sides = _APPROXIMATELY.split(text)
    if len(sides) != 2 or not is_rounded(*sides):
        return text
    wants_decimal = _DECIMAL_FIGURE.fullmatch(beside) or _LONE_NAME.fullmatch(sides[0])
    return sides[1] if wants_decimal else sides[0]


def right_side(text: str, beside: str) -> str:
    """The right side of `text`, where it is one equation that gives a value; else `text`.

    `beside`, the other answer, must be a value or an equation with the same left side.
    """
    plain = _plain(text)
    if "=" not in plain or _RELATION.search(plain):
        return text
    lefts = {"".join(side.partition("=")[0].split()) for side in (plain, _plain(beside))}
    if "=" in beside and (len(lefts) > 1 or not _DERIVATIVE.match(plain)):
        return text
    several = len(_PIECES.split(_ARGUMENTS.sub("", plain))) > 1
    if several or not _is_value(plain):
        return text
    right = text.rsplit("=", 1)[1].strip()
    return (right.rstrip(")") if _COVERED.fullmatch(text) else right) or text


def _plain(text: str) -> str:
    text = spaced(TEXT_COMMAND.sub(r" \1 ", text))
    text = _MEASURE.sub("P(X)", text.replace(r"\left", "").replace(r"\right", ""))
    text = _INDEX.sub("", text).strip()
    inside = _COVERED.fullmatch(text)
    return inside[1] if inside else text


def _is_value(equation: str) -> bool:
    left, *middle, right = (side.strip() for side in equation.split("="))
    value = value_of(without_unit(right))
    left = _LABEL.sub("", left)
    if value is not None:
        known = (value_of(side) for side in (left, *middle))
        if not all(side is None or are_equal(value, side) for side in known):
            return False
    if value_of(left) is not None:
        return value is not None or _is_name(right)
    closed = value is not None and (_CLOSED.fullmatch(left) or _WITH_BOUND_VARIABLE.match(left))
    return not left or bool(closed) or _is_name(left)


def _is_name(text: str) -> bool:
    if _DENIED.search(text):
        return False
    spoken = " ".join(TEXT_COMMAND.sub(r"\1", text).split())
    return _NAME.fullmatch(text) is not None or _NAME.fullmatch(spoken) is not None
