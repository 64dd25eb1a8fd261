"""Trust a column of verdicts: `traces.correct` of the source says whether each trace is right.

For problems that nothing else can check, and for labels that somebody has paid for. The whole text
of a trace is kept, because it is what the label speaks of.
"""

from collections.abc import Sequence

from curation.graders import Grader, Submission
from schemas.records import Grade
from scorers.answers.extract.final_answer import extract
from scorers.answers.grade import Answer

_GRADES = {True: Grade.CORRECT, False: Grade.WRONG, None: Grade.UNPARSED}


def build() -> Grader:
    """The grader; it has no options."""
    return LabelGrader()


class LabelGrader(Grader):
    """Passes the source's labels on; a trace without one is unparsed."""

    def grade(self, submissions: Sequence[Submission]) -> list[Answer]:
        """The label of each trace; the answer is shown where the text announces one."""
        return [
            Answer(
                grade=_GRADES[trace.recorded_correct],
                answer=extract(trace.text).answer,
                end=len(trace.text),
            )
            for _, trace in submissions
        ]

    def at_once(self, submissions: Sequence[Submission]) -> list[Answer]:
        """The same: it waits for nothing."""
        return self.grade(submissions)

    def fingerprint(self) -> object:
        """Labels are a part of the traces, which are hashed beside this."""
        return 1
