"""Grade short answers in words: the answer must be one of the golds, once both are normalised.

White space, markup, quotation marks and a closing full stop never count; capitals count where the
recipe says so. An answer that holds a gold and says more ("Paris or London") is not read.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from curation.graders import Grader, Submission
from schemas.records import Grade, Prompt
from scorers.answers.compare.plain_rules import tidy
from scorers.answers.compare.words import holds, normal
from scorers.answers.extract.final_answer import extract
from scorers.answers.extract.statements import reply_start, statement
from scorers.answers.grade import GRADING, Answer

Place = Literal["announced", "last_line", "whole"]

VERSION = 2
LONGEST_CHARACTERS = 1000  # of an answer; a gold is no longer
_LONGEST_REPLY = 100  # of a reply that is nothing but an answer


def build(
    answer: Place = "announced",
    case: bool = False,
    normalise: Literal["plain", "squad"] = "plain",
) -> Grader:
    """The grader.

    Args:
        answer: where the answer stands: behind an announcement, in a tag or in a box; in the last
            line; or it is the whole reply.
        case: capitals and small letters are different.
        normalise: `squad` leaves out articles and punctuation as well.
    """
    return ExactGrader(answer, case, normalise == "squad")


class ExactGrader(Grader):
    """Compares normal forms."""

    def __init__(self, answer: Place, case: bool, squad: bool) -> None:
        self._place = answer
        self._case = case
        self._squad = squad

    def grade(self, submissions: Sequence[Submission]) -> list[Answer]:
        """Compare the answer of each trace with every gold of its prompt."""
        return [self._grade(prompt, trace.text) for prompt, trace in submissions]

    def at_once(self, submissions: Sequence[Submission]) -> list[Answer]:
        """The same: it waits for nothing."""
        return self.grade(submissions)

    def fault(self, prompt: Prompt) -> str:
        """No gold, or one of which nothing is left once it is normalised."""
        golds = (prompt.gold, *prompt.more_golds)
        if not prompt.gold:
            return "there is no gold for the grader exact"
        for gold in golds:
            if len(gold) > LONGEST_CHARACTERS or not self._normal(gold):
                return f"the gold {gold[:60]!r} is empty once it is normalised, or too long"
        return ""

    def fingerprint(self) -> object:
        """The versions of the comparison and of the rules that find an answer."""
        return [VERSION, GRADING]

    def _grade(self, prompt: Prompt, text: str) -> Answer:
        golds = {self._normal(gold) for gold in (prompt.gold, *prompt.more_golds)} - {""}
        found = _readings(text, self._place)
        forms = {
            form: tidy(reading)
            for reading in found.readings
            if len(reading) <= LONGEST_CHARACTERS and (form := self._normal(reading))
        }
        if not forms:
            return Answer(grade=Grade.UNPARSED, answer=None, end=found.end)
        for form, answer in forms.items():
            if form in golds:
                return Answer(grade=Grade.CORRECT, answer=answer, end=found.end)
        holds_more = any(holds(form, gold) for form in forms for gold in golds)
        grade = Grade.WRONG if found.is_answer and not holds_more else Grade.UNPARSED
        return Answer(grade=grade, answer=list(forms.values())[-1], end=found.end)

    def _normal(self, text: str) -> str:
        return normal(text, case=self._case, squad=self._squad)


class _Found(NamedTuple):
    """What may be the answer, in one or more readings, and where the solution ends.

    `is_answer` is false for a reply that announces nothing: it may be one, and may be a remark.
    """

    readings: Sequence[str]
    end: int
    is_answer: bool = True


def _readings(text: str, place: Place) -> _Found:
    if place == "announced":
        said = statement(text)
        end = said.found.end
        if said.readings or said.found.given_up:
            return _Found(() if said.doubt else said.readings, end)
    else:
        end = extract(text).end
    reply = text[reply_start(text) : end].strip()
    if place == "last_line":
        line = reply.rsplit("\n", 1)[-1].strip()
        said = statement(line)
        return _Found((line,) if said.doubt else (*said.readings, line), end)
    if place == "whole":
        return _Found((reply,), end)
    alone = len(reply) <= _LONGEST_REPLY and "\n" not in reply
    return _Found((reply,) if alone else (), end, is_answer=False)
