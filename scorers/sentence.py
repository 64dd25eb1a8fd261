"""The value that the sentence behind an announcement names: "The answer is …".

In: a text and where its announcement ends. Out: the answer as text: the formulas there, or what the
sentence says. Words that change a number stay with it, so that "3 thousand" never becomes 3.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from scorers.plain_answer import LONGEST_ANSWER_CHARACTERS, tidy
from scorers.spelled import COUNTS
from scorers.units import changes_number

JOIN = re.compile(
    r"(?:[\s$]|\\[()\[\]]|\\q?quad|\\[ ,;])*+"
    r"(?:[,;]|[,;]?\s*+(?:\\text\s*\{\s*)?(?:and|or)(?:\s*\})?)"
    r"(?:[\s$]|\\[()\[\]]|\\q?quad|\\[ ,;])*"
)
JOIN_CHARACTERS = 60
# "$x = 1$ and $x = 2$": between two boxes a name may stand again.
JOIN_OF_BOXES = re.compile(JOIN.pattern + r"(?:[a-zA-Z]\s?=\s?)?")

_FORMULA = re.compile(
    r"\$\$(?P<a>.+?)\$\$|\\\[(?P<b>.+?)\\\]|\\\((?P<c>.+?)\\\)"
    r"|\$(?P<d>[ \t][^$\n]+[ \t]|[^\s$](?:[^$\n]*[^\s$\\])?)\$(?![0-9])",
    re.DOTALL,
)
_OPENING = re.compile(r"\$|\\[\[(]")
_CLOSING = {r"\[": r"\]", r"\(": r"\)"}
_PERCENT = re.compile(r"\s*(?:\\?%|percent\b)")
_SENTENCE = re.compile(r"(?<!\bRs)(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)\.(?=[\s*\"')]|$)")
# "I. II and III": the full stop ends no sentence.
_NAMES_GO_ON = re.compile(
    r"\(?(?:[A-J]|[IVX]{1,4})\)?\.\s+\(?(?:[A-J]|[IVX]{1,4})\)?\s*(?:,|\band\b|\bor\b|\.|$)"
)
# "$3$ for part (a), and $4$ for part (b)"
_PART = re.compile(r"[ \t]*(?:for|in)[ \t]+(?:the[ \t]+)?(?:part\b|first\b|\([a-z0-9]\))")
_PART_CHARACTERS = 300
# Possessive, and begun only at the start of a run: linear in the text, whatever it holds.
_ASIDE = re.compile(
    r"(?<!\s)\s++\(?(?:(?:because|since|which|as|so|if|when)\b|—)|,\s++(?!and\b|or\b)[a-z]{2,}"
)
_HEADS_ASIDE = re.compile(r"[-+$\\(]*[0-9]|\(?[A-J]\)?,|\(?[A-J][).]\s[^\n,]{1,40},\snot\b")
# "Yes, it does."; "No solution" is something else.
_YES_OR_NO = re.compile(
    r"[\s*_\"]*(yes|no|true|false)\b(?=[*_\"]{0,3}\s*(?:[,;:!—-]|$))",
    re.IGNORECASE,
)
# "Yes, but only if n is even", "no, wait, yes"
_LIMITED = re.compile(
    r"\W{0,4}(?:but|if|when|only)\b|.*\b(?:unless|except|otherwise|wait|actually)\b", re.IGNORECASE
)
# "A. London": the letter with its text
_NAMED_CHOICE = re.compile(r"[\s*_]*\(?[A-J]\)?\.\s+[^\s.]+(?:\s[^\s.]+){0,2}\.?\s*$")
# "7 if n is even and 8 otherwise", "12, but I am not sure"
_UNSURE = re.compile(
    r"\b(?:otherwise|not sure|unsure|unknown|undetermined|(?:a|my) guess|no such"
    r"|no (?:real |integer |valid )?solutions?)\b"
    r"|\band\s\$?-?[0-9][0-9.,/]*\$?\s(?:when|if)\b",
    re.IGNORECASE,
)
_OPPOSITES = {"yes": "no", "no": "yes", "true": "false", "false": "true"}
_BOLD_FIGURE = re.compile(
    r"\*\*\s?(?P<value>-?\\?\$?[0-9][0-9,]*(?:\.[0-9]+)?%?)(?:\s[A-Za-z]{1,12})?\s?\.?\*\*"
)
_NAME_AND_VERB = re.compile(
    r"[*_]{0,2}[A-Z][a-z]+ (?:has|had|have|spent|spends|paid|pays|needs|gets|got|makes|made|earns"
    r"|earned|sold|sells|saved|saves|owes|bought|ate|read|ran)"
    r" (?P<value>\*{0,2}\$[0-9][0-9,.]*\*{0,2})"
)
_CHOICE_AND_REASON = re.compile(r"[\s*_]*(\(?[A-J]\)?)\s+(?:because|since|as)\b")
_NUMBERED = re.compile(r"[ \t]*[0-9]")  # "No. 5"
# 'C, "the desire to win"': the choice alone.
_CHOICE_HEAD = re.compile(
    r"[\s*_]*(\(?[A-J]\)?),\s(?!\(?[A-J]\b|and\b|or\b|no\b|not\b|wait\b)(?=[\"'a-z0-9])"
)
# Words; scripts without spaces between words count by the letter.
_PROSE = re.compile(r"[\u0600-\u1fff\u3040-\uffdc]|[^\W\d_]{3,}")
_COMMAND = re.compile(
    r"\\(?:text|mathrm|textbf|mbox|operatorname)\s?\{[^{}]{0,60}\}|\\[A-Za-z]+(?:\{[a-z]+\})?"
)
# Letters without ASCII may touch a figure: Chinese has no spaces between words.
_FIGURE = re.compile(
    r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{2,4}(?![0-9/])|[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9-])"
    r"|(?<![0-9:])[0-9]{1,2}:[0-9]{2}(?![0-9:])(?:\s?[AaPp]\.?[Mm]\b)?"
    r"|(?<![A-Za-z0-9_.,/:])-?\$?[0-9](?:[0-9,]*[0-9])?(?:\.[0-9]+)?(?:/[0-9]+)?\u03c0?%?"
    r"(?![A-Za-z0-9_/\u00bc-\u00be\u2150-\u215e\u03c0\u221a\u00b2\u00b3])"
    r"|-?\\[dt]?frac\{[^{}]{1,60}\}\{[^{}]{1,60}\}"
)
_HEAD_FIGURE = re.compile(
    r"(?P<figure>-?\\?\$?[0-9](?:[0-9,]*[0-9])?(?:\.[0-9]+)?%?)(?P<words>(?:\s[A-Za-z]+){1,6})"
)
# What stands before a figure that is no part of the answer: "42 grams a week from 200 grams".
_BESIDE = re.compile(
    r"\b(?:in|for|from|of|after|every|each|within|on|by|over|with|at|per|eating)\s(?:the\s)?\$?$",
    re.IGNORECASE,
)
_JOINS = re.compile(r"(?:and|or|to|of|x)\b", re.IGNORECASE)
_WORDS_BEHIND = re.compile(r"(?:\s{1,3}[A-Za-z]+){1,3}")
_NUMBER_WORD = f"(?:{'|'.join(COUNTS)}|half|halves|thirds?|quarters?)"
# Operations on what follows: "half of the 5 apples", "the square root of 5", "three pears and 5".
_CHANGED_BEFORE = re.compile(
    r"(?:(?:^|\s)[-\u2212]|\b(?:than|not|negative|minus|below|above|between|at (?:least|most)"
    r"|over|under|twice|double|triple|times|or"
    r"|(?:half|halves|thirds?|quarters?|fifths?|tenths?|square|root|cube|power|percent|reciprocal"
    r"|inverse|factorial|multiple|divisor|sum|product|difference|loss|decrease|drop|reduction|debt)"
    rf" of)|\b{_NUMBER_WORD} [a-z]+ and)\s+(?:the\s+)?\$?$",
    re.IGNORECASE,
)
# Another quantity behind: "5 apples and three pears", "5 per 100 people", "12 at night minus one".
_CHANGED_BEHIND = re.compile(
    rf"\b(?:and|plus|with|all)\s(?:an?\s|remainder\s)?{_NUMBER_WORD}\b|\b(?:per|out of)\s[0-9]"
    rf"|\b(?:minus|multiplied|divided|remainder|lost|point {_NUMBER_WORD})\b",
    re.IGNORECASE,
)
# Directly behind a formula, what makes it a part of something else: "$5$/7", "$5$ to $7$", "$5$th".
_GOES_ON = re.compile(
    r"\s{0,2}(?:[-\u2013\u2014+/:^!*\u00d7\u00f7]|to|times|plus|minus|x|or so)"
    r"\s{0,2}[$\\]{0,2}[0-9(]"
    r"|\s?[/^]|[A-Za-z]|\s(?:or so|than)\b"
    rf"|\s(?:more|less|fewer|greater|smaller)\sthan\s\$|\sand\s(?:an?\s)?{_NUMBER_WORD}\b"
    r"|\s[A-Za-z]+,?\s(?:and\s)?\$?[0-9]+\$?\s[A-Za-z]+"
)
_FOLLOWING = 160
# "The maximum is 4, attained at $x = 2$": where it is so, behind what is so.
_WHERE = re.compile(
    r",?\s(?:(?:which is |is )?(?:attained|achieved|reached|obtained)"
    r"|which (?:occurs|happens)|occurring)\b"
    r"|\s(?:when|where|at|for|if)\s(?:\$|\\\()?\s?[a-z]\s?="
)
_TOTAL_OF = re.compile(r"\btotal of \$?$")
# "12 red and 8 blue"
_ENUMERATED = re.compile(r"[0-9][$\s]{1,3}[a-z]+,? and \$?$")
# "x = 7 and y = 9"
_TWO_NAMES = re.compile(
    r"(?<![A-Za-z])(?P<a>[a-z])\$? ?(?:=|equals|is) ?\$?(?P<x>-?[0-9][0-9./]*)\$?,? and "
    r"\$?(?P<b>[a-z])\$? ?(?:=|equals|is) ?\$?(?P<y>-?[0-9][0-9./]*?)\$?\W*$"
)
_RATE = re.compile(r"\b(?:each|per|every|apiece)\b", re.IGNORECASE)
_OPERATOR_BEFORE = re.compile(
    r"[0-9A-Za-z)}][$\s]*[-+*/\u00d7\u00f7^]\s*\$?$|[0-9)}][$\s]*:\s*\$?$|[(\[][^()\[\]]*,\s*\$?$"
)
_POWER_BEFORE = re.compile(r"[A-Za-z)]\s?\^\s?\{?[0-9A-Za-z]+\}?\s*=\s*\$?$")


class _Link(NamedTuple):
    """A formula that goes on an answer, and where it ends."""

    part: str
    end: int


Links = dict[int, _Link | None]
"""By the end of a formula: the one that is joined to it. One mapping for a text's announcements."""


def announced_value(text: str, start: int, stop: int, links: Links) -> str:
    """The answer at the head of an announcement: its formulas, or what its sentence says.

    `links` keeps what was found in `text`: announcements may stand in one another's formulas.
    """
    formula = _FORMULA.match(text, start, min(len(text), stop + 2000))
    if not formula:
        return _sentence_value(text[start:stop])
    parts, after = [_part(formula)], formula.end()
    length = len(parts[0])
    # An answer over the limit is given up: its rest need not be read.
    while length <= LONGEST_ANSWER_CHARACTERS and (link := _linked(text, after, links)):
        parts.append(link.part)
        length += len(link.part) + len(", ")
        after = link.end
    if _PART.match(text, after):
        sentence = text[after : after + _PART_CHARACTERS].split("\n", 1)[0]
        parts.extend(tidy(other[0]) for other in _formulas(sentence, 0, len(sentence)))
    percent = r"\%" if _PERCENT.match(text, after) else ""
    if not percent and len(parts) == 1 and (behind := _changing_rest(text, after, stop)):
        return tidy(f"{parts[0]}{behind}")
    return ", ".join(part for part in parts if part) + percent


def _changing_rest(text: str, after: int, stop: int) -> str:
    """What stands behind a formula in its sentence, where that makes it another value, else ""."""
    rest = text[after : min(stop, after + _FOLLOWING)].split("\n", 1)[0]
    if cut := _SENTENCE.search(rest):
        rest = rest[: cut.start()]
    goes_on = _GOES_ON.match(rest)
    if aside := _ASIDE.search(rest, goes_on.end() if goes_on else 0):
        rest = rest[: aside.start()]
    words = _WORDS_BEHIND.match(rest)
    changed = goes_on or (words is not None and changes_number(words[0]))
    return rest.replace("$", "") if changed else ""


def _linked(text: str, after: int, links: Links) -> _Link | None:
    """The formula that is joined to the one that ends at `after`: "$3$ and $4$"."""
    if after not in links:
        links[after] = None
        # A connector may reach into the next opening delimiter: look for that from `after` on.
        gap = JOIN.match(text, after, min(len(text), after + JOIN_CHARACTERS))
        formula = (
            next(_formulas(text, after, min(len(text), gap.end() + 2000)), None) if gap else None
        )
        if formula and JOIN.fullmatch(text[after : formula.start()]):
            links[after] = _Link(_part(formula), formula.end())
    return links[after]


def _part(formula: re.Match[str]) -> str:
    return tidy(formula["a"] or formula["b"] or formula["c"] or formula["d"])


def _formulas(text: str, start: int, stop: int) -> Iterator[re.Match[str]]:
    """The formulas of `text[start:stop]`; one look finds all delimiters that nothing closes."""
    last = {opening: text.rfind(_CLOSING[opening], start, stop) for opening in _CLOSING}
    at = start
    for opening in _OPENING.finditer(text, start, stop):
        closed = opening.end() < last.get(opening[0], stop)
        if (
            opening.start() >= at
            and closed
            and (found := _FORMULA.match(text, opening.start(), stop))
        ):
            yield found
            at = found.end()


def _sentence_value(line: str) -> str:
    """The answer in the first sentence of `line`: "5, because …", "he has 5 apples", "x + 1"."""
    if _UNSURE.search(line):
        return tidy(line)
    cut = None if _NAMES_GO_ON.match(line) else _SENTENCE.search(line)
    if named := _NAMED_CHOICE.match(line):
        return tidy(named[0])
    sentence = line[: cut.start()] if cut else line
    if verdict := _YES_OR_NO.match(sentence):
        numbered = cut and _NUMBERED.match(line, cut.end())
        return tidy(line) if numbered or _is_limited(verdict) else verdict[1]
    if choice := _CHOICE_HEAD.match(sentence):
        return choice[1]
    if reason := _CHOICE_AND_REASON.match(sentence):
        return reason[1]
    if value := bold_value(sentence) or _of_a_name(sentence):
        return value
    if _HEADS_ASIDE.match(sentence):
        aside = _ASIDE.search(sentence)
        return tidy(sentence[: aside.start()] if aside else sentence)
    if words_of(sentence) >= 3:
        formulas = list(_formulas(sentence, 0, len(sentence)))
        found = list(_FIGURE.finditer(sentence, formulas[-1].end() if formulas else 0))
        if any(_is_changed(sentence, figure) for figure in found):
            return tidy(sentence)
        figures = {figure[0] for figure in found}
        if len(figures) == 1:
            return tidy(figures.pop())
        if formulas:
            return tidy(formulas[-1][0])
    return tidy(sentence)


def bold_value(sentence: str) -> str | None:
    """The one figure in bold type, with its unit: "She needs **15** more dollars than the $40"."""
    found = list(_BOLD_FIGURE.finditer(sentence))
    if len(found) != 1:
        return None
    words = _WORDS_BEHIND.match(sentence, found[0].end())
    if words and changes_number(words[0]):
        return None
    return tidy(found[0]["value"])


def _of_a_name(sentence: str) -> str | None:
    """The figure of "John spent $45"."""
    found = _NAME_AND_VERB.fullmatch(sentence.strip())
    return tidy(found["value"]) if found else None


def _is_limited(verdict: re.Match[str]) -> bool:
    rest = verdict.string[verdict.end() :]
    opposite = rf"(?:^|[,;:]|\bor|\band)\W{{0,3}}{_OPPOSITES[verdict[1].lower()]}\b"
    return bool(_LIMITED.match(rest) or re.search(opposite, rest, re.IGNORECASE))


def words_of(text: str) -> int:
    """How many words of prose stand in a text, formulas and commands aside."""
    return len(_PROSE.findall(_COMMAND.sub(" ", text)))


def is_prose(answer: str) -> bool:
    """Whether an answer is running text: three words, or a figure and three words behind it."""
    head = _HEAD_FIGURE.match(answer)
    behind_figure = head is not None and len(head["words"].split()) >= 3
    return behind_figure or words_of(answer) >= 3


def spoken_value(answer: str) -> str:
    """The figure that an answer in running text names; all of the answer if it is unclear.

    That is the figure that it begins with, as in "42 grams a week from 200 grams", or the only one.
    """
    if _UNSURE.search(answer):
        return answer
    head = _HEAD_FIGURE.match(answer)
    alone = all(
        _BESIDE.search(answer[: figure.start()]) for figure in list(_FIGURE.finditer(answer))[1:]
    )
    changed = head and (
        changes_number(head["words"])
        or _JOINS.match(head["words"].lstrip())
        or _CHANGED_BEHIND.search(answer, head.end("figure"))
    )
    if head and alone and not changed:
        return tidy(head["figure"])
    figures = list(_FIGURE.finditer(answer))
    joined = figures and _JOINS.match(answer[figures[0].end() :].lstrip())
    same = len({figure[0] for figure in figures}) == 1
    if same and not joined and not _is_changed(answer, figures[0]):
        return tidy(figures[0][0])
    return answer


def last_value(sentence: str) -> str | None:
    """The last formula or figure of a sentence; None where it is a part of something else."""
    where = _WHERE.search(sentence)
    if where and re.search(r"[0-9]", sentence[: where.start()]):
        sentence = sentence[: where.start()]
    if two := _TWO_NAMES.search(sentence):
        return f"{two['a']} = {two['x']}, {two['b']} = {two['y']}"
    formulas = list(_formulas(sentence, 0, len(sentence)))
    behind = formulas[-1].end() if formulas else 0
    figures = list(_FIGURE.finditer(sentence, behind))
    if figures:
        figure, before = figures[-1], sentence[: figures[-1].start()]
        part = _OPERATOR_BEFORE.search(before) or _POWER_BEFORE.search(before)
        if len(figures) > 1 and _BESIDE.search(before):
            other = figures[0]
            head = _TOTAL_OF.sub(" ", sentence[: other.start()])
            words = sentence[other.end() : figure.start()].split()
            # "1 in 4" and "3 of the 17" are one expression.
            apart = other[0].startswith("$") or len(words) > 1 + ("the" in words)
            alone = len(figures) == 2 and apart and not _BESIDE.search(head)
            if alone and not _RATE.search(sentence) and not _is_changed(sentence, other):
                return tidy(other[0])  # "she spent $45 on 3 shirts"
            return None
        if _ENUMERATED.search(before):
            return None
        return None if part or _is_changed(sentence, figure) else tidy(figure[0])
    if not formulas:
        return None
    if len(formulas) > 1 and all("=" in found[0] for found in formulas[-2:]):
        between = sentence[formulas[-2].end() : formulas[-1].start()]
        if JOIN.fullmatch(between):
            return f"{_part(formulas[-2])}, {_part(formulas[-1])}"
    percent = r"\%" if _PERCENT.match(sentence, behind) else ""
    return _part(formulas[-1]) + percent


def _is_changed(sentence: str, figure: re.Match[str]) -> bool:
    """Whether the words around a figure make it another value: "less than 18", "3 thousand"."""
    behind = _WORDS_BEHIND.match(sentence, figure.end())
    before = sentence[max(0, figure.start() - 40) : figure.start()]
    return (
        _CHANGED_BEFORE.search(before) is not None
        or _CHANGED_BEHIND.search(sentence, figure.end(), figure.end() + _FOLLOWING) is not None
        or (behind is not None and changes_number(behind[0]))
    )
