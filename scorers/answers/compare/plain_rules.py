r"""Answers as text: tidy them, wrap them for math-verify, and decide the plain ones without it.

In: an answer or a gold answer as it was written. Out: a verdict for identical texts, words,
choices, ratios and plain numbers, or None where math-verify must decide, as in every case of doubt.
"""

import math
import re

from schemas.records import Grade
from scorers.answers.compare.arithmetic import value_of
from scorers.answers.compare.choices import compare_choices, text_of
from scorers.answers.compare.equations import compare_equations
from scorers.answers.compare.mismatches import TEXT_COMMAND, differ, spaced, without_base
from scorers.answers.compare.numerals import (
    MOST_DIGITS,
    compare_numbers,
    compare_other_bases,
    compare_ratios,
)
from scorers.answers.notation.unicode_math import to_latex
from scorers.answers.notation.unit_words import changes_number, measure
from scorers.answers.notation.units import (
    have_different_foreign_units,
    name_different_currencies,
    without_foreign_unit,
    without_unit,
)

# No answer is longer. It also keeps a question within a pipe's buffer, so that asking never blocks.
LONGEST_ANSWER_CHARACTERS = 2000
# A text that holds the place of an answer: "...", "[your answer]".
PLACEHOLDER = re.compile(r"[\s.\\…]*|[\s\[<]*(?:your |final |the )?answer[\s\]>]*", re.IGNORECASE)

# What joins two formulas, with their delimiters: the `$ and $` of `$3$ and $4$`.
_BETWEEN_FORMULAS = re.compile(
    r"(?:(?<!\\)\$|\\\))\s{0,9},?\s{0,9}(?:and|or|,)\s{0,9}(?:(?<!\\)\$|\\\()"
)
# A delimiter of a formula: `$`, `\(`, `\]`.
_DELIMITERS = re.compile(r"(?<!\\)(?:\$|\\[()\[\]])")
# The stars of bold type: those of "**18**", not the power of "2**10".
_BOLD = re.compile(r"(?<![\w)}\]])\*\*(?=\S)|(?<=\S)\*\*(?![\w(\[{-])")
# Words alone, one of them of four letters or more: "no solution".
_WORDS = re.compile(r"(?=.*[A-Za-z]{4})[A-Za-z]+(?:[ '-][A-Za-z]+)*")
# An upright e or i: `\mathrm{e}`.
_UPRIGHT = re.compile(r"\\(?:mathrm|rm)\s?\{\s?([ei])\s?\}")
# Spaces that divide no two letters or digits: those of "x + 1".
_SPACES = re.compile(r"(?<!\w)\s+|\s+(?!\w)")
# An index or exponent of one sign in braces: the `^{2}` of `x^{2}`.
_LONE_LEVEL = re.compile(r"([_^])\s?\{\s?(\w)\s?\}")
# Two numbers side by side, which are no product: a row of a table, as "0 1 2".
_SEQUENCE = re.compile(r"[0-9]\s+-?[0-9]")
# Numbers side by side and nothing else: "1 2/3 4".
_ROW = re.compile(r"^-?[0-9][0-9./]*(?:\s+-?[0-9][0-9./]*)+$")
# A number whose thousands are divided by spaces of TeX: `10\,000`.
_TEX_GROUPS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:(?:\\[, ]|~)[0-9]{3})+(?![0-9])")
# Spaces of TeX between two digits: the one of `3\,1/2`.
_TEX_SPACES = re.compile(r"(?<=[0-9])(?:\\[,;: ]|~)[\s~]*(?=[0-9])")
# Two numbers with a hyphen between them: "18-20".
_RANGE = re.compile(r"[0-9]+(?:\.[0-9]+)?\s?-\s?[0-9]+(?:\.[0-9]+)?")
# An ellipsis: `\ldots`, "...".
_GOES_ON = re.compile(r"\\(?:[lc]?dots[cbmio]?)(?![A-Za-z])|\.\.\.")
# A comma of thousands with a space of TeX behind it: the one of `1,\!000`.
_BROKEN_GROUP = re.compile(r",\\[,! ]\s?(?=[0-9]{3}(?![0-9]))")
# The imaginary unit behind a digit: that of "2i".
_IMAGINARY = re.compile(r"(?<=[0-9])i(?![A-Za-z])")
# A label in words with a sign of equality: `\text{Area} =`.
_LABEL = re.compile(r"\\(?:text|mathrm|mbox)\s?\{[A-Za-z ]{1,40}\}\s?(?:=|\\approx)\s?")
# A plus sign before a first term: that of "+5".
_SIGN = re.compile(r"(?:^|(?<=[=(,\[]))\s*\+(?=\s*[0-9A-Za-z\\])")
# A number of figures alone: "-3.50", "1,234".
_NUMBER = re.compile(r"-?(?:[0-9]{1,3}(?:,[0-9]{3}){1,4}|[0-9]{1,15})(?:\.[0-9]{1,15})?")
# Up to three letters behind a number and a space: the "m" of "5 m".
_UNIT = re.compile(r"(?<=[0-9] )[A-Za-z]{1,3}$")
# An article that begins a text: the "the" of "the circle".
_ARTICLE = re.compile(r"^(?:the|an?) (?=[a-z]{3})", re.IGNORECASE)
# Words, with numbers among them at most: "July 4th", "no".
_SPOKEN = re.compile(r"(?=.*[^\W\d_]{3}|no$|ok$)[\w' .,-]+", re.IGNORECASE)
# A text in typographic quotation marks: "\u201c18\u201d".
_QUOTED = re.compile("\u201c([^\u201c\u201d]*)\u201d[.]?")
# The decimal places of a number that goes on: those of "0.333...".
_DECIMAL_GOES_ON = re.compile(r"\.[0-9]+\.\.\.$")
# A sign or command that nothing follows: "5 +", `7 \sqrt{}`, "5 or".
_DANGLING = re.compile(
    r"(?:[-+/^_*=]|\\(?:sqrt|frac|times|cdot|sin|cos|tan|cot|log|ln|exp)|(?<![A-Za-z])(?:and|or))"
    r"(?:\s*\{\s*\}){0,2}\s*$"
)
# Up to four words behind a figure: the "or more" of "18 or more".
_WORDS_BEHIND = re.compile(r"(?<=[0-9])(?:\s[A-Za-z]{2,12}){1,4}$")
# A date in figures: "2024-05-01", "5/1/2024".
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}|[0-9]{1,2}/[0-9]{1,2}/[0-9]{2,4}")
# A quotient and its remainder: "7 R 2".
_DIVIDED = re.compile(r"[0-9]+ R [0-9]+")
# A derivative: `\frac{dy}{dx}`, "dy/dx".
_DERIVATIVE = re.compile(
    r"(?<![A-Za-z])d\s?(?:\^\s?[0-9]\s?)?[a-z]\s?/\s?d"
    r"|\\frac\s?\{\s?d\s?(?:\^\s?[0-9]\s?)?[a-z]?\s?\}\s?\{\s?d"
)
# A limit or a transposed matrix, which math-verify does not read: `\lim`, `A^T`.
_LIMIT = re.compile(r"\\lim(?![A-Za-z])|\^\s?(?:\{\s?)?(?:T(?![A-Za-z])|\\top)")
# A comma and a space before three digits: that of "1, 234", a list; "1,234" may be a number.
_LISTED_GROUP = re.compile(r"(?<=[0-9]),\s+(?=[0-9]{3}(?![0-9]))")


def tidy(text: str) -> str:
    """`text` without math delimiters, markup and closing punctuation, on one line."""
    if "$" in text or "\\" in text:
        text = _DELIMITERS.sub("", _BETWEEN_FORMULAS.sub(", ", text).replace("\0", ""))
        text = _BROKEN_GROUP.sub(",", text)
    text = " ".join(text.replace("\0", "").split())
    if quoted := _QUOTED.fullmatch(text):
        text = quoted[1]
    if "**" in text:
        text = _BOLD.sub("", text)
    goes_on = _DECIMAL_GOES_ON.search(text)
    text = text.lstrip('*_`"= ').rstrip('.,;:*_`"\uff0e\u3002 ').removesuffix("\\").strip()
    return f"{text}..." if goes_on else text


def wrap(text: str) -> str:
    """`text` as a formula that math-verify reads as a whole; takes what `tidy` returned.

    Words are marked as text: as a formula, "listen" would be a product and equal to "silent".
    Units and bases are left out, because `quick_grade` has compared them.
    """
    text = without_foreign_unit(text)
    text = _separated(to_latex(text) or text)
    # math-verify 0.9.0 takes these for a unit and drops what follows: 1 - 1/e equals 1 + 1/e.
    text = _SIGN.sub("", _UPRIGHT.sub(r"\1", text))
    text = _IMAGINARY.sub(" i", text)  # without the space it would be a variable
    if _WORDS.fullmatch(text):
        return rf"$\text{{{text}}}$"
    if label := _LABEL.match(text):
        text = text[label.end() :]
    return f"${without_base(without_unit(text))}$"


def quick_grade(answer: str, gold: str) -> Grade | None:
    """The verdict on two tidied texts where it needs no algebra, else None.

    UNPARSED is the verdict where one of them holds a symbol without a known reading.
    """
    if answer == gold:
        return Grade.CORRECT
    if _is_whole(answer) and _is_whole(gold):  # most answers; what follows says the same of them
        return Grade.CORRECT if int(answer) == int(gold) else Grade.WRONG
    if is_number(answer) and is_number(gold):  # the rules before this one say nothing of them
        return compare_numbers(answer, gold)
    if _same_text(answer) == _same_text(gold):
        return Grade.CORRECT
    if max(len(answer), len(gold)) > LONGEST_ANSWER_CHARACTERS:
        return None
    if name_different_currencies(answer, gold) or have_different_foreign_units(answer, gold):
        return Grade.WRONG
    read, expected = (to_latex(without_foreign_unit(text)) for text in (answer, gold))
    if read is None or expected is None:
        return Grade.UNPARSED
    read, expected = _separated(read), _separated(expected)
    for rule in _RULES:
        if (grade := rule(read, expected)) is not None:
            return grade
    return None


def _compare_texts(answer: str, gold: str) -> Grade | None:
    """CORRECT where only spaces, an article or the case of words differ, else None."""
    one, other = _same_text(answer), _same_text(gold)
    if one == other:
        return Grade.CORRECT
    bare = [
        _ARTICLE.sub("", " ".join(TEXT_COMMAND.sub(r"\1", text).split())).casefold()
        for text in (answer, gold)
    ]
    unspaced = ["".join(text.split()) for text in (answer, gold)]
    if unspaced[0] == unspaced[1] and (unit := _UNIT.search(gold)) and measure(unit[0]):
        return Grade.CORRECT  # "5m" for "5 m"
    spoken = _SPOKEN.fullmatch(bare[1])
    if spoken and (one.casefold() == other.casefold() or bare[0] == bare[1]):
        return Grade.CORRECT
    return None


def _compare_sequences(answer: str, gold: str) -> Grade | None:
    """The verdict on values side by side, compared one by one; `3 1/2` is one number."""
    beside = [_SEQUENCE.search(text) is not None for text in (answer, gold)]
    if not any(beside):
        return None
    pattern = _SEQUENCE if all(beside) else _ROW
    # Whatever is one number, as "3 1/2" and "1 000" are, is no sequence.
    sequences = [
        pattern.search(without_unit(text)) is not None and compare_numbers(text, text) is None
        for text in (answer, gold)
    ]
    if not any(sequences):
        return None
    one, other = answer.split(), gold.split()
    if len(one) != len(other):
        return Grade.WRONG
    grades = {
        Grade.CORRECT if a == b else compare_numbers(a, b) for a, b in zip(one, other, strict=True)
    }
    if grades == {Grade.CORRECT}:
        return Grade.CORRECT
    return Grade.UNPARSED if None in grades and Grade.WRONG not in grades else Grade.WRONG


def _compare_marked_texts(answer: str, gold: str) -> Grade | None:
    """The verdict on the texts of "(B) no" and "no", where only one of the two names a letter."""
    one, other = text_of(answer), text_of(gold)
    return quick_grade(one or answer, other or gold) if bool(one) is not bool(other) else None


def _compare_what_is_passed_over(answer: str, gold: str) -> Grade | None:
    if differ(answer, gold) or _have_other_items(answer, gold):
        return Grade.WRONG
    if _changing_words(answer) != _changing_words(gold):
        return Grade.UNPARSED  # "18 or more" for 18
    if any(pattern.search(text) for pattern in _UNREADABLE for text in (answer, gold)):
        return Grade.UNPARSED
    if _LISTED_GROUP.sub(",", answer) == _LISTED_GROUP.sub(",", gold):
        return Grade.UNPARSED  # not the same text, as was asked before
    if divided := [text for text in (answer, gold) if _DIVIDED.fullmatch(text)]:
        return Grade.WRONG if len(divided) > 1 else Grade.UNPARSED
    if dates := [text for text in (answer, gold) if _DATE.fullmatch(text)]:
        days = {tuple(map(int, re.findall(r"[0-9]+", text))) for text in dates}
        same = Grade.CORRECT if len(days) == 1 else Grade.WRONG
        return same if len(dates) > 1 else Grade.UNPARSED
    # "18-20": a range or a difference that nobody worked out
    return Grade.UNPARSED if _RANGE.fullmatch(answer) else None


def _changing_words(text: str) -> str:
    """The words behind the figure of "18 or more", where they make it another value."""
    words = _WORDS_BEHIND.search(text)
    return words[0].casefold() if words and changes_number(words[0]) else ""


def _have_other_items(answer: str, gold: str) -> bool:
    """Whether two lists differ; math-verify takes them for sets, in which `1, 1, 2` is `1, 2`."""
    if any(sign in answer + gold for sign in "()[]{}=;") or "\\text" in answer + gold:
        return False
    items, golds = (re.split(r",\s|,(?![0-9]{3}(?![0-9]))", text) for text in (answer, gold))
    if min(len(items), len(golds)) == 1:
        return False
    if len(items) != len(golds):
        return True
    values, wanted = (
        sorted(float(value) for item in listed if (value := value_of(item)) is not None)
        for listed in (items, golds)
    )
    if not len(values) == len(wanted) == len(items):
        return False
    pairs = zip(values, wanted, strict=True)
    return not all(math.isclose(one, other, abs_tol=1e-6) for one, other in pairs)


_UNREADABLE = (_GOES_ON, _DANGLING, _DERIVATIVE, _LIMIT)
_RULES = (
    _compare_texts,
    compare_choices,
    _compare_marked_texts,
    compare_ratios,
    compare_other_bases,
    _compare_sequences,
    compare_equations,
    _compare_what_is_passed_over,
    compare_numbers,
)


def is_number(text: str) -> bool:
    """Whether a text is a number of figures alone, such as "-3.50" or "1,234"."""
    return _NUMBER.fullmatch(text) is not None


def _is_whole(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) <= MOST_DIGITS


def _same_text(text: str) -> str:
    """`text` with the differences removed that never change its meaning."""
    text = re.sub(r"\\(?:left|right|displaystyle)(?![A-Za-z])", "", TEXT_COMMAND.sub(r"\1", text))
    text = _LISTED_GROUP.sub(";", " ".join(spaced(_joined_groups(text)).split()))
    text = _LONE_LEVEL.sub(r"\1\2", text)
    return _SPACES.sub("", text.replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac"))


def _separated(text: str) -> str:
    r"""`text` with `10\,000` as 10000, and any other TeX space between digits as a plain one."""
    return _TEX_SPACES.sub(" ", _joined_groups(text))


def _joined_groups(text: str) -> str:
    return _TEX_GROUPS.sub(lambda match: re.sub(r"[^0-9]", "", match[0]), text)
