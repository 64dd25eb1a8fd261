"""Graders, one file a kind: they decide whether the answer of a trace is right.

A grader reads a trace and compares its answer with what the prompt holds: the gold, choices, tests.
Its verdict is one of four: correct, wrong, unparsed (no answer could be read) or timeout.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol, runtime_checkable

from curation.sampling.replies import Replies
from schemas.records import Grade, GradedTrace, Prompt, Trace
from scorers.answers.grade import Answer
from support.capacity import raise_if_out_of_memory
from support.errors import PolytraceError, UserError, first_line


class Submission(NamedTuple):
    """What is graded: a trace, and the prompt that it answers."""

    prompt: Prompt
    trace: Trace


class Grader(Protocol):
    """A rule that grades traces; usable from any thread.

    A verdict depends on its submission and on the options of the grader alone, so that grading
    while sampling runs and grading afterwards agree.
    """

    def grade(self, submissions: Sequence[Submission]) -> list[Answer]:
        """One Answer for each submission, in order. No text of a trace makes it raise."""

    def fault(self, prompt: Prompt) -> str:
        """Why no trace of this prompt could be graded, as a sentence; empty where it can be."""
        return ""

    def final_answer(self, prompt: Prompt, correct: Sequence[GradedTrace]) -> str:
        """What the summary of a canvas ends in: the gold, as it should be written.

        `correct` are the prompt's correct traces; an empty text where there is no such answer.
        """
        return prompt.gold

    def fingerprint(self) -> object:
        """Plain data that changes where a verdict may: a version, and what is installed or asked.

        The options of the recipe are hashed beside it.
        """

    def close(self) -> None:
        """End what the grader has started; grading again starts it anew."""
        return


_METHODS = ("grade", "fault", "final_answer", "fingerprint", "close")


def check(grader: object) -> None:
    """UserError where a part that is used as a grader is none; it may come from another package."""
    if lacks := [name for name in _METHODS if not callable(getattr(grader, name, None))]:
        raise UserError(
            f"grader.kind: {_name(grader)} has no method {lacks[0]}; it must be a Grader as "
            "curation.graders defines it; update or uninstall its package"
        )


def verdicts(grader: Grader, submissions: Sequence[Submission]) -> list[Answer]:
    """What `grader.grade` returns, once it is checked: one Answer for each submission.

    Raises UserError where it is anything else, or where a grader of another package fails.
    """
    with _blaming(grader):
        found = list(grader.grade(submissions))
    return _checked(grader, submissions, found)


def verdicts_at_once(
    grader: "GradesAtOnce", submissions: Sequence[Submission]
) -> list[Answer] | None:
    """The same without waiting; None where the grader would have to wait."""
    with _blaming(grader):
        found = grader.at_once(submissions)
    return None if found is None else _checked(grader, submissions, found)


@contextmanager
def _blaming(grader: object) -> Iterator[None]:
    """UserError where a grader of another package fails."""
    try:
        yield
    except PolytraceError:
        raise
    except Exception as error:
        raise_if_out_of_memory(error)
        if type(grader).__module__.startswith("curation."):
            raise
        what = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(_faulty(grader, f"failed while it graded ({what})")) from error


def _checked(
    grader: object, submissions: Sequence[Submission], found: list[Answer]
) -> list[Answer]:
    if len(found) != len(submissions):
        fault = f"gave {len(found)} verdicts for {len(submissions)} traces, and must give one each"
        raise UserError(_faulty(grader, fault))
    for answer, (_, trace) in zip(found, submissions, strict=True):
        if not isinstance(answer, Answer) or not isinstance(answer.grade, Grade):
            raise UserError(_faulty(grader, f"gave {str(answer)[:60]!r}, which is no Answer"))
        if not 0 <= answer.end <= len(trace.text):
            fault = f"ended a trace of {len(trace.text)} characters at {answer.end}"
            raise UserError(_faulty(grader, fault))
    return found


def _faulty(grader: object, fault: str) -> str:
    return f"grader.kind: {_name(grader)} {fault}; update its package, or choose another grader"


def _name(grader: object) -> str:
    return f"{type(grader).__module__}.{type(grader).__qualname__}"


@runtime_checkable
class KeepsReplies(Protocol):
    """A grader whose work is paid for or may come out differently next time: it is kept."""

    def keep(self, replies: Replies) -> None:
        """Look for earlier replies in `replies`, and add new ones; called before `grade`."""


@runtime_checkable
class GradesAtOnce(Protocol):
    """A grader that mostly needs nothing but the texts: while sampling runs, it needs no thread."""

    def at_once(self, submissions: Sequence[Submission]) -> list[Answer] | None:
        """What `grade` would return; None where that has to wait for a process or a server."""


@runtime_checkable
class Waits(Protocol):
    """A grader that does nothing but wait, for a server that others run."""

    most_at_a_time: int
    """In how many threads `grade` may wait at a time."""


@runtime_checkable
class Warns(Protocol):
    """A grader that may have to say something about how it grades on this machine."""

    @property
    def warning(self) -> str:
        """A sentence for the end of a build; empty where there is nothing to say."""


@runtime_checkable
class AsksServer(Protocol):
    """A grader with a server that others run."""

    def reach(self) -> None:
        """Ask the server whether it is well.

        Raises ShortError where it does not answer, UserError where it serves another model or
        wants a key.
        """


@runtime_checkable
class NamesQuestions(Protocol):
    """A grader whose kept replies answer questions, so that they can be counted by prompt."""

    def questions(self, submission: Submission) -> list[str]:
        """The ids of what may be asked about a trace: `prompt_id` of the replies."""
