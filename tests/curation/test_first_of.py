"""The grader `first_of`: the first decision counts, and only what is left open goes on."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from curation import components
from curation.graders import AsksServer, Grader, KeepsReplies, Submission
from curation.graders.first_of import FirstOf
from curation.sampling.replies import Replies
from schemas.recipe import Recipe
from schemas.records import Grade, GradedTrace, Prompt
from scorers.answers.grade import Answer
from support import plugins
from support.errors import UserError
from tests.curation.samples import graded, recipe
from tests.servers.loopback import Behaviour, Loopback

JUDGE = {"kind": "openai_server", "endpoints": "http://127.0.0.1:9", "model": "loop"}
MATH, JUDGED = {"kind": "math"}, {"kind": "judge", "teacher": JUDGE}


class Fixed(Grader):
    """Gives the grade that is named in the text after its own name; counts what it is asked."""

    def __init__(self, name: str, fault: str = "", answer: str = "") -> None:
        self._name, self._fault, self._answer = name, fault, answer
        self.asked: list[list[str]] = []
        self.closed = 0

    def grade(self, submissions: Sequence[Submission]) -> list[Answer]:
        texts = [one.trace.text for one in submissions]
        self.asked.append(texts)
        said = [dict(word.split("=") for word in text.split())[self._name] for text in texts]
        return [Answer(grade=Grade(one), answer=self._name, end=1) for one in said]

    def fault(self, prompt: Prompt) -> str:
        return self._fault

    def final_answer(self, prompt: Prompt, correct: Sequence[GradedTrace]) -> str:
        return self._answer

    def fingerprint(self) -> object:
        return self._name

    def close(self) -> None:
        self.closed += 1


def submission(text: str) -> Submission:
    prompt = Prompt(id="0" * 16, text="?", gold="5", source="s", row=1, license="MIT")
    return Submission(prompt, replace(graded(0, 0, "", Grade.UNPARSED).trace, text=text))


def built(*graders: dict[str, Any]) -> Grader:
    grader: Grader = plugins.build(
        "curation.graders", "first_of", {"graders": list(graders)}, "grader"
    )
    return grader


def test_the_first_decision_counts_and_only_the_rest_goes_on() -> None:
    first, second = Fixed("a"), Fixed("b")
    both = FirstOf([first, second])
    texts = [
        "a=correct b=wrong",
        "a=wrong b=correct",
        "a=unparsed b=correct",
        "a=timeout b=wrong",
        "a=timeout b=unparsed",
        "a=unparsed b=timeout",
    ]
    answers = both.grade([submission(text) for text in texts])
    assert [(str(one.grade), one.answer) for one in answers] == [
        ("correct", "a"),
        ("wrong", "a"),
        ("correct", "b"),
        ("wrong", "b"),
        ("timeout", "a"),
        ("unparsed", "a"),
    ]
    assert first.asked == [texts] and second.asked == [texts[2:]], "in one batch"
    both.grade([submission(texts[0])])
    assert len(second.asked) == 1 and both.grade([]) == []


def test_a_grader_is_not_asked_about_a_prompt_that_it_cannot_grade() -> None:
    unable, able = Fixed("a", fault="no tests"), Fixed("b", answer="5")
    both = FirstOf([unable, able])
    assert both.fault(submission("").prompt) == ""
    (answer,) = both.grade([submission("a=wrong b=correct")])
    assert answer.grade is Grade.CORRECT and unable.asked == []
    assert both.final_answer(submission("").prompt, []) == "5"
    neither = FirstOf([unable, Fixed("b", fault="no gold")])
    assert neither.fault(submission("").prompt) == "no tests"
    (answer,) = neither.grade([submission("text")])
    assert (answer.grade, answer.answer, answer.end) == (Grade.UNPARSED, None, 4)


def test_the_final_answer_is_the_first_that_is_named() -> None:
    graders = [Fixed("a"), Fixed("b", answer="7"), Fixed("c", answer="8")]
    both = FirstOf(graders)
    assert both.final_answer(submission("").prompt, []) == "7"
    assert both.fingerprint() == ["a", "b", "c"]
    both.close()
    assert [one.closed for one in graders] == [1, 1, 1]


@pytest.fixture
def server() -> Iterator[Loopback]:
    script = (("seven and a half", "VERDICT: CORRECT"), ("Paris", "VERDICT: INCORRECT"))
    with Loopback(Behaviour(script=script)) as started:
        yield started


def test_the_judge_is_asked_for_what_no_rule_can_read(server: Loopback, tmp_path: Path) -> None:
    grader = built(MATH, {"kind": "judge", "teacher": {**JUDGE, "endpoints": server.url}})
    assert isinstance(grader, KeepsReplies) and isinstance(grader, AsksServer)
    grader.keep(Replies(tmp_path))
    grader.reach()
    texts = [
        "The answer is 5.",
        "The answer is 6.",
        "It comes to about seven and a half, which nobody can read",
        "No value here, Paris",
        "No value here, Paris",
        "",
    ]
    answers = grader.grade([submission(text) for text in texts])
    assert [str(one.grade) for one in answers] == [
        *("correct", "wrong", "correct", "wrong", "wrong", "unparsed")
    ]
    assert len(server.served()) == 2
    again = built(MATH, {"kind": "judge", "teacher": {**JUDGE, "endpoints": server.url}})
    assert isinstance(again, KeepsReplies)
    again.keep(Replies(tmp_path))
    assert again.grade([submission(text) for text in texts]) == answers
    assert len(server.served()) == 2
    grader.close()
    again.close()


@pytest.mark.parametrize(
    ("graders", "message"),
    [
        ([], "grader.graders: none"),
        ([{"kind": "maths"}], "grader.graders.0.kind: no grader 'maths'; did you mean 'math'"),
        ([MATH, {"kind": "math", "seconds": 1}], "grader.graders.1.seconds: unknown option of"),
        ([MATH, {"kind": "judge"}], "grader.graders.1.teacher: "),
        ([{**JUDGED, "votes": 4}], "grader.graders.0.votes: must be an odd number"),
        (
            [MATH, {"kind": "judge", "teacher": {**JUDGE, "top_p": 0}}],
            "grader.graders.1.teacher.top_p: must be in (0, 1]",
        ),
        (
            [{"kind": "first_of", "graders": [MATH, {"kind": "math", "x": 1}]}],
            "grader.graders.0.graders.1.x: unknown option",
        ),
        ([{"timeout_seconds": 1}], "grader.graders.0.kind: "),
    ],
)
def test_mistakes_name_their_place(graders: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError) as caught:
        built(*graders)
    assert str(caught.value).startswith(message)


def test_errors_of_a_server_name_their_place(server: Loopback, tmp_path: Path) -> None:
    teacher = {**JUDGE, "endpoints": server.url, "model": "another"}
    grader = built(MATH, {"kind": "judge", "teacher": teacher})
    assert isinstance(grader, AsksServer) and isinstance(grader, KeepsReplies)
    grader.keep(Replies(tmp_path))
    wanted = r"^grader\.graders\.1\.teacher\.model: .* serves 'loop', not 'another'$"
    with pytest.raises(UserError, match=wanted):
        grader.reach()
    with pytest.raises(UserError, match=wanted):
        grader.grade([submission("no value")])
    grader.close()


def with_graders(*graders: dict[str, Any]) -> Recipe:
    return recipe(grader={"kind": "first_of", "graders": list(graders)})


def test_how_a_judge_is_reached_shapes_nothing() -> None:
    elsewhere = {**JUDGE, "endpoints": "http://127.0.0.1:10", "api_key_env": "KEY"}
    assert with_graders(MATH, JUDGED).digest() == (
        with_graders(MATH, {"kind": "judge", "teacher": elsewhere}).digest()
    )
    other = {**JUDGE, "model": "other"}
    assert with_graders(MATH, JUDGED).digest() != (
        with_graders(MATH, {"kind": "judge", "teacher": other}).digest()
    )


def test_parts_inside_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = {"kind": "first_of", "graders": [{"kind": "chemistry"}, JUDGED]}
    made = with_graders(MATH, inner)
    assert components.grader_kinds(made.grader) == ["math", "chemistry", "judge"]
    assert [one.options["model"] for one in components.judges(made.grader)] == ["loop"]
    found = plugins.Plugin("graders", "chemistry", "others", "1.0", False)
    monkeypatch.setattr(
        plugins, "origin", lambda package, kind: found if kind == "chemistry" else None
    )
    assert components.of_others(made) == [found]
