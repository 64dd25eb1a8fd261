"""Every grader, found by its file: four verdicts, pure, and unharmed by any text.

A new kind needs one entry in EXAMPLES.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from curation.graders import Grader, GradesAtOnce, KeepsReplies, Submission
from curation.sampling.replies import Replies
from schemas.records import Grade, GradedTrace, Prompt, Trace
from scorers.answers.grade import Answer
from support import plugins
from support.errors import UserError
from tests.curation.samples import bare_trace
from tests.servers.loopback import Behaviour, Loopback

KINDS = plugins.kinds("curation.graders")
Options = Mapping[str, object]


def prompt(gold: str, text: str = "Which one is it?", **more: Any) -> Prompt:
    return Prompt(id="p", text=text, gold=gold, source="s", row=1, license="mit", **more)


def trace(text: str, correct: bool | None = None) -> Trace:
    return bare_trace(text, recorded_correct=correct)


@dataclass(frozen=True, kw_only=True)
class Example:
    """A grader with a prompt, and a trace for each of the verdicts that every grader has.

    `options` may be a function of the test's request, for a kind that needs a server. `ungradable`
    is a prompt for which `fault` must give a reason; None where there is none.
    """

    prompt: Prompt
    right: Trace
    wrong: Trace
    unreadable: Trace
    options: Options | Callable[[pytest.FixtureRequest], Options] = field(default_factory=dict)
    ungradable: Prompt | None = None
    ending: str | None = None  # of a summary; default: the gold


SCRIPT = (
    ("By induction.", "It is a proof.\nVERDICT: CORRECT"),
    ("By intuition.", "It is none.\nVERDICT: INCORRECT"),
)


@pytest.fixture(scope="module")
def judge_server() -> Iterator[Loopback]:
    with Loopback(Behaviour(script=SCRIPT)) as server:
        yield server


def judge(request: pytest.FixtureRequest) -> Options:
    url = request.getfixturevalue("judge_server").url
    return {"teacher": {"kind": "openai_server", "endpoints": url, "model": "loop"}}


def math_then_judge(request: pytest.FixtureRequest) -> Options:
    return {"graders": [{"kind": "math"}, {"kind": "judge", **judge(request)}]}


EXAMPLES = {
    "choice": Example(
        prompt=prompt("B", choices=("red", "dark red", "12 cm")),
        right=trace("It is not red.\nThe answer is (B) dark red."),
        wrong=trace("The answer is red."),
        unreadable=trace("The answer is A or B."),
        ungradable=prompt("D", choices=("red", "dark red", "12 cm")),
        ending="(B) dark red",
    ),
    "code": Example(
        prompt=prompt("def add(a, b):\n    return a + b", tests="assert add(1, 2) == 3"),
        right=trace("```python\ndef add(a, b):\n    return b + a\n```"),
        wrong=trace("```python\ndef add(a, b):\n    return a - b\n```"),
        unreadable=trace("Add the two numbers."),
        ungradable=prompt("", tests="assert True"),
    ),
    "exact": Example(
        prompt=prompt("Mark Twain", more_golds=("Samuel Clemens",)),
        right=trace("The answer is **samuel clemens**."),
        wrong=trace("The answer is Poe."),
        unreadable=trace("It is not Mark Twain."),
        ungradable=prompt(""),
    ),
    "first_of": Example(
        prompt=prompt("a proof", "Prove it."),
        right=trace("By induction."),
        wrong=trace("By intuition."),
        unreadable=trace("By nothing."),
        options=math_then_judge,
        ungradable=prompt(""),
    ),
    "judge": Example(
        prompt=prompt("a proof", "Prove it."),
        right=trace("By induction."),
        wrong=trace("By intuition."),
        unreadable=trace("By nothing."),
        options=judge,
        ungradable=prompt(""),
    ),
    "label": Example(
        prompt=prompt("a proof"),
        right=trace("By induction.", True),
        wrong=trace("By intuition.", False),
        unreadable=trace("By nothing."),
    ),
    "math": Example(
        prompt=prompt(r"\frac{1}{2}"),
        right=trace(r"\boxed{\sin(\pi/6)}"),
        wrong=trace("The answer is 3."),
        unreadable=trace("I do not know."),
        options={"timeout_seconds": 1},
        ungradable=prompt("1", more_golds=("2",)),
    ),
    "number": Example(
        prompt=prompt("9.81"),
        right=trace("The answer is about 9.8 m/s^2."),
        wrong=trace("The answer is 98.1."),
        unreadable=trace("The answer is 9 to 10."),
        options={"rtol": 0.01},
        ungradable=prompt("gravity"),
    ),
    "regex": Example(
        prompt=prompt("12"),
        right=trace("RESULT=11\nRESULT=12"),
        wrong=trace("RESULT=12\nRESULT=13"),
        unreadable=trace("The answer is 12."),
        options={"pattern": r"RESULT=(.*)", "timeout_seconds": 1},
        ungradable=prompt(""),
    ),
}

HOSTILE = (
    "",
    "\0",
    "\ud800",
    "The answer is \udcff.",
    " \t\r\n\u2028\u2029\x0b\x0c",
    "\u202eThe answer is .Z\u202c\u200f",
    "a" * 200_000,
    "The answer is " * 1_500,
    "(" * 50_000 + ")" * 50_000,
    "\\boxed{" * 20_000 + "Z" + "}" * 20_000,
    "\\boxed{\\boxed{\\boxed{}}}",
    "<answer>" * 20_000,
    "<answer></answer></think></summary><think 1></think>",
    "</summary>\nThe answer is </summary>.",
    ";" * 2_000 + "RESULT=" * 5_000,
    "**" * 60_000,
    "The answer is " + "*" * 900 + '"' * 900,
    "\u0430\u0301" * 10_000,
    "\U0001f600" * 10_000,
    "\n" * 100_000,
    "The answer is (a+)+$ [ \\ { ^ .* \\1",
)
# A megabyte each, or a loop that a model falls into; a reading that is not linear takes minutes.
LONG = (
    "a" * 1_000_000,
    "\0" * 1_000_000,
    "\ud800" * 1_000_000,
    "[" * 1_000_000,
    "{" * 500_000 + "}" * 500_000,
    "$" * 1_000_000,
    "\\left(" * 160_000,
    "```python\n" * 100_000,
    "```python\n" + "x=(" * 300_000,
    "if x:\n " * 100_000,
    "Wait, no. " * 10_000,
    "The answer is not. " * 2_000,
    "Answer: " * 1_500,
    "(A) x\n" * 5_000,
    "RESULT=" * 100_000,
)
SECONDS = 20.0  # of this process's processor time, for all of LONG; a tenth of it is enough
# Patterns of a recipe that take years on some texts.
BOMBS = ("(a+)+$", "(a|aa)+b", "(.*)*x", "(?:a?){30}a{30}b", "(?:(?:a*)*)*c", "([^x]+)*x")
GOLDS = (".*", "(", "[a-z]+", "\\", "^$", "a|b", "{}", "(?P<x>.)", "$", "\\1", "\ufb01", "\u200b")


@pytest.fixture(params=KINDS)
def example(request: pytest.FixtureRequest) -> Example:
    kind: str = request.param
    assert kind in EXAMPLES, f"add an example of the grader {kind} to EXAMPLES"
    return EXAMPLES[kind]


@pytest.fixture
def grader(request: pytest.FixtureRequest, example: Example) -> Iterator[Grader]:
    (kind,) = (kind for kind, one in EXAMPLES.items() if one is example)
    made = make(request, kind)
    yield made
    made.close()


def make(request: pytest.FixtureRequest, kind: str) -> Grader:
    options = EXAMPLES[kind].options
    given = options(request) if callable(options) else options
    try:
        made: Grader = plugins.build("curation.graders", kind, given, "grader")
    except UserError as error:
        if kind == "code":  # the machine allows no user namespaces
            pytest.skip(str(error))
        raise
    if isinstance(made, KeepsReplies):
        made.keep(Replies(request.getfixturevalue("tmp_path")))
    return made


def verdicts(grader: Grader, submissions: list[Submission]) -> list[Answer]:
    found = grader.grade(submissions)
    assert len(found) == len(submissions)
    for answer, one in zip(found, submissions, strict=True):
        assert isinstance(answer.grade, Grade)
        assert 0 <= answer.end <= len(one.trace.text)
        assert answer.answer is None or isinstance(answer.answer, str)
    return found


def test_every_kind_has_an_example() -> None:
    assert set(KINDS) <= EXAMPLES.keys()


def test_a_grader_tells_right_from_wrong_and_from_unread(grader: Grader, example: Example) -> None:
    traces = [example.right, example.wrong, example.unreadable]
    found = verdicts(grader, [Submission(example.prompt, one) for one in traces])
    assert [answer.grade for answer in found] == [Grade.CORRECT, Grade.WRONG, Grade.UNPARSED]
    assert grader.fault(example.prompt) == ""
    assert grader.fingerprint() == grader.fingerprint() != None  # noqa: E711
    right = GradedTrace(
        trace=example.right, text=example.right.text, grade=Grade.CORRECT, answer=found[0].answer
    )
    wanted = example.prompt.gold if example.ending is None else example.ending
    assert grader.final_answer(example.prompt, [right]) == wanted
    if example.ungradable is not None:
        fault = grader.fault(example.ungradable)
        assert fault and "\n" not in fault


def test_a_verdict_depends_on_its_submission_alone(
    grader: Grader, example: Example, request: pytest.FixtureRequest
) -> None:
    traces = [example.right, example.wrong, example.unreadable, trace("The answer is 5.")]
    submissions = [Submission(example.prompt, one) for one in traces]
    together = verdicts(grader, submissions)
    assert together == verdicts(grader, submissions)
    if isinstance(grader, GradesAtOnce):
        alone = [grader.at_once([one]) for one in submissions]
        assert all(a in (None, [b]) for a, b in zip(alone, together, strict=True))
        assert grader.at_once(submissions) == (None if None in alone else together)
        assert any(alone) or example is EXAMPLES["first_of"]  # its first one decides nothing here
    assert together[::-1] == verdicts(grader, submissions[::-1])
    assert together == [verdicts(grader, [one])[0] for one in submissions]
    grader.close()  # and grading again starts anew
    assert together == verdicts(grader, submissions)
    assert verdicts(grader, []) == []


def test_no_text_harms_a_grader_or_is_correct(grader: Grader, example: Example) -> None:
    submissions = [Submission(example.prompt, trace(text)) for text in HOSTILE]
    found = verdicts(grader, submissions)
    assert Grade.CORRECT not in {answer.grade for answer in found}
    again = verdicts(grader, [*submissions, Submission(example.prompt, example.right)])
    assert again[:-1] == found and again[-1].grade is Grade.CORRECT


def test_a_long_text_takes_seconds_and_is_not_correct(grader: Grader, example: Example) -> None:
    submissions = [Submission(example.prompt, trace(text)) for text in LONG]
    began = time.process_time()
    found = verdicts(grader, submissions)
    assert time.process_time() - began < SECONDS
    assert Grade.CORRECT not in {answer.grade for answer in found}


@pytest.mark.parametrize("pattern", BOMBS)
def test_a_pattern_of_the_recipe_that_takes_years_is_stopped(pattern: str) -> None:
    grader: Grader = plugins.build(
        "curation.graders", "regex", {"pattern": pattern, "timeout_seconds": 0.1}, "grader"
    )
    text = "a" * 60 + "\ud800"
    began = time.monotonic()
    (found,) = verdicts(grader, [Submission(prompt("12"), trace(text))])
    assert found.grade in (Grade.TIMEOUT, Grade.UNPARSED) and time.monotonic() - began < 20
    (found,) = verdicts(grader, [Submission(prompt("nothing"), trace("aab"))])
    assert found.grade is not Grade.TIMEOUT
    grader.close()


@pytest.mark.parametrize("gold", GOLDS)
def test_no_gold_is_a_pattern(grader: Grader, example: Example, gold: str) -> None:
    hostile = replace(example.prompt, gold=gold, more_golds=())
    fault = grader.fault(hostile)
    assert isinstance(fault, str)
    texts = ("The answer is Paris.", "RESULT=Paris", "Paris", "", "\\boxed{Paris}")
    found = verdicts(grader, [Submission(hostile, trace(text)) for text in texts])
    assert Grade.CORRECT not in {answer.grade for answer in found}
    grader.final_answer(hostile, [])
