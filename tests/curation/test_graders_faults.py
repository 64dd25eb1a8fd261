"""Options of graders that contradict themselves, and graders of others that break their promise."""

from collections.abc import Callable, Sequence

import pytest

from curation.graders import Grader, Submission, check, verdicts
from curation.graders.first_of import FirstOf
from schemas.records import Grade
from scorers.answers.grade import Answer
from support.errors import UserError
from tests.curation.test_graders import graded, make, submission


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("choice", {"x": 1}, r"grader\.x: unknown option of 'choice'; there are none"),
        ("number", {"rtol": 1}, r"grader\.rtol is 1; give a number below 1"),
        ("number", {"unit": " "}, r"grader\.unit is ' '; give a unit"),
        ("number", {"unit": "5"}, r"grader\.unit is '5'; give a unit"),
        ("number", {"unit": "%", "percent": True}, r"grader\.percent: .*take out grader\.unit"),
        ("regex", {"pattern": ""}, r"grader\.pattern: empty"),
        (
            "regex",
            {"pattern": "x", "compare": "math", "case": True},
            r"grader\.case: .*take it out",
        ),
        ("regex", {"pattern": "x", "timeout_seconds": float("inf")}, r"grader\.timeout_seconds is"),
        ("math", {"timeout_seconds": 0}, r"grader\.timeout_seconds is 0; give a number above 0"),
        ("math", {"timeout_seconds": float("nan")}, r"grader\.timeout_seconds is nan"),
        (
            "first_of",
            {
                "graders": [
                    {"kind": "first_of", "graders": [{"kind": "math", "timeout_seconds": 0}]}
                ]
            },
            r"grader\.graders\.0\.graders\.0\.timeout_seconds is 0",
        ),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    kind: str, options: dict[str, object], says: str
) -> None:
    with pytest.raises(UserError, match=says) as raised:
        make(kind, **options)
    assert "\n" not in str(raised.value)


def test_a_pattern_that_also_matches_nothing_finds_what_it_matched() -> None:
    for pattern in (r"[0-9]*$", r"([0-9]*)$"):
        grader = make("regex", pattern=pattern)
        assert graded(grader, "x = 12", "12").grade == "correct"
        assert graded(grader, "none", "12").grade == "unparsed"
        grader.close()


class Foreign(Grader):
    """A grader as another package may write it."""

    def __init__(self, rule: Callable[[Sequence[Submission]], object]) -> None:
        self._rule = rule

    def grade(self, submissions: Sequence[Submission]) -> list[Answer]:
        return self._rule(submissions)  # type: ignore[return-value]

    def fingerprint(self) -> object:
        return 1


def fails(submissions: Sequence[Submission]) -> object:
    raise KeyError("gold")


RIGHT = Answer(grade=Grade.CORRECT, answer="x", end=1)
FAULTS: list[tuple[Callable[[Sequence[Submission]], object], str]] = [
    (fails, "failed while it graded \\(KeyError: 'gold'\\)"),
    (lambda given: None, "failed while it graded \\(TypeError"),
    (lambda given: [RIGHT], "gave 1 verdicts for 2 traces"),
    (lambda given: [RIGHT] * 3, "gave 3 verdicts for 2 traces"),
    (lambda given: [True, True], "gave 'True', which is no Answer"),
    (lambda given: [Answer(grade="right", answer="x", end=1)] * 2, "gave .*, which is no Answer"),  # type: ignore[arg-type]
    (lambda given: [Answer(grade=Grade.WRONG, answer="x", end=99)] * 2, "ended a trace of 4"),
]


@pytest.mark.parametrize(("rule", "says"), FAULTS)
def test_a_grader_that_breaks_its_promise_is_named(
    rule: Callable[[Sequence[Submission]], object], says: str
) -> None:
    given = [submission("text", "gold")] * 2
    with pytest.raises(UserError, match=rf"^grader\.kind: .*Foreign {says}"):
        verdicts(Foreign(rule), given)
    with pytest.raises(UserError, match=rf"^grader\.graders\.0\.kind: .*Foreign {says}"):
        FirstOf([Foreign(rule)]).grade(given)


def test_a_part_that_is_no_grader_is_refused_before_anything_is_sampled() -> None:
    class Half:
        def grade(self) -> None: ...

    with pytest.raises(UserError, match=r"grader\.kind: .*Half has no method fault"):
        check(Half())
