"""Answers that name what they are not, or why: "B, not A", "not red but blue", "B because …".

In: an announcement in its own words. Out: its parts; the grader decides whether they are answers.
"""

import re
from typing import NamedTuple

# An answer and what it is not: "B, not A", "B (not A)", "red rather than blue".
_NOT_BEHIND = re.compile(
    r"(?P<kept>\S[^\n]{0,200}?)(?:\s*,\s*|\s*\(|\s+)(?:and\s+)?(?:not|rather than|instead of)\s+"
    r"(?P<denied>[^\n()]{1,200}?)\)?[.!]?",
    re.IGNORECASE,
)
# What an answer is not, and the answer: "not A but B".
_NOT_BEFORE = re.compile(
    r"not\s+(?P<denied>[^\n]{1,200}?),?\s+but\s+(?:rather\s+)?(?P<kept>[^\n]{1,200}?)[.!]?",
    re.IGNORECASE,
)
# What divides several things that an answer is not: the "or" of "B, not A or C".
_SEVERAL = re.compile(r"\s*(?:,|\b(?:or|nor|and)\b)\s*", re.IGNORECASE)
# An answer and its reason: "B because A is wrong".
_REASON = re.compile(
    r"(?P<kept>\S[^\n]{0,200}?)(?:[\s,(]+(?P<why>because|since|as)\b|\s*:\s)(?P<reason>[^\n]{1,600})",
    re.IGNORECASE,
)
# A word that may make a reason another answer: the "or" of "B because of A, or C".
_OPEN = re.compile(
    r"\?|\b(?:or|either|unless|if|maybe|perhaps|possibly|but|though|although|however|except"
    r"|instead|rather|wait|actually|also)\b",
    re.IGNORECASE,
)


_DENIED = re.compile(r"\b(?:not?|never|nor|none|wrong|incorrect|false)\b|n['\u2019]t\b", re.I)


class Contrast(NamedTuple):
    """An answer, and what the same words say that it is not."""

    kept: str
    denied: tuple[str, ...]


def contrast(text: str) -> Contrast | None:
    """The parts of "B, not A" or "not A but B"; None for any other text."""
    text = text.strip()
    match = _NOT_BEFORE.fullmatch(text) or _NOT_BEHIND.fullmatch(text)
    if not match:
        return None
    if re.search(r",\s*or\b", match["denied"]):
        return None  # "B rather than C, or D"
    denied = tuple(filter(None, _SEVERAL.split(match["denied"])))
    return Contrast(match["kept"].strip(), denied)


def reasoned(text: str) -> tuple[str, str] | None:
    """The answer and the reason of "B because A is wrong"; None where words leave it open.

    A remark behind a colon counts only where it denies nothing: "B: wrong" is no answer.
    """
    match = _REASON.fullmatch(text.strip())
    if not match or _OPEN.search(match["reason"]) or not re.search(r"\w", match["reason"]):
        return None
    if not match["why"] and _DENIED.search(match["reason"]):
        return None
    return match["kept"].strip(), match["reason"]
