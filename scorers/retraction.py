r"""Answers that are taken back, as in "The answer is 18. Wait, no, 16".

In: what stands behind an announcement, and its answer. Out: whether the text gives the answer up:
it calls it wrong, or corrects itself and ends with another value.
"""

import re

_REACH = 1000
_OPENING = r"(?:^|[.!?,;:\n\u2026])[\s*_)\]$]*(?:(?:but|oh|hmm|no|and|so)\b[ ,.]*)?"
_RETRACTION = re.compile(
    _OPENING + r"(?:wait|no,|oops|sorry|(?:I|we) (?:apologi[sz]e|made an?|was wrong|forgot)"
    r"|(?:my|the) (?:mistake|error|bad)|actually|or rather|rather|correction|hmm|re-?checking"
    r"|on (?:reflection|second thought)|checking again|let me (?:re-?|double)-?\s?check"
    r"|(?:this|that|it)(?: is|'s| was) (?:wrong|incorrect|not (?:right|correct)))\b",
    re.IGNORECASE,
)
_WRONG = re.compile(
    r"\b(?:wrong|incorrect|not (?:right|correct)|mistaken?|error|apologi[sz]e|oops)\b",
    re.IGNORECASE,
)
_CONFIRMED = re.compile(
    r"\b(?:yes|confirmed|consistent|checks? out|verified|matches|(?:is|was|are) (?:indeed )?"
    r"(?:correct|right))\b",
    re.IGNORECASE,
)
# "However, she gives 2 away, so the real total is 16."
_TURN = re.compile(
    r"[.!?\n]\s*(?:But|However|Yet)\b[^\n]{0,200}?\b(?:so|thus|hence|therefore|real|actual|becomes)\b"
    r"(?P<rest>[^\n]{0,120})"
)
_FIGURE = re.compile(r"(?<![\w.,/])-?[0-9][0-9,]*(?:\.[0-9]+)?(?:/[0-9]+)?")
_LETTER = re.compile(r"(?<![A-Za-z])[A-J](?![A-Za-z'])")
_CHOICE = re.compile(r"\(?[A-J]\)?(?![A-Za-z])")


def is_retracted(behind: str, answer: str) -> bool:
    """Whether `behind`, the text after an announcement, takes its answer back."""
    behind = behind[:_REACH]
    if retraction := _RETRACTION.search(behind):
        rest = behind[retraction.start() :]
        if _WRONG.search(rest[:80]) and not _CONFIRMED.search(rest):
            return True
        return _ends_elsewhere(rest, answer) and not _CONFIRMED.search(rest)
    turn = _TURN.search(behind)
    return turn is not None and _ends_elsewhere(turn["rest"], answer)


def _ends_elsewhere(text: str, answer: str) -> bool:
    """Whether the last value of `text`, a choice or a figure as `answer` is, is none of it."""
    kind = _LETTER if _CHOICE.match(answer) else _FIGURE
    values, own = kind.findall(text), kind.findall(answer)
    return bool(values and own) and _plain(values[-1]) not in {_plain(one) for one in own}


def _plain(figure: str) -> str:
    figure = figure.replace(",", "")
    return figure.rstrip("0").rstrip(".") if "." in figure else figure
