"""The value that the sentence behind an announcement names: "The answer is …".

In: a text and where its announcement ends. Out: the answer as text: the formulas there, or what the
sentence says. Words that change a number stay with it, so that "3 thousand" never becomes 3.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from scorers.answers.compare.plain_rules import LONGEST_ANSWER_CHARACTERS, tidy
from scorers.answers.notation.number_words import COUNTS
from scorers.answers.notation.units import changes_number, is_foreign_scale, measure

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
_SENTENCE = re.compile(
    r"(?<!\bRs)(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bi\.e)\.(?=[\s*\"')]|$)"
)
# "I. II and III": the full stop ends no sentence.
_NAMES_GO_ON = re.compile(
    r"\(?(?:[A-J]|[IVX]{1,4})\)?\.\s+\(?(?:[A-J]|[IVX]{1,4})\)?\s*(?:,|\band\b|\bor\b|\.|$)"
)
# "$3$ for part (a), and $4$ for part (b)"
_PART = re.compile(r"[ \t]*(?:for|in)[ \t]+(?:the[ \t]+)?(?:part\b|first\b|\([a-z0-9]\))")
_PART_CHARACTERS = 300
# Possessive, and begun only at the start of a run: linear in the text, whatever it holds.
_ASIDE = re.compile(
    r"(?<!\s)\s++(?:\(not\b|rather than\b|\(?(?:because|since|which|as|so|if|when)\b|—)"
    r"|,\s++(?!and\b|or\b)[a-z]{2,}"
)
# "$18 per egg, so $162 in total"
_AND_SO = re.compile(r"[\s,](?:(?:so|thus|hence|therefore|for a total of)\b|i\.e\.),?(?P<rest>.*)")
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
_MINUS = re.compile(r"\u2212(?=[0-9])|(?<=\s)[\u2013\u2010\u2011](?=[0-9])")
_MEASURE = re.compile(
    r"\s(?P<unit>[A-Za-z]{1,12}(?:/[A-Za-z]{1,6}|\sper\s[a-z]{1,12})?(?:[\u00b2\u00b3]|\^[23])?)"
    r"(?![A-Za-z/^])"
)
# "The maximum is 4, attained at $x = 2$": where it is so, behind what is so.
_WHERE = re.compile(
    r",?\s(?:(?:which is |is )?(?:attained|achieved|reached|obtained)"
    r"|which (?:occurs|happens)|occurring)\b"
    r"|\s(?:when|where|at|for|if)\s(?:\$|\\\()?\s?[a-z]\s?="
)
_TOTAL_OF = re.compile(r"\btotal of \$?$")
# "12 red and 8 blue"
_ENUMERATED = re.compile(r"[0-9][$\s]{1,3}[a-z]+,? and \$?$")
# "The mean is 5 and the median is 4": which is meant?
_TWO_VALUES = re.compile(
    r"\b(?:is|are|has|equals) \*{0,2}[$\\(]{0,3}-?[0-9(][^;]{0,40}?,? and"
    r" (?:(?:the|its|his|her|their) )?[A-Za-z ]{1,40} (?:is|are|has|equals) \*{0,2}[$\\(]{0,3}$"
)
# Behind such a word a figure belongs to something else than the one before it.
_BYSTANDER = re.compile(
    r"\b(?:than|who|when|while|before|until|since|where|because|although|only if|by|y|et|und"
    r"|to (?:reach|earn|get|make|arrange|buy|cover|complete|finish|have|be|fill|pay)"
    r"|arrange|up to)\b",
)
_REFERENCE = re.compile(
    r"\b(?:lemma|theorem|equation|eq\.|problem|section|day|mile|page|chapter|step|part|line|row"
    r"|question|example|table|no\.)\s\(?$",
    re.IGNORECASE,
)
_SIDE_BY_SIDE = re.compile(
    r"[0-9](?: (?P<word>(?!to\b|and\b)[a-z]{1,12})|\$|\*\*)?,? (?P<joint>and |to )?(?:\$|\*\*)?$"
)
_RATIO_BEFORE = re.compile(r"\bratio\b.*[^0-9.](?P<first>[0-9]+) to $")
_LISTED = re.compile(
    r"\bare:? (?P<list>[*$]{0,3}-?[0-9][0-9./]*[*$]{0,3}"
    r"(?:, [*$]{0,3}-?[0-9][0-9./]*[*$]{0,3}){0,20},? and [*$]{0,3}-?[0-9][0-9./]*)[*$.]*$"
)
# "x = 7 and y = 9"
_TWO_NAMES = re.compile(
    r"(?<![A-Za-z])(?P<a>[a-z])\$? ?(?:=|equals|is) ?\$?(?P<x>-?[0-9][0-9./]*)\$?(?:,? and|,) "
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
    if not percent and len(parts) == 1 and (behind := _changing_rest(text, after, stop, parts[0])):
        return tidy(f"{parts[0]}{behind}")
    return ", ".join(part for part in parts if part) + percent


def _changing_rest(text: str, after: int, stop: int, value: str) -> str:
    """What stands behind a formula in its sentence, where that makes it another value, else ""."""
    rest = text[after : min(stop, after + _FOLLOWING)].split("\n", 1)[0]
    if cut := _SENTENCE.search(rest):
        rest = rest[: cut.start()]
    if _another_follows(rest, value):
        return rest.replace("$", "")
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
            and (formula := _FORMULA.match(text, opening.start(), stop))
        ):
            yield formula
            at = formula.end()


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
    # The announcement may have taken the first two stars.
    bold = f"**{sentence}" if sentence.count("**") % 2 else sentence
    if value := bold_value(bold) or _of_a_name(sentence):
        return value
    if _HEADS_ASIDE.match(sentence):
        aside = _ASIDE.search(sentence)
        value = tidy(sentence[: aside.start()] if aside else sentence)
        return tidy(sentence) if _another_follows(sentence, value) else value
    if words_of(sentence) >= 3:
        formulas = list(_formulas(sentence, 0, len(sentence)))
        outside = list(_FIGURE.finditer(sentence, formulas[-1].end() if formulas else 0))
        if any(_is_changed(sentence, figure) for figure in outside):
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
    figures = _FIGURE.findall(match["rest"]) if match else []
    return bool(figures) and tidy(figures[-1]) != tidy(value).split(" ")[0]


def bold_value(sentence: str) -> str | None:
    """The one figure in bold type, with its unit: "She needs **15** more dollars than the $40"."""
    bold = list(_BOLD_FIGURE.finditer(sentence))
    if len(bold) != 1:
        return None
    words = _WORDS_BEHIND.match(sentence, bold[0].end())
    if words and changes_number(words[0]):
        return None
    return tidy(bold[0]["value"])


def _of_a_name(sentence: str) -> str | None:
    """The figure of "John spent $45"."""
    match = _NAME_AND_VERB.fullmatch(sentence.strip())
    return tidy(match["value"]) if match else None


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
    if head and _another_follows(answer, head["figure"]):
        return answer
    alone = all(
        _BESIDE.search(answer[: figure.start()]) for figure in list(_FIGURE.finditer(answer))[1:]
    )
    changed = head and (
        changes_number(head["words"])
        or _JOINS.match(head["words"].lstrip())
        or _CHANGED_BEHIND.search(answer, head.end("figure"))
    )
    if head and alone and not changed:
        return tidy(head["figure"] + _measure_behind(answer, head.end("figure")))
    figures = list(_FIGURE.finditer(answer))
    joined = figures and _JOINS.match(answer[figures[0].end() :].lstrip())
    same = len({figure[0] for figure in figures}) == 1
    if same and not joined and not _is_changed(answer, figures[0]):
        return tidy(figures[0][0] + _measure_behind(answer, figures[0].end()))
    return answer


def last_value(sentence: str) -> str | None:
    """The last formula or figure of a sentence; None where it is a part of something else."""
    sentence = _MINUS.sub("-", sentence)
    where = _WHERE.search(sentence)
    if where and re.search(r"[0-9]", sentence[: where.start()]):
        sentence = sentence[: where.start()]
    if two := _TWO_NAMES.search(sentence):
        return f"{two['a']} = {two['x']}, {two['b']} = {two['y']}"
    if listed := _LISTED.search(sentence):
        return tidy(re.sub(r",? and ", ", ", re.sub(r"[*$]", "", listed["list"])))
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
        if ratio := _RATIO_BEFORE.search(before):
            return f"{ratio['first']}:{figure[0]}"
        if any(one.search(before) for one in (_ENUMERATED, _TWO_VALUES, _REFERENCE)):
            return None
        if len(figures) > 1 and figures[-2][0] != figure[0]:
            between = sentence[figures[-2].end() : figure.start()]
            if _BYSTANDER.search(between) or _stand_together(before):
                return None
        if part or _is_changed(sentence, figure):
            return None
        return tidy(figure[0] + _measure_behind(sentence, figure.end()))
    if not formulas:
        return None
    joined = [formulas.pop()]
    while formulas and _are_joined(sentence, formulas[-1], joined[0]):
        joined.insert(0, formulas.pop())
    plural = re.search(r"\bare\W*$", sentence[: joined[0].start()])
    if len(joined) > 1 and (plural or all("=" in formula[0] for formula in joined)):
        return ", ".join(_part(formula) for formula in joined)
    if _TWO_VALUES.search(sentence[: joined[0].start()]):
        return None
    percent = r"\%" if _PERCENT.match(sentence, behind) else ""
    return _part(joined[-1]) + percent


def _are_joined(sentence: str, one: re.Match[str], other: re.Match[str]) -> bool:
    return JOIN.fullmatch(sentence, one.end(), other.start()) is not None


def _stand_together(before: str) -> bool:
    """Whether a figure goes on the one before it: "5 feet 6", "$3 and 5", "6 to 18"."""
    match = _SIDE_BY_SIDE.search(before)
    if not match:
        return False
    word = match["word"]
    return bool(match["joint"]) or not word or measure(word) is not None or changes_number(word)


def _measure_behind(text: str, at: int) -> str:
    """The measure that stands behind a figure, as " m/s"; "" for any other noun."""
    match = _MEASURE.match(text, at)
    if not match or match["unit"] == "in":  # "5 in total"
        return ""
    return f" {match['unit']}" if measure(re.split(r"[/^\u00b2\u00b3]", match["unit"])[0]) else ""


def _is_changed(sentence: str, figure: re.Match[str]) -> bool:
    """Whether the words around a figure make it another value: "less than 18", "3 thousand"."""
    behind = _WORDS_BEHIND.match(sentence, figure.end())
    before = sentence[max(0, figure.start() - 40) : figure.start()]
    return (
        _CHANGED_BEFORE.search(before) is not None
        or _CHANGED_BEHIND.search(sentence, figure.end(), figure.end() + _FOLLOWING) is not None
        or (behind is not None and changes_number(behind[0]))
        or is_foreign_scale(sentence[figure.end() :])
    )
