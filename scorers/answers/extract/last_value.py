"""The last formula or figure of a sentence, such as 5 of "So she has 5 apples".

In: a sentence. Out: the value as text, or None where it is a part of something else ("page 5") or
where another value may be meant ("5 feet 6").
"""

import re

from scorers.answers.compare.plain_rules import tidy
from scorers.answers.extract.figures import (
    BESIDE,
    FIGURE,
    JOIN,
    PERCENT,
    content_of,
    formulas_of,
    is_changed,
    with_measure,
)
from scorers.answers.notation.unit_words import changes_number, measure

# A minus sign of Unicode before a digit, or a dash that stands for one: "is \u20135".
_MINUS = re.compile(r"\u2212(?=[0-9])|(?<=\s)[\u2013\u2010\u2011](?=[0-9])")
# What follows a value and says where it is reached: the ", attained at" of "4, attained at 2".
_WHERE = re.compile(
    r",?\s(?:(?:which is |is )?(?:attained|achieved|reached|obtained)"
    r"|which (?:occurs|happens)|occurring)\b"
    r"|\s(?:when|where|at|for|if)\s(?:\$|\\\()?\s?[a-z]\s?="
)
# The words before a total: the "total of $" of "a total of $45".
_TOTAL_OF = re.compile(r"\btotal of \$?$")
# A number before another: the "12 red and" of "12 red and 8 blue".
_ENUMERATED = re.compile(r"[0-9][$\s]{1,3}[a-z]+,? and \$?$")
# A sentence that names two values: "The mean is 5 and the median is 4".
_TWO_VALUES = re.compile(
    r"\b(?:is|are|has|equals) \*{0,2}[$\\(]{0,3}-?[0-9(][^;]{0,40}?,? and"
    r" (?:(?:the|its|his|her|their) )?[A-Za-z ]{1,40} (?:is|are|has|equals) \*{0,2}[$\\(]{0,3}$"
)
# A word behind which a figure belongs to something else: the "than" of "5 more than 3".
_BYSTANDER = re.compile(
    r"\b(?:than|who|when|while|before|until|since|where|because|although|only if|by|y|et|und"
    r"|to (?:reach|earn|get|make|arrange|buy|cover|complete|finish|have|be|fill|pay)"
    r"|arrange|up to)\b",
)
# A word before a number that only refers to something: the "page" of "page 5".
_REFERENCE = re.compile(
    r"\b(?:lemma|theorem|equation|eq\.|problem|section|day|mile|page|chapter|step|part|line|row"
    r"|question|example|table|no\.)\s\(?$",
    re.IGNORECASE,
)
# A figure directly before the last: the "5 feet" of "5 feet 6", the "6 to" of "6 to 18".
_SIDE_BY_SIDE = re.compile(
    r"[0-9](?: (?P<word>(?!to\b|and\b)[a-z]{1,12})|\$|\*\*)?,? (?P<joint>and |to )?(?:\$|\*\*)?$"
)
# The first term of a ratio in words: the "ratio is 2 to" of "the ratio is 2 to 3".
_RATIO_BEFORE = re.compile(r"\bratio\b.*[^0-9.](?P<first>[0-9]+) to $")
# A list of values that ends a sentence: "The roots are 1, 2 and 3."
_LISTED = re.compile(
    r"\bare:? (?P<list>[*$]{0,3}-?[0-9][0-9./]*[*$]{0,3}"
    r"(?:, [*$]{0,3}-?[0-9][0-9./]*[*$]{0,3}){0,20},? and [*$]{0,3}-?[0-9][0-9./]*)[*$.]*$"
)
# Two variables with their values: "x = 7 and y = 9".
_TWO_NAMES = re.compile(
    r"(?<![A-Za-z])(?P<a>[a-z])\$? ?(?:=|equals|is) ?\$?(?P<x>-?[0-9][0-9./]*)\$?(?:,? and|,) "
    r"\$?(?P<b>[a-z])\$? ?(?:=|equals|is) ?\$?(?P<y>-?[0-9][0-9./]*?)\$?\W*$"
)
# A word of a rate: the "each" of "$5 each".
_RATE = re.compile(r"\b(?:each|per|every|apiece)\b", re.IGNORECASE)
# An operator, a colon or an open list before a figure: the "2 +" of "2 + 3".
_OPERATOR_BEFORE = re.compile(
    r"[0-9A-Za-z)}][$\s]*[-+*/\u00d7\u00f7^]\s*\$?$|[0-9)}][$\s]*:\s*\$?$|[(\[][^()\[\]]*,\s*\$?$"
)
# A power that is set equal to a figure: the "x^2 =" of "x^2 = 9".
_POWER_BEFORE = re.compile(r"[A-Za-z)]\s?\^\s?\{?[0-9A-Za-z]+\}?\s*=\s*\$?$")


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
    formulas = list(formulas_of(sentence))
    behind = formulas[-1].end() if formulas else 0
    figures = list(FIGURE.finditer(sentence, behind))
    if figures:
        figure, before = figures[-1], sentence[: figures[-1].start()]
        part = _OPERATOR_BEFORE.search(before) or _POWER_BEFORE.search(before)
        if len(figures) > 1 and BESIDE.search(before):
            other = figures[0]
            head = _TOTAL_OF.sub(" ", sentence[: other.start()])
            words = sentence[other.end() : figure.start()].split()
            # "1 in 4" and "3 of the 17" are one expression.
            apart = other[0].startswith("$") or len(words) > 1 + ("the" in words)
            alone = len(figures) == 2 and apart and not BESIDE.search(head)
            if alone and not _RATE.search(sentence) and not is_changed(sentence, other):
                return tidy(other[0])  # "she spent $45 on 3 shirts"
            return None
        if ratio := _RATIO_BEFORE.search(before):
            return f"{ratio['first']}:{figure[0]}"
        if any(pattern.search(before) for pattern in (_ENUMERATED, _TWO_VALUES, _REFERENCE)):
            return None
        if len(figures) > 1 and figures[-2][0] != figure[0]:
            between = sentence[figures[-2].end() : figure.start()]
            if _BYSTANDER.search(between) or _stand_together(before):
                return None
        if part or is_changed(sentence, figure):
            return None
        return with_measure(sentence, *figure.span())
    if not formulas:
        return None
    joined = [formulas.pop()]
    while formulas and JOIN.fullmatch(sentence, formulas[-1].end(), joined[0].start()):
        joined.insert(0, formulas.pop())
    plural = re.search(r"\bare\W*$", sentence[: joined[0].start()])
    if len(joined) > 1 and (plural or all("=" in formula[0] for formula in joined)):
        return ", ".join(content_of(formula) for formula in joined)
    if _TWO_VALUES.search(sentence[: joined[0].start()]):
        return None
    percent = r"\%" if PERCENT.match(sentence, behind) else ""
    return content_of(joined[-1]) + percent


def _stand_together(before: str) -> bool:
    """Whether a figure goes on the one before it: "5 feet 6", "$3 and 5", "6 to 18"."""
    match = _SIDE_BY_SIDE.search(before)
    if not match:
        return False
    word = match["word"]
    return bool(match["joint"]) or not word or measure(word) is not None or changes_number(word)
