"""What a text announces in its own words: "Paris" where it says "The answer is Paris".

In: the text of a trace. Out: the announcement as it was written, in up to three readings, and
whether what stands behind it takes it back. `final_answer.py` finds the announcement; the value
that it reads from it is that of mathematics, where "nitrogen, 78%" is 78%.
"""

import re
from typing import NamedTuple

from schemas.records import END_OF_THINKING
from scorers.answers.extract.announcements import TOKEN_BEHIND
from scorers.answers.extract.final_answer import Extracted, extract

_REACH = 1000
# The full stop that ends a sentence, but not the one of "Mr." or "U.S.".
_SENTENCE = re.compile(
    r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\b[A-Za-z]\.[A-Za-z])[.!?](?=[\s*\"')]|$)|\n"
)
# A reason or an apposition behind an answer: the ", because" of "Paris, because it is the seat".
_ASIDE = re.compile(
    r"[\s,;(\u2013\u2014]+(?P<why>because|since)\b"
    r"|\s*[,;]\s+(?:the|an?|which|who|where|as|so)\b",
    re.IGNORECASE,
)
_HEDGES = (
    "wrong|incorrect|false|but|or|either|unless|if|maybe|perhaps|possibly|though|although|however"
    "|except|instead|rather"
)
# A word that may make a reason another answer: the "or" of "Paris, because I was there, or Rome".
_HEDGED = re.compile(rf"\b(?:{_HEDGES})\b", re.IGNORECASE)
DENIED = re.compile(
    rf"\b(?:{_HEDGES}|not|no|never|nor|neither|cannot)\b|n['\u2019]t\b", re.IGNORECASE
)
"""A word that may make an aside another answer: the "not" of "Paris, which it is not"."""

_TURNS = (
    r"wait\b|actually\b|hold on\b|oops\b|sorry\b|correction\b|scratch that\b|nope\b"
    r"|no(?:[,.!]|$)|hmm+\b|on (?:second thought|reflection)\b|or rather\b|I mean\b"
    r"|let me (?:reconsider|correct|redo)\b"
    r"|(?:that|this|it)(?:['\u2019]s| is| was) (?:wrong|incorrect|false|a mistake|not (?:right"
    r"|correct|true))\b"
)
_HEAD = r"(?:^|[.!?\n])[\s*_)\"]*(?:but |oh,? |so )?"  # of a sentence
# Words of doubt behind an answer in its own line: "Paris. But it may be London."
_TURN_BESIDE = re.compile(
    rf"\b(?:{_TURNS}|maybe\b|perhaps\b|instead\b|should be\b|could be\b|might be\b|may be\b"
    rf"|not sure\b|unsure\b)|{_HEAD}(?:or\b|but\b|however\b|wrong\b|incorrect\b|false\b)",
    re.IGNORECASE,
)
# The same at the head of a later sentence, where an explanation may stand: "Wait, it is London."
_TURN_BELOW = re.compile(rf"{_HEAD}(?:{_TURNS})", re.IGNORECASE)
_MARKS = ("**", "*", '"', "`")


class Statement(NamedTuple):
    """An announcement in its own words.

    `readings` are all of its words, its first sentence, and that without an aside; none where
    nothing is announced. `doubt` is the text behind it from words on that may take it back, such
    as "Wait, …"; empty where there are none.
    """

    found: Extracted
    readings: tuple[str, ...]
    doubt: str = ""


def statement(text: str) -> Statement:
    """What `text` announces, in its own words."""
    found = extract(text, in_words=True)
    if not found.said or found.stop <= reply_start(text):
        return Statement(found, ())
    said = TOKEN_BEHIND.sub("", found.said.strip())
    cut = _SENTENCE.search(said)
    first, rest = (said[: cut.start()], said[cut.end() :]) if cut else (said, "")
    behind = f"{rest}{text[found.stop : found.end]}"[:_REACH]
    readings = [said] if cut and cut[0] == "?" and not rest.strip() else [said, first]
    aside = _ASIDE.search(first)
    if aside and not (_HEDGED if aside["why"] else DENIED).search(first, aside.start()):
        readings.append(first[: aside.start()])
    line, _, below = behind.partition("\n")
    if turn := _TURN_BESIDE.search(line):
        doubt = behind[turn.start() :]
    else:
        turn = _TURN_BELOW.search(below)
        doubt = below[turn.start() :] if turn else ""
    return Statement(found, tuple(dict.fromkeys(map(_closed, readings))), doubt)


def reply_start(text: str) -> int:
    """Where the reply behind the last `</think>` begins; 0 where there is none, or it is empty.

    What thoughts announce is no answer of a reply in words, whatever it is in numbers.
    """
    start = text.rfind(END_OF_THINKING) + len(END_OF_THINKING)
    return start if start >= len(END_OF_THINKING) and text[start:].strip() else 0


def _closed(said: str) -> str:
    """`said` with the mark whose first half its announcement has taken: `**Paris**`."""
    for mark in _MARKS:
        if said.count(mark) % 2:
            return f"{mark}{said}" if not said.startswith(mark) else said
    return said
