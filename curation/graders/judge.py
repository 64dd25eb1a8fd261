"""Grade by a judge: a model behind an OpenAI-compatible server says whether a trace is right.

The trace is shown to it between two lines, with the problem and the gold (`judging/question.py`).
Only the last line of its reply counts (`judging/verdict.py`). Replies are kept in the run
directory, so that none is paid for twice (`judging/client.py`).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from curation.graders import Grader, Submission
from curation.graders._naming import named
from curation.graders.judging import question, verdict
from curation.graders.judging.client import JudgeClient, Vote, question_id
from curation.sampling.replies import Replies
from curation.teachers.openai_server import OpenAIServer
from schemas.recipe import Part, digest
from schemas.records import Grade, GradedTrace, Prompt
from scorers.answers.extract.final_answer import extract
from scorers.answers.grade import GRADING, Answer
from support import plugins
from support.errors import UserError

JUDGING = 1
"""Bumped by hand where the reading of replies, or what they are asked, changes."""
MOST_VOTES = 99
_SET_HERE = {
    "prompt": "set grader.prompt",
    "hints": "a judge gets none",
    "stop": "a reply must reach its last line",
    "top_up": "set grader.votes",
}


def build(teacher: Part, prompt: str = question.DEFAULT, votes: int = 1) -> Grader:
    """A judge; raises UserError where an option makes no sense.

    Args:
        teacher: the server that is asked, with the options of the teacher openai_server. Its
            temperature is 0 by default, and 1 for several votes; `max_tokens` is 1024.
        prompt: what it is asked. `{problem}`, `{gold}`, `{trace}` and `{answer}` (the final answer
            that was found in the trace, else the whole trace) are filled in.
        votes: how often it is asked for each trace; more than half of the votes decide.
    """
    if not 1 <= votes <= MOST_VOTES or votes % 2 == 0:
        raise UserError(f"grader.votes: must be an odd number from 1 to {MOST_VOTES}")
    asked = question.fields(prompt)
    if not asked & {question.TRACE, question.ANSWER}:
        raise UserError("grader.prompt: must hold {trace} or {answer}, what is to be judged")
    if f"{question.VERDICT}CORRECT" not in prompt or f"{question.VERDICT}INCORRECT" not in prompt:
        raise UserError(
            "grader.prompt: must ask for a last line VERDICT: CORRECT, VERDICT: INCORRECT or "
            "VERDICT: UNCLEAR; nothing else is read"
        )
    if teacher.kind == "openai_batch":
        raise UserError(
            "grader.teacher.kind: openai_batch cannot judge: a judge is asked while prompts wait "
            "for its verdicts, and each time would be a batch of up to a day; name a server with "
            "kind openai_server"
        )
    if teacher.kind != "openai_server":
        raise UserError("grader.teacher.kind: must be openai_server: a judge is behind a server")
    for name, reason in _SET_HERE.items():
        if name in teacher.options:
            raise UserError(f"grader.teacher.{name}: not for a judge ({reason}); take it out")
    if teacher.options.get("part") == "full":
        raise UserError(
            "grader.teacher.part: must be answer or after_think: what a judge thinks is no verdict"
        )
    if not teacher.options.get("endpoints"):
        raise UserError(
            "grader.teacher.endpoints: none; give the address of the judge's server, such as "
            "http://localhost:8000/v1"
        )
    if votes > 1 and teacher.options.get("temperature") == 0:
        raise UserError(
            "grader.votes: all votes are alike at temperature 0; set grader.votes=1, or "
            "grader.teacher.temperature above 0"
        )
    options: dict[str, object] = {
        "temperature": 0.0 if votes == 1 else 1.0,
        "max_tokens": 1024,
        "part": "answer",
        **teacher.options,
        "top_up": 0,
    }
    with named("teacher", "grader.teacher"):
        server: OpenAIServer = plugins.build("curation.teachers", teacher.kind, options, "teacher")
    return JudgeGrader(JudgeClient(server), prompt, votes)


class _Reading(NamedTuple):
    """A trace as it is judged: its answer, where it ends, and the question about it."""

    answer: str | None
    end: int
    question: str  # empty where there is nothing to judge


class JudgeGrader(Grader):
    """Has a server decide; see `build` for the options."""

    most_at_a_time = 128  # a server answers hundreds of questions at a time, each in seconds

    def __init__(self, client: JudgeClient, prompt: str, votes: int) -> None:
        self._client, self._prompt, self._votes = client, prompt, votes
        self._asks_gold = question.GOLD in question.fields(prompt)

    def grade(self, submissions: Sequence[Submission]) -> list[Answer]:
        """Ask about every trace that holds any text; ShortError where the server is gone."""
        readings = [self._read(submission) for submission in submissions]
        with named("teacher", "grader.teacher"):
            grades = self._decide(one.question for one in readings if one.question)
        return [
            Answer(grade=grades.get(one.question, Grade.UNPARSED), answer=one.answer, end=one.end)
            for one in readings
        ]

    def fault(self, prompt: Prompt) -> str:
        """There is no gold, although the judge is to be shown it."""
        if self._asks_gold and not prompt.gold:
            return "there is no gold, and grader.prompt shows it to the judge"
        return ""

    def final_answer(self, prompt: Prompt, correct: Sequence[GradedTrace]) -> str:
        """The gold; without one, the answer of the first trace that was judged correct."""
        answers = (one.answer for one in correct if one.answer)
        return prompt.gold or next(answers, "")

    def fingerprint(self) -> object:
        """The versions of what reads, every setting of the server, and what it is asked."""
        return [JUDGING, GRADING, self._client.settings, digest(self._prompt)]

    def keep(self, replies: Replies) -> None:
        """Look for earlier replies in `replies`, and add new ones."""
        self._client.keep(replies)

    def reach(self) -> None:
        """Ask the server whether it is well."""
        with named("teacher", "grader.teacher"):
            self._client.reach()

    def questions(self, submission: Submission) -> list[str]:
        """The id of the question about a trace; none about an empty one."""
        asked = self._read(submission).question
        return [question_id(asked)] if asked else []

    def close(self) -> None:
        """End the conversation with the server."""
        self._client.close()

    def _read(self, submission: Submission) -> _Reading:
        prompt, trace = submission
        found = extract(trace.text)
        text = trace.text[: found.end]  # the judge sees what will be released
        if not text.strip():
            return _Reading(None, found.end, "")
        texts = {
            question.PROBLEM: prompt.text,
            question.GOLD: "\n".join((prompt.gold, *prompt.more_golds)),
            question.ANSWER: found.answer or text,
            question.TRACE: text,
        }
        asked = question.fields(self._prompt)
        filled = question.question(self._prompt, {k: v for k, v in texts.items() if k in asked})
        return _Reading(found.answer, found.end, filled)

    def _decide(self, questions: Iterable[str]) -> dict[str, Grade]:
        """The grade of every question, in order; as few votes are asked for as decide it."""
        given: dict[str, list[Grade]] = {text: [] for text in questions}
        while votes := [
            Vote(text, len(grades) + more)
            for text, grades in given.items()
            for more in range(verdict.still_needed(grades, self._votes))
        ]:
            for vote, reply in self._client.ask(votes).items():
                given[vote.question].append(verdict.read(reply))
        return {text: verdict.majority(grades, self._votes) for text, grades in given.items()}
