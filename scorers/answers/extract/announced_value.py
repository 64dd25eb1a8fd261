"""The value that the sentence behind an announcement names: "The answer is …".

In: a text and where its announcement ends. Out: the answer as text: the formulas there, or what the
sentence says. Words that change a number stay with it, so that "3 thousand" never becomes 3.
"""

import re
from typing import NamedTuple

from scorers.answers.compare.plain_rules import LONGEST_ANSWER_CHARACTERS, tidy
from scorers.answers.extract.figures import (
    BESIDE,
    CHANGED_BEHIND,
    FIGURE,
    FOLLOWING,
    FORMULA,
    JOIN,
    NUMBER_WORD,
    PERCENT,
    WORDS_BEHIND,
    content_of,
    formulas_of,
    is_changed,
    with_measure,
)
from scorers.answers.notation.unit_words import changes_number

JOIN_CHARACTERS = 60
# The same between two boxes, where a name may stand again: `$x = 1$ and $x = 2$`.
JOIN_OF_BOXES = re.compile(JOIN.pattern + r"(?:[a-zA-Z]\s?=\s?)?")
# The full stop that ends a sentence, but not the one of "Mr." or "i.e.": "It is 5. So …".
_SENTENCE = re.compile(
    r"(?<!\bRs)(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bi\.e)\.(?=[\s*\"')]|$)"
)
# Names with full stops that go on, so that no sentence ends: "I. II and III".
_NAMES_GO_ON = re.compile(
    r"\(?(?:[A-J]|[IVX]{1,4})\)?\.\s+\(?(?:[A-J]|[IVX]{1,4})\)?\s*(?:,|\band\b|\bor\b|\.|$)"
)
# The part of a problem that a formula answers: the "for part (a)" of `$3$ for part (a)`.
_PART = re.compile(r"[ \t]*(?:for|in)[ \t]+(?:the[ \t]+)?(?:part\b|first\b|\([a-z0-9]\))")
_PART_CHARACTERS = 300
# The beginning of an aside: the ", because" of "5, because 2 + 3 is 5". Possessive, and begun only
# at the start of a run of spaces, so that it is linear in the text.
_ASIDE = re.compile(
    r"(?<!\s)\s++(?:\(not\b|rather than\b|\(?(?:because|since|which|as|so|if|when)\b|—)"
    r"|,\s++(?!and\b|or\b)[a-z]{2,}"
)
# A consequence in the same sentence: the "so …" of "$18 per egg, so $162 in total".
_AND_SO = re.compile(r"[\s,](?:(?:so|thus|hence|therefore|for a total of)\b|i\.e\.),?(?P<rest>.*)")
# A number or a choice at the head of a sentence: "5 apples", "C, not D".
_HEADS_ASIDE = re.compile(r"[-+$\\(]*[0-9]|\(?[A-J]\)?,|\(?[A-J][).]\s[^\n,]{1,40},\snot\b")
OPPOSITES = {"yes": "no", "no": "yes", "true": "false", "false": "true"}
"""The words that answer a question by themselves, each with its opposite."""

# A verdict that stands by itself: "Yes, it does."; "No solution" is something else.
_YES_OR_NO = re.compile(
    rf"[\s*_\"]*({'|'.join(OPPOSITES)})\b(?=[*_\"]{{0,3}}\s*(?:[,;:!—-]|$))",
    re.IGNORECASE,
)
# What limits a verdict: the rest of "Yes, but only if n is even" or "no, wait, yes".
_LIMITED = re.compile(
    r"\W{0,4}(?:but|if|when|only)\b|.*\b(?:unless|except|otherwise|wait|actually)\b", re.IGNORECASE
)
# A letter with its text of up to three words: "A. London".
_NAMED_CHOICE = re.compile(r"[\s*_]*\(?[A-J]\)?\.\s+[^\s.]+(?:\s[^\s.]+){0,2}\.?\s*$")
# A value that holds under a condition or is doubted: "7 if n is even and 8 otherwise".
_UNSURE = re.compile(
    r"\b(?:otherwise|not sure|unsure|unknown|undetermined|(?:a|my) guess|no such"
    r"|no (?:real |integer |valid )?solutions?)\b"
    r"|\band\s\$?-?[0-9][0-9.,/]*\$?\s(?:when|if)\b",
    re.IGNORECASE,
)
# A figure in bold type, with one word at most: "**15 apples**".
_BOLD_FIGURE = re.compile(
    r"\*\*\s?(?P<value>-?\\?\$?[0-9][0-9,]*(?:\.[0-9]+)?%?)(?:\s[A-Za-z]{1,12})?\s?\.?\*\*"
)
# An amount of money that a person has, spends, …: "John spent $45".
_NAME_AND_VERB = re.compile(
    r"[*_]{0,2}[A-Z][a-z]+ (?:has|had|have|spent|spends|paid|pays|needs|gets|got|makes|made|earns"
    r"|earned|sold|sells|saved|saves|owes|bought|ate|read|ran)"
    r" (?P<value>\*{0,2}\$[0-9][0-9,.]*\*{0,2})"
)
# A choice with its reason: "B because 2 is even".
_CHOICE_AND_REASON = re.compile(r"[\s*_]*(\(?[A-J]\)?)\s+(?:because|since|as)\b")
# A number behind a full stop: the 5 of "No. 5".
_NUMBERED = re.compile(r"[ \t]*[0-9]")
# A choice with its text behind a comma: 'C, "the desire to win"'.
_CHOICE_HEAD = re.compile(
    r"[\s*_]*(\(?[A-J]\)?),\s(?!\(?[A-J]\b|and\b|or\b|no\b|not\b|wait\b)(?=[\"'a-z0-9])"
)
# A word of three letters: "the". Scripts without spaces between words count by the letter.
_PROSE = re.compile(r"[\u0600-\u1fff\u3040-\uffdc]|[^\W\d_]{3,}")
# A TeX command, with its text where it has one: `\text{ cm}`, `\pi`.
_COMMAND = re.compile(
    r"\\(?:text|mathrm|textbf|mbox|operatorname)\s?\{[^{}]{0,60}\}|\\[A-Za-z]+(?:\{[a-z]+\})?"
)
# A figure and up to six words behind it: "42 grams a week".
_HEAD_FIGURE = re.compile(
    r"(?P<figure>-?\\?\$?[0-9](?:[0-9,]*[0-9])?(?:\.[0-9]+)?%?)(?P<words>(?:\s[A-Za-z]+){1,6})"
)
# A figure, a sign of a formula, or a letter alone: the 5 of "5 apples", "x".
_MATHEMATICAL = re.compile(r"[0-9\\^=]|^\(?[A-Za-z]\)?$")
_SHORTEST_PROSE = len("1 a b c")  # in ASCII; other scripts write words of one letter
# A word behind a figure that joins another value to it: the "to" of "5 to 7".
_JOINS = re.compile(r"(?:and|or|to|of|x)\b", re.IGNORECASE)
# What makes the formula before it a part of something else: `$5$/7`, `$5$ to $7$`, `$5$th`.
_GOES_ON = re.compile(
    r"\s{0,2}(?:[-\u2013\u2014+/:^!*\u00d7\u00f7]|to|times|plus|minus|x|or so)"
    r"\s{0,2}[$\\]{0,2}[0-9(]"
    r"|\s?[/^]|[A-Za-z]|\s(?:or so|than)\b"
    rf"|\s(?:more|less|fewer|greater|smaller)\sthan\s\$|\sand\s(?:an?\s)?{NUMBER_WORD}\b"
    r"|\s[A-Za-z]+,?\s(?:and\s)?\$?[0-9]+\$?\s[A-Za-z]+"
)


class _Link(NamedTuple):
    """A further formula of an answer, as text, and where it ends."""

    part: str
    end: int


Links = dict[int, _Link | None]
"""By the end of a formula: the one that is joined to it. One mapping for a text's announcements."""


def announced_value(text: str, start: int, stop: int, links: Links) -> str:
    """The answer at the head of an announcement: its formulas, or what its sentence says.

    `links` is a cache for `text`, because the formulas of two announcements may be the same.
    """
    formula = FORMULA.match(text, start, min(len(text), stop + 2000))
    if not formula:
        return _sentence_value(text[start:stop])
    parts, after = [content_of(formula)], formula.end()
    length = len(parts[0])
    # An answer over the limit is not graded, so that its rest need not be read.
    while length <= LONGEST_ANSWER_CHARACTERS and (link := _linked(text, after, links)):
        parts.append(link.part)
        length += len(link.part) + len(", ")
        after = link.end
    if _PART.match(text, after):
        sentence = text[after : after + _PART_CHARACTERS].split("\n", 1)[0]
        parts.extend(tidy(other[0]) for other in formulas_of(sentence))
    percent = r"\%" if PERCENT.match(text, after) else ""
    if not percent and len(parts) == 1 and (behind := _changing_rest(text, after, stop, parts[0])):
        return tidy(f"{parts[0]}{behind}")
    return ", ".join(part for part in parts if part) + percent


def _changing_rest(text: str, after: int, stop: int, value: str) -> str:
    """What stands behind a formula in its sentence, where that makes it another value, else ""."""
    rest = text[after : min(stop, after + FOLLOWING)].split("\n", 1)[0]
    if cut := _SENTENCE.search(rest):
        rest = rest[: cut.start()]
    if _another_follows(rest, value):
        return rest.replace("$", "")
    goes_on = _GOES_ON.match(rest)
    if aside := _ASIDE.search(rest, goes_on.end() if goes_on else 0):
        rest = rest[: aside.start()]
    words = WORDS_BEHIND.match(rest)
    changed = goes_on or (words is not None and changes_number(words[0]))
    return rest.replace("$", "") if changed else ""


def _linked(text: str, after: int, links: Links) -> _Link | None:
    """The formula that is joined to the one that ends at `after`: "$3$ and $4$"."""
    if after not in links:
        links[after] = None
        # A connector may reach into the next opening delimiter: look for that from `after` on.
        gap = JOIN.match(text, after, min(len(text), after + JOIN_CHARACTERS))
        formula = (
            next(formulas_of(text, after, min(len(text), gap.end() + 2000)), None) if gap else None
        )
        if formula and JOIN.fullmatch(text[after : formula.start()]):
            links[after] = _Link(content_of(formula), formula.end())
    return links[after]


def _sentence_value(line: str) -> str:
    """The answer in the first sentence of `line`: "5, because …", "he has 5 apples", "x + 1"."""
    if line.isascii() and line.isdecimal():  # most are; what follows says the same of them
        return line
    if _UNSURE.search(line):
        return tidy(line)
    cut = None if _NAMES_GO_ON.match(line) else _SENTENCE.search(line)
    if named := _NAMED_CHOICE.match(line):
        return tidy(named[0])
    sentence = line[: cut.start()] if cut else line
    if verdict := _YES_OR_NO.match(sentence):
        numbered = cut and _NUMBERED.match(line, cut.end())
        return tidy(line) if numbered or _is_limited(verdict) else verdict[1]
    if choice := _CHOICE_HEAD.match(sentence) or _CHOICE_AND_REASON.match(sentence):
        return choice[1]
    # The announcement may have taken the first two stars.
    bold = f"**{sentence}" if sentence.count("**") % 2 else sentence
    if value := bold_value(bold):
        return value
    if spending := _NAME_AND_VERB.fullmatch(sentence.strip()):
        return tidy(spending["value"])
    if _HEADS_ASIDE.match(sentence):
        aside = _ASIDE.search(sentence)
        value = tidy(sentence[: aside.start()] if aside else sentence)
        return tidy(sentence) if _another_follows(sentence, value) else value
    if words_of(sentence) >= 3:
        formulas = list(formulas_of(sentence))
        outside = list(FIGURE.finditer(sentence, formulas[-1].end() if formulas else 0))
        if any(is_changed(sentence, figure) for figure in outside):
            return tidy(sentence)
        figures = {figure[0] for figure in outside}
        if len(figures) == 1:
            return tidy(figures.pop())
        if formulas:
            return tidy(formulas[-1][0])
    return tidy(sentence)


def _another_follows(rest: str, value: str) -> bool:
    """Whether a sentence goes on to another value: "18 each, so 36 together"."""
    match = _AND_SO.search(rest)
    figures = FIGURE.findall(match["rest"]) if match else []
    return bool(figures) and tidy(figures[-1]) != tidy(value).split(" ")[0]


def bold_value(sentence: str) -> str | None:
    """The one figure in bold type, with its unit: "She needs **15** more dollars than the $40"."""
    bold = list(_BOLD_FIGURE.finditer(sentence))
    if len(bold) != 1:
        return None
    words = WORDS_BEHIND.match(sentence, bold[0].end())
    if words and changes_number(words[0]):
        return None
    return tidy(bold[0]["value"])


def _is_limited(verdict: re.Match[str]) -> bool:
    rest = verdict.string[verdict.end() :]
    opposite = rf"(?:^|[,;:]|\bor|\band)\W{{0,3}}{OPPOSITES[verdict[1].lower()]}\b"
    return bool(_LIMITED.match(rest) or re.search(opposite, rest, re.IGNORECASE))


def words_of(text: str) -> int:
    """How many words of prose stand in a text, formulas and commands aside."""
    return len(_PROSE.findall(_COMMAND.sub(" ", text)))


def is_prose(answer: str) -> bool:
    """Whether an answer is running text: three words, or a figure and three words behind it."""
    if len(answer) < _SHORTEST_PROSE and answer.isascii():
        return False
    head = _HEAD_FIGURE.match(answer)
    behind_figure = head is not None and len(head["words"].split()) >= 3
    return behind_figure or words_of(answer) >= 3


def is_mathematical(answer: str) -> bool:
    """Whether an answer holds a figure, a formula or a letter alone."""
    return bool(_MATHEMATICAL.search(answer))


def is_short(answer: str) -> bool:
    """Whether an answer is a value with a unit at most; a longer one may be a remark on another."""
    return "=" not in answer and words_of(answer) <= 2


def spoken_value(answer: str) -> str:
    """The figure that an answer in running text names; all of the answer if it is unclear.

    That is the figure that it begins with, as in "42 grams a week from 200 grams", or the only one.
    """
    if _UNSURE.search(answer):
        return answer
    head = _HEAD_FIGURE.match(answer)
    if head and _another_follows(answer, head["figure"]):
        return answer
    figures = list(FIGURE.finditer(answer))
    alone = all(BESIDE.search(answer[: figure.start()]) for figure in figures[1:])
    changed = head and (
        changes_number(head["words"])
        or _JOINS.match(head["words"].lstrip())
        or CHANGED_BEHIND.search(answer, head.end("figure"))
    )
    if head and alone and not changed:
        return with_measure(answer, *head.span("figure"))
    joined = figures and _JOINS.match(answer[figures[0].end() :].lstrip())
    same = len({figure[0] for figure in figures}) == 1
    if same and not joined and not is_changed(answer, figures[0]):
        return with_measure(answer, *figures[0].span())
    return answer
