"""What a judge's reply says, and what several replies say together.

Only the last line of a reply counts, and only if it is exactly `VERDICT: CORRECT`,
`VERDICT: INCORRECT` or `VERDICT: UNCLEAR`. Anything else is no verdict.
"""

from collections import Counter
from collections.abc import Sequence

from curation.graders.judging.question import VERDICT
from schemas.records import FinishReason, Grade, Trace

_GRADES = {
    f"{VERDICT}CORRECT": Grade.CORRECT,
    f"{VERDICT}INCORRECT": Grade.WRONG,
    f"{VERDICT}UNCLEAR": Grade.UNPARSED,
}
_WHOLE = (FinishReason.STOP, FinishReason.UNKNOWN)  # else the last line is not the judge's last


def read(reply: Trace) -> Grade:
    """The grade that a reply states; UNPARSED where it states none, or was cut off or refused."""
    if reply.finish_reason not in _WHOLE:
        return Grade.UNPARSED
    return _GRADES.get(_last_line(reply.text), Grade.UNPARSED)


def majority(grades: Sequence[Grade], votes: int) -> Grade:
    """CORRECT or WRONG where more than half of all `votes` say so; else UNPARSED."""
    grade, count = _leading(grades)
    return grade if count > votes // 2 else Grade.UNPARSED


def still_needed(grades: Sequence[Grade], votes: int) -> int:
    """How many votes to ask for next: as few as may decide, and none where nothing can change."""
    wanted = votes // 2 + 1 - _leading(grades)[1]
    return wanted if 0 < wanted <= votes - len(grades) else 0


def _leading(grades: Sequence[Grade]) -> tuple[Grade, int]:
    """The more frequent of CORRECT and WRONG, and how often it was given."""
    counts = Counter(grades)
    grade = max((Grade.WRONG, Grade.CORRECT), key=lambda one: counts[one])
    return grade, counts[grade]


def _last_line(text: str) -> str:
    lines = (line.strip(" \t\r") for line in reversed(text.split("\n")))
    return next((line for line in lines if line), "")
