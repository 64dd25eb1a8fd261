r"""Answers that are taken back, as in "The answer is 18. Wait, no, 16".

In: what stands behind an announcement, and its answer. Out: whether the text gives the answer up:
it calls it wrong, or corrects itself and ends with another value. A check ("Let me double-check"),
a remark ("However, note that …") and another way to the same value are no correction.
"""

import re

from scorers.answers.compare.plain_rules import tidy

_REACH = 1000
_OPENING = r"(?:^|[.!?,;:\n\u2026\u3002\uff0c])[\s*_)\]$]*(?:(?:but|oh|hmm|no|and|so)\b[ ,.]*)?"
# Words of a correction, behind which another value is enough: "Wait,", "no, that is wrong".
_CORRECTION = re.compile(
    _OPENING + r"(?:wait\b|hold on\b|no[, ]|nope\b|oops\b|sorry\b(?! for)|scratch that|correction\b"
    r"|or rather\b|(?:my|the) (?:mistake|error|bad|apologies)\b|re-?checking\b|checking again"
    r"|(?:up)?on (?:reflection|second thought)|(?:I|we) (?:apologi[sz]e|was wrong|forgot|misread"
    r"|made an? (?:\w+ )?(?:mistake|error)|need to correct)|let me (?:reconsider|redo|correct)"
    r"|espera\b|me equivoqu[eé]|attendez\b|je me suis tromp[eé]|moment\b|das stimmt nicht"
    r"|\u7b49\u7b49|\u4e0d\u5bf9|\u6211\u7b97\u9519"
    r"|(?:subtracting|adding|doubling|halving|multiplying|dividing|including|excluding)\b[^.\n]*"
    r"\b(?:gives|get|yields|makes)\b|perd[oó]n\b|\u043f\u043e\u0434\u043e\u0436\u0434\u0438\u0442\u0435|edit:"
    r"|(?:up)?on re-?examination|re-?reading\b|let me re-?check: "
    r"|(?:but )?the (?:problem|question) asks for|that ignores\b"
    r"|(?:this|that|it|which)(?: is|'s| was) (?:wrong|incorrect|not (?:right|correct)))",
    re.IGNORECASE,
)
# A word that may also open a check, so that a sentence must give another answer: "However".
_TURN = re.compile(
    r"(?:(?:^|[.!?\n])[\s*_)\]$]*(?:but|however|yet|hmm|actually|rather"
    r"|let me (?:re-?|double)[- ]?check)|, but)\b",
    re.IGNORECASE,
)
# Words that give another answer: the "should be" of "it should be 16".
_ANOTHER_ANSWER = re.compile(
    r"\b(?:wrong|incorrect|not (?:the answer|allowed)|mistake|error|should (?:be|have been)"
    r"|becomes|actually,? \$?-?[0-9]"
    r"|(?:correct|right|real|actual|true) \w+ (?:is|was)"
    r"|(?:so|thus|hence|therefore|then)[, ]+(?:the (?:answer|total|result|minimum|maximum|value"
    r"|sum|number) (?:is|becomes)"
    r"|(?:it|she|he|they|we) (?:is|are|makes?|earns?|has|have|gets?|sells?)\b(?! from)"
    r"|(?:we|I) (?:must |need to |have to )?(?:divide|subtract|add|multiply|double|halve)"
    r"|(?:it is |the answer is )?\(?[A-J]\)?[.!])|[A-J]\)? is (?:the )?(?:correct|right|better)\b)",
    re.IGNORECASE,
)
# A word that calls an answer wrong: "mistake".
_WRONG = re.compile(
    r"\b(?:wrong|incorrect|not (?:right|correct)|mistaken?|error|apologi[sz]e|oops)\b",
    re.IGNORECASE,
)
# The value that a correction names: the 16 of "it should be 16".
_CORRECTED = re.compile(
    r"(?:should be|it is|it's|is actually|no,|no wait,)\s+\$?(?P<value>[^\s$.,]{1,60})"
)
# A number or a fraction: "1,234.5", "3/4".
_FIGURE = re.compile(r"(?<![A-Za-z0-9_.,/])-?[0-9][0-9,]*(?:\.[0-9]+)?(?:/[0-9]+)?")
# A sign that only a formula holds: `\sqrt`, "^", a letter alone.
_FORMULA = re.compile(r"\\(?:sqrt|frac|dfrac|pi)|\^|(?<![A-Za-z(])[a-z](?![A-Za-z)])")
# A letter alone that may be a choice: "B".
_LETTER = re.compile(r"(?<![A-Za-z])[A-J](?![A-Za-z'])")
# A choice at the head of an answer: "(B)".
_CHOICE = re.compile(r"\(?[A-J]\)?(?![A-Za-z])")


def is_retracted(behind: str, answer: str) -> bool:
    """Whether `behind`, the text after an announcement, takes its answer back."""
    behind = behind[:_REACH]
    # Most texts hold no "not", and to compile a pattern takes longer than all else here.
    if "not " in behind and re.search(
        rf"\bnot \$?{re.escape(answer[:60])}(?![\w.,]?[0-9])", behind
    ):
        return True  # "so the total is 16, not 18"
    if correction := _CORRECTION.search(behind):
        rest = behind[correction.start() :]
        if (last := _last(rest, answer)) is not None:
            return last not in _own(answer)
        return _names_another(rest, answer) or _WRONG.search(rest[:80]) is not None
    if turn := _TURN.search(behind):
        another = _ANOTHER_ANSWER.search(behind, turn.start())
        if another and not _own(answer):
            return _names_another(behind[turn.start() :], answer)
        last = _last(behind[another.start() :], answer) if another else None
        return last is not None and last not in _own(answer)
    return False


def _names_another(text: str, answer: str) -> bool:
    """Whether "it should be …" or the like names what is no part of the answer."""
    corrected = _CORRECTED.search(text)
    return corrected is not None and tidy(corrected["value"]) not in answer


def _last(text: str, answer: str) -> str | None:
    """The last value of `text` of the answer's kind; None where one of them has no plain value."""
    values = _kind(answer).findall(text)
    return _plain(values[-1]) if values and _own(answer) else None


def _own(answer: str) -> set[str]:
    """The values that an answer consists of; nothing for a formula."""
    values = [] if _FORMULA.search(answer) else _kind(answer).findall(answer)
    return {_plain(value) for value in values}


def _kind(answer: str) -> re.Pattern[str]:
    return _LETTER if _CHOICE.match(answer) else _FIGURE


def _plain(figure: str) -> str:
    figure = figure.replace(",", "")
    return figure.rstrip("0").rstrip(".") if "." in figure else figure
