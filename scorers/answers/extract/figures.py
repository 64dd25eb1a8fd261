"""The formulas and figures of a sentence: `$x = 5$`, "5 apples".

In: a text. Out: the formulas and figures in it, the measure behind a figure, and whether the words
around a figure make it another value, so that "3 thousand" never becomes 3.
"""

import re
import sys
from collections.abc import Iterator

from scorers.answers.compare.plain_rules import tidy
from scorers.answers.notation.number_words import COUNTS
from scorers.answers.notation.unit_words import changes_number, measure
from scorers.answers.notation.units import is_foreign_scale

# What joins two formulas to one answer: the ` and ` of `$3$ and $4$`.
JOIN = re.compile(
    r"(?:[\s$]|\\[()\[\]]|\\q?quad|\\[ ,;])*+"
    r"(?:[,;]|[,;]?\s*+(?:\\text\s*\{\s*)?(?:and|or)(?:\s*\})?)"
    r"(?:[\s$]|\\[()\[\]]|\\q?quad|\\[ ,;])*"
)
# A formula with its delimiters: `$x = 5$`, `\[x = 5\]`.
FORMULA = re.compile(
    r"\$\$(?P<a>.+?)\$\$|\\\[(?P<b>.+?)\\\]|\\\((?P<c>.+?)\\\)"
    r"|\$(?P<d>[ \t][^$\n]+[ \t]|[^\s$](?:[^$\n]*[^\s$\\])?)\$(?![0-9])",
    re.DOTALL,
)
# What opens a formula: `$`, `\[`, `\(`.
_OPENING = re.compile(r"\$|\\[\[(]")
_CLOSING = {r"\[": r"\]", r"\(": r"\)"}
# A per cent sign or word behind a value: the "%" of "5 %".
PERCENT = re.compile(r"\s*(?:\\?%|percent\b)")
# A date, a time, a ratio, a fraction, a root or a number: "5/1/2024", "2:3", "3 1/2", "$1,000".
# Letters without ASCII may touch a figure: Chinese has no spaces between words.
FIGURE = re.compile(
    r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{2,4}(?![0-9/])|[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9-])"
    r"|(?<![0-9:])[0-9]{1,2}:[0-9]{2}(?![0-9:])(?:\s?[AaPp]\.?[Mm]\b)?"
    r"|(?<![0-9:])[0-9]+(?::[0-9]+){1,4}(?![0-9:])"
    r"|(?<![A-Za-z0-9_.,/:])-?[0-9]{1,9} [0-9]{1,6}/[0-9]{1,6}(?![0-9/])"
    r"|(?<![A-Za-z0-9_.,/:])-?[0-9]*\u221a(?:[0-9]+|\([0-9]+\))(?![0-9])"
    r"|(?<![A-Za-z0-9_.,/:])-?[0-9]{1,3}(?: [0-9]{3})+(?![0-9])"
    r"|(?<![A-Za-z0-9_.,/:])-?[0-9]+[\u00bc-\u00be\u2150-\u215e]"
    r"|(?<![A-Za-z0-9_.,/:\u221a])-?\$?[0-9](?:[0-9,]*[0-9])?(?:\.[0-9]+)?(?:/[0-9]+)?\u03c0?%?"
    r"(?![A-Za-z0-9_/+\u00bc-\u00be\u2150-\u215e\u03c0\u221a\u00b2\u00b3]|,[0-9]|:[0-9]"
    r"|!(?=\s?[A-Za-z.]))"
    r"|-?\\[dt]?frac\{[^{}]{1,60}\}\{[^{}]{1,60}\}"
)
# The word before a figure that is no part of the answer: "from" in "42 grams from 200 grams".
BESIDE = re.compile(
    r"\b(?:in|for|from|of|after|every|each|within|on|by|over|with|at|per|eating)\s(?:the\s)?\$?$",
    re.IGNORECASE,
)
# Up to three words behind a value: the "more red apples" of "5 more red apples".
WORDS_BEHIND = re.compile(r"(?:\s{1,3}[A-Za-z]+){1,3}")
NUMBER_WORD = f"(?:{'|'.join(COUNTS)}|half|halves|thirds?|quarters?)"
# An operation on what follows: the "half of the" of "half of the 5 apples".
_CHANGED_BEFORE = re.compile(
    r"(?:(?:^|\s)[-\u2212]|\b(?:than|not|negative|minus|below|above|between|at (?:least|most)"
    r"|over|under|twice|double|triple|times|or"
    r"|(?:half|halves|thirds?|quarters?|fifths?|tenths?|square|root|cube|power|percent|reciprocal"
    r"|inverse|factorial|multiple|divisor|sum|product|difference|loss|decrease|drop|reduction|debt)"
    rf" of)|\b{NUMBER_WORD} [a-z]+ and)\s+(?:the\s+)?\$?$",
    re.IGNORECASE,
)
# Another quantity behind: the "and three" of "5 apples and three pears".
CHANGED_BEHIND = re.compile(
    rf"\b(?:and|plus|with|all)\s(?:an?\s|remainder\s)?{NUMBER_WORD}\b|\b(?:per|out of)\s[0-9]"
    rf"|\b(?:minus|multiplied|divided|remainder|lost|point {NUMBER_WORD})\b",
    re.IGNORECASE,
)
FOLLOWING = 160
# A word that may be a measure, with its power or rate: the "m/s" of "5 m/s".
_MEASURE = re.compile(
    r"\s(?P<unit>[A-Za-z]{1,12}(?:/[A-Za-z]{1,6}|\sper\s[a-z]{1,12})?(?:[\u00b2\u00b3]|\^[23])?)"
    r"(?![A-Za-z/^])"
)


def content_of(formula: re.Match[str]) -> str:
    """What a match of `FORMULA` holds between its delimiters."""
    return tidy(formula["a"] or formula["b"] or formula["c"] or formula["d"])


def formulas_of(text: str, start: int = 0, stop: int = sys.maxsize) -> Iterator[re.Match[str]]:
    """The formulas of `text[start:stop]`, in order.

    Delimiters that nothing closes are found by one look at the last closing one, in linear time.
    """
    last = {opening: text.rfind(_CLOSING[opening], start, stop) for opening in _CLOSING}
    end = start
    for opening in _OPENING.finditer(text, start, stop):
        if opening.start() < end or opening.end() >= last.get(opening[0], stop):
            continue
        if formula := FORMULA.match(text, opening.start(), stop):
            yield formula
            end = formula.end()


def with_measure(text: str, start: int, stop: int) -> str:
    """The figure `text[start:stop]` with the measure behind it: "5 m/s", but "5" for "5 apples"."""
    unit = match["unit"] if (match := _MEASURE.match(text, stop)) else ""
    # "5 in total" is no measure.
    measured = unit != "in" and measure(re.split(r"[/^\u00b2\u00b3]", unit)[0])
    return tidy(f"{text[start:stop]} {unit}" if measured else text[start:stop])


def is_changed(sentence: str, figure: re.Match[str]) -> bool:
    """Whether the words around a figure make it another value: "less than 18", "3 thousand"."""
    behind = WORDS_BEHIND.match(sentence, figure.end())
    before = sentence[max(0, figure.start() - 40) : figure.start()]
    return (
        _CHANGED_BEFORE.search(before) is not None
        or CHANGED_BEHIND.search(sentence, figure.end(), figure.end() + FOLLOWING) is not None
        or (behind is not None and changes_number(behind[0]))
        or is_foreign_scale(sentence[figure.end() :])
    )
