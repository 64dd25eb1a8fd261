r"""Answers as text: tidy them, wrap them for math-verify, and decide the plain ones without it.

In: an answer or a gold answer as found in the wild. Out: a verdict for identical texts, words,
choices, ratios and plain numbers, or None: then math-verify decides. Whatever is in doubt is None.
"""

import re

from schemas.records import Grade
from scorers.choices import compare_choices, text_of
from scorers.notation import to_latex
from scorers.numerals import MOST_DIGITS, compare_numbers, compare_other_bases, compare_ratios
from scorers.units import have_different_foreign_units, without_foreign_unit, without_unit
from scorers.unseen import TEXT_COMMAND, differ, spaced, without_base

# No answer is longer. It also keeps a question within a pipe's buffer, so that asking never blocks.
LONGEST_ANSWER_CHARACTERS = 2000
PLACEHOLDER = re.compile(r"[\s.\\…]*|[\s\[<]*(?:your |final |the )?answer[\s\]>]*", re.IGNORECASE)

_BETWEEN_FORMULAS = re.compile(
    r"(?:(?<!\\)\$|\\\))\s{0,9},?\s{0,9}(?:and|or|,)\s{0,9}(?:(?<!\\)\$|\\\()"
)
_DELIMITERS = re.compile(r"(?<!\\)(?:\$|\\[()\[\]])")
_BOLD = re.compile(r"(?<![\w)}\]])\*\*(?=\S)|(?<=\S)\*\*(?![\w(\[{-])")
_WORDS = re.compile(r"(?=.*[A-Za-z]{4})[A-Za-z]+(?:[ '-][A-Za-z]+)*")
_UPRIGHT = re.compile(r"\\(?:mathrm|rm)\s?\{\s?([ei])\s?\}")
_SPACES = re.compile(r"(?<!\w)\s+|\s+(?!\w)")
_LONE_LEVEL = re.compile(r"([_^])\s?\{\s?(\w)\s?\}")
# "0 1 2", which is no product: rows of a table, a list without commas.
_SEQUENCE = re.compile(r"[0-9]\s+-?[0-9]")
_TEX_GROUPS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:(?:\\[, ]|~)[0-9]{3})+(?![0-9])")
_TEX_SPACES = re.compile(r"(?<=[0-9])(?:\\[,;: ]|~)[\s~]*(?=[0-9])")
_RANGE = re.compile(r"[0-9]+(?:\.[0-9]+)?\s?-\s?[0-9]+(?:\.[0-9]+)?")
_GOES_ON = re.compile(r"\\(?:[lc]?dots[cbmio]?)(?![A-Za-z])|\.\.\.")
_BROKEN_GROUP = re.compile(r",\\[,! ]\s?(?=[0-9]{3}(?![0-9]))")
_IMAGINARY = re.compile(r"(?<=[0-9])i(?![A-Za-z])")
_COMMAND = re.compile(r"\\[A-Za-z]+")
# "2x", "x^2", "x + 1": what such a side equals is not the value of a name.
_ALGEBRA = re.compile(
    r"[0-9]\s*\*?\s*[a-z]|[a-z]\s*\^|[a-z0-9)]\s*[-+*]\s*[a-z(]|[a-z)]\s*[-+*]\s*[0-9]"
)
_INDEX = re.compile(r"_\{[^{}]*\}|_\w")
_CURRENCY_SIGNS = re.compile(r"[€£¥₹$]")
_LETTER = re.compile(r"[A-Za-z]")
_APPROXIMATELY = re.compile(r"\s*(?:\\approx|≈)\s*")
_DECIMAL_FIGURE = re.compile(r"-?[0-9]*\.[0-9]+")
_LONE_NAME = re.compile(r"\s*(?:[A-Za-z]|\\theta)?\s*")
_LABEL = re.compile(r"\\(?:text|mathrm|mbox)\s?\{[A-Za-z ]{1,40}\}\s?(?:=|\\approx)\s?")
_SIGN = re.compile(r"(?:^|(?<=[=(,\[]))\s*\+(?=\s*[0-9A-Za-z\\])")
# Words, with numbers among them at most: "July 4th", "no".
_SPOKEN = re.compile(r"(?=.*[^\W\d_]{3}|no$|ok$)[\w' .,-]+", re.IGNORECASE)


def tidy(text: str) -> str:
    """`text` without math delimiters, markup and closing punctuation, on one line."""
    if "$" in text or "\\" in text:
        text = _DELIMITERS.sub("", _BETWEEN_FORMULAS.sub(", ", text).replace("\0", ""))
        text = _BROKEN_GROUP.sub(",", text)
    text = " ".join(text.replace("\0", "").split())
    if "**" in text:
        text = _BOLD.sub("", text)
    return text.lstrip('*_`"= ').rstrip('.,;:*_`" ').removesuffix("\\").strip()


def wrap(text: str) -> str:
    """`text` as a formula that math-verify reads as a whole; takes what `tidy` returned.

    Words are marked as text: as a formula, "listen" would be a product and equal to "silent".
    What the rules of `quick_grade` have compared and may be left out, units and bases, is left out.
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

    UNPARSED is the verdict where one of them holds a symbol that nobody here can read.
    """
    if answer == gold:
        return Grade.CORRECT
    if _is_whole(answer) and _is_whole(gold):  # most answers; what follows says the same of them
        return Grade.CORRECT if int(answer) == int(gold) else Grade.WRONG
    if _same_text(answer) == _same_text(gold):
        return Grade.CORRECT
    if max(len(answer), len(gold)) > LONGEST_ANSWER_CHARACTERS:
        return None
    signs, gold_signs = (set(_CURRENCY_SIGNS.findall(one)) for one in (answer, gold))
    if signs and gold_signs and signs != gold_signs:
        return Grade.WRONG
    if have_different_foreign_units(answer, gold):
        return Grade.WRONG
    read, expected = (to_latex(without_foreign_unit(one)) for one in (answer, gold))
    if read is None or expected is None:
        return Grade.UNPARSED
    read, expected = _separated(read), _separated(expected)
    for rule in _RULES:
        if (grade := rule(read, expected)) is not None:
            return grade
    return None


def one_side(text: str, beside: str) -> str:
    """Of an exact value and its approximation the exact one, or the decimal beside a decimal."""
    sides = _APPROXIMATELY.split(text)
    if len(sides) != 2:
        return text
    wants_decimal = _DECIMAL_FIGURE.fullmatch(beside) or _LONE_NAME.fullmatch(sides[0])
    return sides[1] if wants_decimal else sides[0]


def _compare_texts(answer: str, gold: str) -> Grade | None:
    """Equal but for the way of writing; words do not differ by case."""
    one, other = _same_text(answer), _same_text(gold)
    if one == other:
        return Grade.CORRECT
    if one.casefold() == other.casefold() and _SPOKEN.fullmatch(" ".join(_bare(gold).split())):
        return Grade.CORRECT
    return None


def _compare_sequences(answer: str, gold: str) -> Grade | None:
    """Values that stand side by side are compared one by one; `3 1/2` is a number."""
    one, other = answer.split(), gold.split()
    if not _SEQUENCE.search(answer) and not _SEQUENCE.search(gold):
        return None
    if compare_numbers(answer, answer) or compare_numbers(gold, gold):
        return None
    if len(one) != len(other):
        return Grade.WRONG
    grades = {
        Grade.CORRECT if a == b else compare_numbers(a, b) for a, b in zip(one, other, strict=True)
    }
    if grades == {Grade.CORRECT}:
        return Grade.CORRECT
    return Grade.UNPARSED if None in grades and Grade.WRONG not in grades else Grade.WRONG


def _compare_equations(answer: str, gold: str) -> Grade | None:
    """Two equations without variables say the same only where they are the same."""
    if "=" in answer and "=" in gold:
        named = _LETTER.search(_COMMAND.sub("", answer + gold))
        return None if named else Grade.UNPARSED
    for one in (answer, gold):
        left, equals, _ = one.partition("=")
        left = _INDEX.sub("", _COMMAND.sub(" ", TEXT_COMMAND.sub("", left)))
        # "2x = 5" does not say that the answer is 5; "x = 5" does, and "V = 2 * 3 = 6".
        if equals and one.count("=") == 1 and _ALGEBRA.search(left):
            return Grade.UNPARSED
    return None


def _compare_marked_texts(answer: str, gold: str) -> Grade | None:
    """Of "(B) no" and "no" the words: only one of the two names a letter."""
    one, other = text_of(answer), text_of(gold)
    return quick_grade(one or answer, other or gold) if bool(one) is not bool(other) else None


def _compare_what_is_passed_over(answer: str, gold: str) -> Grade | None:
    if differ(answer, gold) or _have_other_lengths(answer, gold):
        return Grade.WRONG
    if _GOES_ON.search(answer) or _GOES_ON.search(gold):
        return Grade.UNPARSED
    # "18-20": a range or a difference that nobody worked out
    return Grade.UNPARSED if _RANGE.fullmatch(answer) else None


def _have_other_lengths(answer: str, gold: str) -> bool:
    """Of two plain lists: math-verify takes them for sets, where `1, 1, 2` is `1, 2`."""
    if any(sign in answer + gold for sign in "()[]{}=;") or "\\text" in answer + gold:
        return False
    lengths = [len(re.split(r",\s|,(?![0-9]{3}(?![0-9]))", one)) for one in (answer, gold)]
    return min(lengths) > 1 and lengths[0] != lengths[1]


_RULES = (
    _compare_texts,
    compare_choices,
    _compare_marked_texts,
    compare_ratios,
    compare_other_bases,
    _compare_sequences,
    _compare_equations,
    _compare_what_is_passed_over,
    compare_numbers,
)


def _is_whole(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) <= MOST_DIGITS


def _same_text(text: str) -> str:
    """`text` with the differences removed that never change its meaning."""
    text = re.sub(r"\\(?:left|right|displaystyle)(?![A-Za-z])", "", TEXT_COMMAND.sub(r"\1", text))
    text = " ".join(spaced(_joined_groups(text)).split())
    text = _LONE_LEVEL.sub(r"\1\2", text)
    return _SPACES.sub("", text.replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac"))


def _separated(text: str) -> str:
    r"""`text` with `10\,000` as 10000, and any other TeX space between digits as a plain one."""
    return _TEX_SPACES.sub(" ", _joined_groups(text))


def _joined_groups(text: str) -> str:
    return _TEX_GROUPS.sub(lambda found: re.sub(r"[^0-9]", "", found[0]), text)


def _bare(text: str) -> str:
    return TEXT_COMMAND.sub(r"\1", text).strip()
