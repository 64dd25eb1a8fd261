"""Grade by several graders in turn: the first one that decides counts.

`correct` and `wrong` are decisions. What one grader leaves `unparsed`, or cannot decide in time
(`timeout`), goes to the next: rules first, for instance, and a judge for the rest alone.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from curation.graders import (
    AsksServer,
    Grader,
    GradesAtOnce,
    KeepsReplies,
    NamesQuestions,
    Submission,
    Waits,
    Warns,
    check,
    verdicts,
    verdicts_at_once,
)
from curation.graders._naming import named
from curation.sampling.replies import Replies
from curation.teachers import AT_A_TIME
from schemas.recipe import Part
from schemas.records import Grade, GradedTrace, Prompt
from scorers.answers.grade import Answer
from support import plugins
from support.errors import UserError


def build(graders: tuple[Part, ...]) -> Grader:
    """The graders (each its `kind` and options), in the order in which they are asked."""
    if not graders:
        raise UserError("grader.graders: none; list at least one, such as [{kind: math}]")
    built: list[Grader] = []
    for number, spec in enumerate(graders):
        with _at(number):
            one = plugins.build("curation.graders", spec.kind, spec.options, "grader")
            check(one)
            built.append(one)
    return FirstOf(built)


class FirstOf(Grader):
    """Asks each grader for what those before it left open."""

    def __init__(self, graders: Sequence[Grader]) -> None:
        self._graders = graders
        first = graders[0]
        self._first = first if isinstance(first, GradesAtOnce) else None
        limits = [
            one.most_at_a_time if isinstance(one, Waits) else AT_A_TIME
            for one in graders
            if isinstance(one, Waits) or not isinstance(one, GradesAtOnce)
        ]
        self.most_at_a_time = min(limits, default=AT_A_TIME)

    def grade(self, submissions: Sequence[Submission]) -> list[Answer]:
        """The first decision for each submission; where none decides, the first answer.

        A grader is not asked about a prompt that it cannot grade.
        """
        answers: dict[int, Answer] = {}
        undecided = list(range(len(submissions)))
        for number, grader in enumerate(self._graders):
            asked = [i for i in undecided if not grader.fault(submissions[i].prompt)]
            if not asked:
                continue
            with _at(number):
                given = verdicts(grader, [submissions[i] for i in asked])
            for i, answer in zip(asked, given, strict=True):
                if _is_decided(answer):
                    answers[i] = answer
                else:
                    answers.setdefault(i, answer)
            undecided = [i for i in undecided if i not in answers or not _is_decided(answers[i])]
        return [
            answers.get(i) or Answer(grade=Grade.UNPARSED, answer=None, end=len(trace.text))
            for i, (_, trace) in enumerate(submissions)
        ]

    def at_once(self, submissions: Sequence[Submission]) -> list[Answer] | None:
        """The same, where the first grader decides every submission without waiting."""
        if self._first is None or any(self._graders[0].fault(one.prompt) for one in submissions):
            return None
        with _at(0):
            found = verdicts_at_once(self._first, submissions)
        return found if found is not None and all(map(_is_decided, found)) else None

    def fault(self, prompt: Prompt) -> str:
        """Why none of them could grade a trace of this prompt: what the first one says."""
        faults = [grader.fault(prompt) for grader in self._graders]
        return faults[0] if all(faults) else ""

    def final_answer(self, prompt: Prompt, correct: Sequence[GradedTrace]) -> str:
        """The answer of the first grader that can grade the prompt and names one."""
        able = [grader for grader in self._graders if not grader.fault(prompt)]
        answers = (grader.final_answer(prompt, correct) for grader in able or self._graders)
        return next(filter(None, answers), "")

    def fingerprint(self) -> object:
        """Those of all graders, in order."""
        return [grader.fingerprint() for grader in self._graders]

    def keep(self, replies: Replies) -> None:
        """Hand `replies` to every grader that keeps any."""
        for grader in self._graders:
            if isinstance(grader, KeepsReplies):
                grader.keep(replies)

    @property
    def warning(self) -> str:
        """What any of them has to say."""
        graders = (grader for grader in self._graders if isinstance(grader, Warns))
        return " ".join(grader.warning for grader in graders if grader.warning)

    def reach(self) -> None:
        """Ask the servers of all graders."""
        for number, grader in enumerate(self._graders):
            if isinstance(grader, AsksServer):
                with _at(number):
                    grader.reach()

    def questions(self, submission: Submission) -> list[str]:
        """The questions of all graders."""
        graders = (grader for grader in self._graders if isinstance(grader, NamesQuestions))
        return [one for grader in graders for one in grader.questions(submission)]

    def close(self) -> None:
        """End what any of them has started."""
        for grader in self._graders:
            grader.close()


def _at(number: int) -> AbstractContextManager[None]:
    """Errors of a grader name its place in the list."""
    return named("grader", f"grader.graders.{number}")


def _is_decided(answer: Answer) -> bool:
    return answer.grade in (Grade.CORRECT, Grade.WRONG)
