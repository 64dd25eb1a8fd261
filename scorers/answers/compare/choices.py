r"""Answers of multiple-choice questions: letters, and the options that a prompt lists.

In: answers in LaTeX such as "(B)", "B. 12", `\textbf{(B)}\ 12`; prompts with their options. Out: a
verdict on two choices, or None where one is none; the options of a prompt by their letter.
"""

import re

from schemas.records import Grade
from scorers.answers.compare.mismatches import TEXT_COMMAND, spaced

# A choice with or without its text: "(B)", "the answer is B. 12", "(b) 12".
_CHOICE = re.compile(
    r"(?:(?:the )?(?:correct )?(?:option|choice|answer)(?: is)?:? )?"
    r"(?:\(?(?P<letter>(?-i:[A-J]))"
    r"(?:[).:](?=\s|$)|(?:--|\u2014)(?=\w)|,(?=\s(?!\(?[A-J]\b|and\b|or\b))|(?=\s\()|$)"
    r"|\((?P<round>[A-Ja-j])\)(?=\s|$|[-0-9$]))(?P<rest>.*)",
    re.IGNORECASE,
)
# A small letter alone that may name a choice: "b".
_BARE_SMALL = re.compile(r"[a-j]")
# What takes a second choice in or denies one: "(A) and C", "A, not B".
_ANOTHER_CHOICE = re.compile(
    r"(?:^|[\s(,])(?:[A-HJ](?:[).:,]|$)|(?:not|nor|both|no(?=,)|incorrect|wrong|false)\b"
    r"|(?:or|and)\s+\(?[A-J](?![A-Za-z]))"
)

# The mark of an option: "(A)", "A)", "A.", "A:", also in `\textbf{(A)}\ 12`, "A)12", "**A.** red",
# and with the wide signs of Chinese, behind which no space stands.
_MARK = re.compile(
    r"(?<![A-Za-z0-9\\])[(\uff08]?([A-J])(?:[)\uff09\uff0e\u3001\uff1a]|[.:](?=[\s}\\~]|\*\*\s))\}?"
)
# Marks that count only at the head of a line: "[A] red", "A - red".
_SQUARE_MARK = re.compile(r"^[ \t]*\[([A-J])\](?=[ \t])", re.MULTILINE)
_DASHED_MARK = re.compile(r"^[ \t]*([A-J])[ \t][-\u2013\u2014](?=[ \t])", re.MULTILINE)
# A part of the first mark, A or a, in each of these forms; it is found many times faster.
_FIRST_MARK = re.compile(r"A(?:[).:\]\uff09\uff0e\u3001\uff1a]|[ \t][-\u2013\u2014])|a\)")
# The mark of an item of a list before the next option: the "-" of "- A. red".
_BULLET = re.compile(r"\n[ \t]*[-*\u2022][ \t]*$")
# A heading of options, behind which a question may follow: "Options:".
_HEADING = re.compile(r"\b(?:options|choices)\b[^\n:]{0,20}:[\s*]*$", re.IGNORECASE)
# The mark of an option in a small letter: "(a) ", "a) ".
_SMALL_MARK = re.compile(r"(?<![A-Za-z0-9\\])\(?([a-j])\)(?=[\s}\\~])\}?")
# A small letter that begins a choice: that of "b) 4".
_SMALL_CHOICE = re.compile(r"([a-j])(?=[).:]|$)")
# TeX's spaces between two options: the `\qquad` of `(A) 1 \qquad (B) 2`.
_BETWEEN = re.compile(
    r"\\(?:q?quad|hspace\s?\{[^{}]{0,20}\}|text(?:bf|rm)?\s?\{\s*$)|\\\\|\\[ ,;]|~"
)
_LONGEST_OPTION = 300


def letter_of(text: str, *, small: bool = False) -> str | None:
    """The letter of the choice that `text` names, as a capital; `small` also accepts "b" alone."""
    if choice := _choice_in(text):
        return _letter(choice)
    return text.upper() if small and _BARE_SMALL.fullmatch(text.strip()) else None


def capital(text: str) -> str:
    """A choice with its letter as a capital, such as "B) 4" for "b) 4"."""
    match = _SMALL_CHOICE.match(text)
    return f"{match[1].upper()}{text[1:]}" if match else text


def split_choice(text: str) -> tuple[str, str] | None:
    """The letter of a choice and what stands behind it: ("B", "12 cm") for "(B) 12 cm"."""
    match = _choice_in(capital(text))
    if match:
        return _letter(match), str(match["rest"]).strip()
    return (text.strip().upper(), "") if _BARE_SMALL.fullmatch(text.strip()) else None


def compare_choices(answer: str, gold: str) -> Grade | None:
    """The verdict on two choices, by their letters, and by their texts where both give one.

    None where one of the two names no choice.
    """
    one, other = _choice_in(answer), _choice_in(gold)
    if not one or not other:
        return None
    if _letter(one) != _letter(other):
        return Grade.WRONG
    rests = [spaced(choice["rest"]).strip().casefold() for choice in (one, other)]
    if all(rests):
        return Grade.CORRECT if rests[0] == rests[1] else Grade.UNPARSED
    another = any(_ANOTHER_CHOICE.search(choice["rest"].strip()) for choice in (one, other))
    return Grade.WRONG if another else Grade.CORRECT


def text_of(choice: str) -> str:
    """The text behind the letter of a choice, as "no" of "(B) no"; "" where there is none."""
    match = _choice_in(choice)
    if not match:
        return ""
    mark = match.string[: match.start("rest")][-1:]
    return str(match["rest"]).strip() if mark in (")", ".") else ""


def options(prompt: str) -> dict[str, str]:
    """The options that a prompt lists, by letter: the last run of A, B, … in it; {} for none."""
    if not _FIRST_MARK.search(prompt):
        return {}
    marks = (_MARK, _SMALL_MARK, _SQUARE_MARK, _DASHED_MARK)
    return next(filter(None, (_listed(prompt, mark) for mark in marks)), {})


def _listed(prompt: str, pattern: re.Pattern[str]) -> dict[str, str]:
    run: list[re.Match[str]] = []
    for mark in pattern.finditer(prompt):
        if mark[1] in "Aa":
            run = [mark]
        elif run and ord(mark[1]) == ord(run[-1][1]) + 1:
            run.append(mark)
    # The question may follow: "A. Smith has 12 apples.\nB. Jones has 7.\nHow many?"
    if len(run) < 2:
        return {}
    asks = "?" in prompt[run[-1].end() :].partition("\n")[2]
    if asks and not _HEADING.search(prompt[: run[0].start()][-60:]):
        return {}
    stops = [*(mark.start() for mark in run[1:]), len(prompt)]
    listed = {}
    for mark, stop in zip(run, stops, strict=True):
        text = prompt[mark.end() : min(stop, mark.end() + _LONGEST_OPTION)]
        if stop == len(prompt):
            text = text.split("\n", 1)[0]
        text = _BULLET.sub("", text)
        listed[mark[1].upper()] = _BETWEEN.sub(" ", text).strip(" \t\n\r,;.'\"]$")
    return listed


def _choice_in(text: str) -> re.Match[str] | None:
    text = spaced(TEXT_COMMAND.sub(r"\1", text)).strip()
    return _CHOICE.fullmatch(text)  # a small letter in brackets alone: "b" may be a variable


def _letter(choice: re.Match[str]) -> str:
    return str(choice["letter"] or choice["round"]).upper()
