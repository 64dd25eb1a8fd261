r"""Unicode mathematics as LaTeX: math-verify 0.9.0 drops what it does not know, so `5√2` equals 5.

In: an answer as found in the wild. Out: the same in ASCII, or None where a symbol has no known
reading: then nobody may compare it. Letters with accents stay in answers that are only words.
"""

# ruff: noqa: RUF001 (signs that look like others are what this room is about)

import re
import unicodedata

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
_LEVEL = "0123456789+-=()nx"
_POWERS = re.compile(f"[{_RAISED}]+")
_INDICES = re.compile(f"[{_LOWERED}]+")
_ROOT = re.compile(
    r"(?P<root>[√∛∜])\s?(?:\((?P<a>[^()√∛∜]*)\)"
    r"|\{(?P<b>[^{}√∛∜]*)\}|(?P<c>[0-9]+(?:\.[0-9]+)?|[A-Za-z]))"
)
_ROOTS = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}
_WORDS = re.compile(r"[^\W\d_]{2,}(?:[ '-][^\W\d_]+)*")


def to_latex(text: str) -> str | None:
    """`text` with its Unicode mathematics as LaTeX; None where a symbol has no known reading."""
    if text.isascii():
        return text
    text = text.translate(_TABLE)
    text = _POWERS.sub(lambda found: f"^{{{_level(found[0], _RAISED)}}}", text)
    text = _INDICES.sub(lambda found: f"_{{{_level(found[0], _LOWERED)}}}", text)
    text = "".join(_vulgar_fraction(character) for character in text)
    text = _ROOT.sub(
        lambda found: f"{_ROOTS[found['root']]}{{{found['a'] or found['b'] or found['c']}}}", text
    )
    text = " ".join(text.split())
    return text if text.isascii() or _WORDS.fullmatch(text) else None


def _level(run: str, alphabet: str) -> str:
    return "".join(_LEVEL[alphabet.index(character)] for character in run)


def _vulgar_fraction(character: str) -> str:
    r"""`½` as `\frac{1}{2}`; anything else as it is."""
    if character.isascii() or "FRACTION" not in unicodedata.name(character, ""):
        return character
    top, slash, bottom = unicodedata.normalize("NFKC", character).partition("\u2044")
    return rf"\frac{{{top}}}{{{bottom}}}" if slash and bottom else character
