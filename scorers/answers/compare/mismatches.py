r"""Differences that math-verify 0.9.0 does not see, so that it calls unequal answers equal.

In: two tidied answers in LaTeX. Out: whether they differ in such a way.

It deletes `\text{…}` ("3\text{ billion}" is 3), reads the first number of a ratio ("9:1" is 9),
takes words for products ("on" is "no", "CAB" is "BAC"), drops the base of a numeral, and takes
a set for a tuple.
"""

import re
from collections.abc import Sequence

from scorers.answers.notation.unicode_math import ONLY_WORDS
from scorers.answers.notation.unit_words import is_unit, measure
from scorers.answers.notation.units import (
    have_different_units,
    name_different_directions,
    unit_power,
)

# A TeX command for upright or bold text, with its content: `\text{ cm}`.
TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|textnormal)\s?\{([^{}]*)\}")
# The same but for `\mathbf` and for one upright letter: `\text{ cm}`, not `\mathrm{i}`.
_WORDY = re.compile(
    r"\\(?:text|textbf|textit|mbox|textnormal|(?:mathrm(?!\s?\{\s*\w\s*\})))\s?\{([^{}]*)\}"
)
# A TeX command: `\frac`.
COMMAND = re.compile(r"\\[A-Za-z]+")
# An index that holds a word: the `_{\text{max}}` of `x_{\text{max}}`.
_LABEL = re.compile(r"_\s?\{[^{}]*\\[a-z]+\s?\{[^{}]*\}[^{}]*\}")
_LINKS = frozenset(("and", "or", ""))
_HARMLESS = frozenset(("the", "a", "an", "is", "are", "so", "answer", "unit", "units"))
_LONGEST_SYMBOL = 2  # of a unit, in which case counts: mW and MW
# Names in capitals that a word or a comma joins: "I and II", "AB, CD".
_NAMES = re.compile(r"[A-Z]{1,4}(?:(?:,? (?:and|or) |, )[A-Z]{1,4})+")
# Two or more capitals, the name of a segment or a polygon: "ABC".
_CAPITALS = re.compile(r"[A-Z]{2,}")
# A term of a ratio and, ahead, the next one: "9:1".
_RATIO = re.compile(r"([0-9.]+)\}?\s*:\s*(?=\{?([0-9.]+))")
# The base of a numeral: the 8 of `12_8`.
_BASE = re.compile(r"[0-9]\}?\s?_\s?\{?\s?([0-9]+)")
# The last digit of a numeral with its base: the `2_8` of `12_8`.
_NAMED_BASE = re.compile(r"([0-9]\}?)\s?_\s?(?:\{\s?[0-9]+\s?\}|[0-9]+)")
# A number with a word behind it: the "2 hours and" of "2 hours and 30 minutes".
_MEASURED = re.compile(r"(-?[0-9][0-9,.]*)\s*([A-Za-z]{1,15})\.?(?:\s*,?\s*(?:and\s+)?)")
# Two to six such measures: "2 hours 30 minutes".
_COMPOUND = re.compile(rf"(?:{_MEASURED.pattern}){{2,6}}")
# A number with a dollar sign before it or words behind it: `\$5`, "5 cents".
_ONE_UNIT = re.compile(r"(?P<dollar>\\?\$)?[-+]?[0-9][0-9,./]*\s*(?P<words>[A-Za-z][A-Za-z ]*)?")
# The scale behind a sign of degrees: the C of `20^\circ C`.
_SCALE = re.compile(r"\\circ\s?\}?\s?(?:\\(?:text|mathrm|mbox)\s?\{\s?)?([CFK])\s?\}?$")
# A space of TeX: `\,`, `~`, `\quad`.
_SPACING = re.compile(r"\\[,;: ]|~|\\q?quad\b")


def differ(answer: str, gold: str) -> bool:
    """Whether the two differ in something that math-verify would ignore."""
    one, other = _loose(answer), _loose(gold)
    scale, gold_scale = _SCALE.search(one), _SCALE.search(other)
    if scale and gold_scale and scale[1] != gold_scale[1]:
        return True
    if have_different_units(one, other):
        return True
    one, other = _SCALE.sub(r"\\circ", one), _SCALE.sub(r"\\circ", other)
    plain, plain_gold = spoken(one), spoken(other)
    return (
        _are_different_words(plain, plain_gold)
        or _changing_words(one, other) != _changing_words(other, one)
        or _compound(plain) != _compound(plain_gold)
        or _are_known_and_differ(_measure(plain), _measure(plain_gold))
        or name_different_directions(plain, plain_gold)
        or _RATIO.findall(one) != _RATIO.findall(other)
        or _are_known_and_differ(unit_power(answer), unit_power(gold))
        or _brackets(one) * _brackets(other) < 0
        or _have_different_bases(one, other)
        or _have_different_names(one, other)
    )


def spaced(text: str) -> str:
    r"""`text` with TeX's spaces as plain ones, which do not join two digits to one number."""
    return _SPACING.sub(" ", text.replace(r"\!", ""))


def without_base(text: str) -> str:
    """A numeral without the base that it names: math-verify would not read it."""
    return _NAMED_BASE.sub(r"\1", text)


def _loose(text: str) -> str:
    return " ".join(spaced(text).replace(r"\colon", ":").split())


def spoken(text: str) -> str:
    r"""`text` with the content of `\text{…}` in its place."""
    return " ".join(TEXT_COMMAND.sub(r" \1 ", text).split())


def _are_different_words(one: str, other: str) -> bool:
    if _NAMES.fullmatch(one) and _NAMES.fullmatch(other):  # "I and II", "I or II"
        links = [{word for word in ("and", "or") if f" {word} " in text} for text in (one, other)]
        return bool(links[0] and links[1]) and links[0] != links[1]
    both = ONLY_WORDS.fullmatch(one) and ONLY_WORDS.fullmatch(other)
    return bool(both) and one.casefold() != other.casefold()


def _changing_words(text: str, beside: str) -> list[str]:
    r"""What stands in `\text{…}` and is neither a unit nor a mere link, lower case."""
    text = _LABEL.sub("", text)
    if "=" in text and "=" not in beside:
        text = text.rsplit("=", 1)[1]
    changing = []
    for command in _WORDY.finditer(text):
        words = command[1].strip(" .,;:")
        before = text[: command.start()].rstrip()
        behind_value = before[-1:].isalnum() or before[-1:] in ("}", ")", "$", "%")
        if is_unit(words) and (behind_value or (not before and "=" in beside)):
            continue
        kept = [
            word if len(word) <= _LONGEST_SYMBOL else word.casefold()
            for word in re.findall(r"[\w']+", words)
            if word.casefold() not in _HARMLESS
        ]
        joins = words in _LINKS and re.search(r"[\w})|]", text[command.end() :])
        if kept and not joins:
            changing.append(" ".join(kept))
    return changing


def _compound(text: str) -> Sequence[tuple[str, str]]:
    """Texts such as "2 hours 30 minutes" as numbers and names; nothing for any other text."""
    if not _COMPOUND.fullmatch(text):
        return ()
    return [
        (number.rstrip(".,"), measure(word) or word.casefold())
        for number, word in _MEASURED.findall(text)
    ]


def _are_known_and_differ(one: str | None, other: str | None) -> bool:
    return None not in (one, other) and one != other


def _measure(text: str) -> str | None:
    match = _ONE_UNIT.fullmatch(text)
    if not match:
        return None
    if match["words"]:
        return measure(match["words"])
    return "dollar" if match["dollar"] else None


def _brackets(text: str) -> int:
    """1 for a set in braces, -1 for a tuple or an interval, 0 for anything else."""
    if "," not in text:
        return 0
    text = text.replace(r"\left", "").replace(r"\right", "")
    if text.startswith(r"\{") and text.endswith(r"\}"):
        return 1
    inside = text[1:-1]
    lone = text[:1] in ("(", "[") and text[-1:] in (")", "]") and not re.search(r"[()\[\]]", inside)
    return -1 if lone else 0


def _have_different_bases(answer: str, gold: str) -> bool:
    """Whether an answer names another base than its gold; it may name none, as the problem does."""
    named = _BASE.findall(answer)
    return bool(named) and named != _BASE.findall(gold)


def _have_different_names(one: str, other: str) -> bool:
    """Whether the two name different points or segments, in any order: "AB, CD" and "AB, DC"."""
    names, others = (
        sorted(_CAPITALS.findall(COMMAND.sub(" ", _WORDY.sub(" ", text)))) for text in (one, other)
    )
    return bool(names) and bool(others) and names != others
