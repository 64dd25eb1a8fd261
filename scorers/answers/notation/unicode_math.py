r"""Mathematics in Unicode and in the notation of programs as LaTeX.

math-verify 0.9.0 drops what it does not know, so that `5√2` equals 5 and `2**10` equals 2.
In: an answer as it was written. Out: the same in ASCII LaTeX, or None where a symbol has no known
reading, so that it must not be compared. Letters with accents stay in answers of words alone.
"""

# ruff: noqa: RUF001 (signs that look like others)

import re
import unicodedata
from fractions import Fraction

_SIGNS = {
    "\u2212\u2013\u2014\u2012\u2010\u2011\u2796": "-",
    "×✕": r"\times ",
    "·⋅∙•⸱": r"\cdot ",
    "÷⁄∕": "/",
    "∶": ":",
    "、": ",",
    "。": ".",
    "≤⩽≦": r"\le ",
    "≥⩾≧": r"\ge ",
    "≠": r"\ne ",
    "≈": r"\approx ",
    "≡": r"\equiv ",
    "±": r"\pm ",
    "∓": r"\mp ",
    "∞": r"\infty ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∈": r"\in ",
    "∅": r"\emptyset ",
    "∠": r"\angle ",
    "△": r"\triangle ",
    "→": r"\to ",
    "°º": r"^\circ ",
    "\u2032\u2019\u2018": "'",
    "\u2033": "''",
    "\u201c\u201d": '"',
    "\u200b\u200c\u200d\u2060\ufeff\u2061\u2062": "",
    "€£¥₹✓✅□■∎": "",
    "¢": r"\text{ cents}",
    "…": r"\ldots ",
    "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}",
    "ℕ": r"\mathbb{N}",
    "π": r"\pi ",
    "θ": r"\theta ",
    "α": r"\alpha ",
    "β": r"\beta ",
    "γ": r"\gamma ",
    "λ": r"\lambda ",
    "ω": r"\omega ",
    "φ": r"\phi ",
}
_TABLE = str.maketrans(
    {sign: latex for signs, latex in _SIGNS.items() for sign in signs}
    | {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full-width ASCII
)
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿˣ"
_LOWERED = "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙₓ"
_LEVEL = str.maketrans(_RAISED + _LOWERED, 2 * "0123456789+-=()nx")
# Raised digits and signs: the ⁵ of "10⁵".
_POWERS = re.compile(f"[{_RAISED}]+")
# Lowered digits and signs: the ₁ of "x₁".
_INDICES = re.compile(f"[{_LOWERED}]+")
# A sign of a root with what stands under it: "√2", "∛(x + 1)".
_ROOT = re.compile(
    r"(?P<root>[√∛∜])\s?(?:\((?P<a>[^()√∛∜]*)\)"
    r"|\{(?P<b>[^{}√∛∜]*)\}|(?P<c>[0-9]+(?:\.[0-9]+)?|[A-Za-z]))"
)
_ROOTS = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}
# Words in any script and nothing else: "São Paulo".
ONLY_WORDS = re.compile(r"[^\W\d_]{2,}(?:[ '-][^\W\d_]+)*")

# A power as programs write it: `x**2`, `x ** (n + 1)`. Two stars with a space on one side alone are
# bold type.
_POWER = re.compile(
    r"(?<=[\w)}\]])(?P<space> ?)\*\*(?P=space)"
    r"(?:\((?P<a>[^()]{1,80})\)|(?P<b>-?[0-9]+(?:\.[0-9]+)?|[A-Za-z])(?![A-Za-z]))"
)
# A square root as programs write it: "sqrt(2)".
_CALLED_ROOT = re.compile(r"(?<![A-Za-z])\\{0,2}sqrt ?(?:\(([^()]{1,80})\)|([0-9]+))")
# A function without its backslash: the "sin" of "sin(x)".
_CALLED = re.compile(r"(?<![\\A-Za-z])(sin|cos|tan|cot|sec|csc|log|ln|exp)(?= ?[({])")
# A number in quotation marks: "'5'".
_QUOTED = re.compile(r"(['\"])(-?[0-9]+(?:\.[0-9]+)?)\1")
# The name of pi without its backslash: the "pi" of "2 pi".
_PI = re.compile(r"(?<![\\A-Za-z])(?:pi|Pi|PI)(?![A-Za-z])")
_RELATIONS = {"<=": r"\le ", ">=": r"\ge ", "!=": r"\ne ", "==": "="}
# A relation as programs write it: "<=".
_RELATION = re.compile(r"[<>!=]=")
# A number with its power of ten as programs write it: "1e-5".
_TIMES_TEN = re.compile(r"(?<![\w.])([0-9]{1,40}(?:\.[0-9]{1,40})?)[eE]([-+]?[0-9]{1,3})(?![\w.])")
# A decimal that repeats: `0.1\overline{6}`, "0.1(6)", `0.\dot{3}`.
_REPEATING = re.compile(
    r"(?<![\w.])(?P<whole>[0-9]{1,20})\.(?P<fixed>[0-9]{0,20})"
    r"(?:\\(?:overline|bar) ?\{(?P<line>[0-9]{1,20})\}|\((?P<round>[0-9]{1,20})\)"
    r"|\\dot ?\{?(?P<first>[0-9])\}?(?:(?P<middle>[0-9]{0,20})\\dot ?\{?(?P<last>[0-9])\}?)?)"
    r"(?![0-9])"
)


def to_latex(text: str) -> str | None:
    """`text` with Unicode and program notation as LaTeX; None where a symbol has no reading."""
    text = _of_programs(text)
    if text.isascii():
        return text
    text = text.translate(_TABLE)
    text = _POWERS.sub(lambda match: f"^{{{match[0].translate(_LEVEL)}}}", text)
    text = _INDICES.sub(lambda match: f"_{{{match[0].translate(_LEVEL)}}}", text)
    text = "".join(_vulgar_fraction(character) for character in text)
    text = _ROOT.sub(
        lambda match: f"{_ROOTS[match['root']]}{{{match['a'] or match['b'] or match['c']}}}", text
    )
    text = " ".join(text.split())
    return text if text.isascii() or ONLY_WORDS.fullmatch(text) else None


def _of_programs(text: str) -> str:
    """`text` without the notation of programs and of decimals that repeat."""
    if "**" in text:
        text = _POWER.sub(lambda match: f"^{{{match['a'] or match['b']}}}", text)
    if "sqrt" in text:
        text = _CALLED_ROOT.sub(lambda match: rf"\sqrt{{{match[1] or match[2]}}}", text)
    text = _QUOTED.sub(r"\2", text) if "[" in text else text
    text = _PI.sub(r"\\pi ", _CALLED.sub(r"\\\1", text))
    text = _RELATION.sub(lambda match: _RELATIONS[match[0]], text)
    text = _TIMES_TEN.sub(lambda match: rf"{match[1]} \times 10^{{{int(match[2])}}}", text)
    return _REPEATING.sub(_repeated, text) if "." in text else text


def _repeated(match: re.Match[str]) -> str:
    r"""`0.1\overline{6}` as `\frac{1}{6}`."""
    again = match["line"] or match["round"]
    if again is None:
        again = match["first"] + (match["middle"] or "") + (match["last"] or "")
    places, period = len(match["fixed"]), len(again)
    value = Fraction(int(match["whole"] + match["fixed"]), 10**places) + Fraction(
        int(again), 10**places * (10**period - 1)
    )
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _vulgar_fraction(character: str) -> str:
    r"""`½` as `\frac{1}{2}`; anything else as it is."""
    if character.isascii() or "FRACTION" not in unicodedata.name(character, ""):
        return character
    top, slash, bottom = unicodedata.normalize("NFKC", character).partition("\u2044")
    return rf"\frac{{{top}}}{{{bottom}}}" if slash and bottom else character
