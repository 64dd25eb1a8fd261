"""The grader `label` against labels in odd types and spellings: none is correct by mistake.

Each row goes through the source's reader of traces and through the grader, as in a build.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from curation import components
from curation.graders import Submission
from curation.graders.label import LabelGrader
from curation.sources import Source
from curation.sources.columns.fields import TraceColumns
from curation.sources.columns.traces import recorded
from schemas.recipe import Recipe
from schemas.records import Prompt
from support import plugins
from support.errors import UserError
from tests.curation.samples import bare_trace, recipe

NAN, INFINITY = float("nan"), float("inf")
PROMPT = Prompt(id="p", text="Why?", gold="Because.", source="s", row=1, license="mit")

CORRECT: tuple[object, ...] = (
    *(True, 1, 1.0, Decimal(1), Decimal("1.0"), Decimal("1e0"), 10**0),
    *("true", "TRUE", "True", "tRuE", " true", "true ", "\ttrue\n", "true\r\n", "\u00a0true"),
    *("yes", "YES", "Yes ", "correct", "Correct", "correct ", "CORRECT\n", " Right", "RIGHT"),
    *("1", " 1", "1\n", "1.0", " 1.0 "),
)
WRONG: tuple[object, ...] = (
    *(False, 0, 0.0, -0.0, Decimal(0), Decimal("0.00"), Decimal("-0")),
    *("false", "FALSE", "False", " false ", "no", "NO", "No\n", "incorrect", "Incorrect "),
    *("INCORRECT", "wrong", " Wrong", "0", " 0 ", "0.0"),
)
NEITHER: tuple[object, ...] = (
    *(None, NAN, -NAN, INFINITY, -INFINITY, Decimal("NaN"), Decimal("Infinity")),
    *(2, -1, 3, 5, 10, 100, 10**30, 0.5, 0.9, 0.999999999, 1.0000001, 1e-9, -1.0, Decimal("0.99")),
    *(
        "",
        " ",
        "\n",
        "\0",
        "nan",
        "NaN",
        "null",
        "None",
        "none",
        "NULL",
        "n/a",
        "N/A",
        "?",
        "-",
        "--",
    ),
    *("t", "f", "y", "n", "T", "F", "Y", "N", "ok", "OK", "pass", "passed", "fail", "failed"),
    *(
        "2",
        "-1",
        "+1",
        "01",
        "1.",
        "1,0",
        "1.00000001",
        "0.9",
        "1e0",
        "1/1",
        "10",
        "11",
        "100%",
        "1 %",
    ),
    *("not correct", "in correct", "not wrong", "un correct", "correct?", "correct!", "correct."),
    *("correctly", "incorrect correct", "correct incorrect", "correct, wrong", "true false"),
    *(
        "true/false",
        "true or false",
        "not true",
        "untrue",
        "truee",
        "tru",
        "t rue",
        "correct=false",
    ),
    *("partially correct", "mostly correct", "correct answer", "nearly right", "right or wrong"),
    *('"true"', "'true'", "`true`", "[true]", "{true}", "true;", "<true>", "#true", "bool(True)"),
    *("\u200btrue", "tr\u200bue", "true\u200b", "\ufefftrue", "\u202etrue", "eurt", "\u0442rue"),
    *(
        "\uff54\uff52\uff55\uff45",
        "\uff11",
        "\u0661",
        "\u00b9",
        "\u2460",
        "\u2713",
        "\u2714",
        "\u2705",
    ),
    *(
        "\ud800",
        "true\ud800",
        "true\0",
        "\x1btrue",
        "true\x08",
        "wahr",
        "vrai",
        "\u6b63\u786e",
        "da",
    ),
    *("correct" * 1_000, "1" * 5_000, "true " * 10_000, " " * 100_000, "1" + "0" * 400),
    *([], [True], [1], ["true"], [[True]], [True, False], [None], (), (True,)),
    *({}, {"correct": True}, {"ok": True}, {"value": 1}, {"true": True}, {True: True}, [{}]),
    *(b"true", b"1", object, 1 + 0j, True.__class__, frozenset({True}), range(1, 2)),
)


def grades(row: Mapping[str, object], **spec: Any) -> list[str]:
    """The verdicts of the traces of a row, by name."""
    held = recorded(row, TraceColumns(**spec), strip_annotations=False)
    assert not held.bad
    submissions = [
        Submission(PROMPT, bare_trace(one.text, recorded_correct=one.correct))
        for one in held.traces
    ]
    return [str(answer.grade) for answer in LabelGrader().grade(submissions)]


@pytest.mark.parametrize(
    ("verdict", "labels"), [("correct", CORRECT), ("wrong", WRONG), ("unparsed", NEITHER)]
)
def test_a_label_in_any_place_means_what_it_says_or_nothing(
    verdict: str, labels: tuple[object, ...]
) -> None:
    for label in labels:
        inside: dict[str, object] = {"traces": [{"text": "x", "ok": label}]}
        aligned: dict[str, object] = {"traces": ["x", "y"], "ok": [label, None]}
        beside: dict[str, object] = {"a": {"text": "x", "ok": label}}
        found = [
            *grades(inside, column="traces", text="text", correct="ok"),
            *grades(aligned, column="traces", correct="ok"),
            *grades(beside, columns={"a": "a.text"}, correct="ok"),
        ]
        assert found == [verdict, verdict, "unparsed", verdict], repr(label)[:80]
        if not isinstance(label, list):  # a list is aligned with the traces
            single = {"trace": "x", "ok": label}
            assert grades(single, column="trace", correct="ok") == [verdict], repr(label)[:80]


@pytest.mark.parametrize(
    "row",
    [
        {"traces": ["x", "y"], "ok": True},
        {"traces": ["x", "y"], "ok": 1},
        {"traces": ["x", "y"], "ok": "true"},
        {"traces": ["x", "y"], "ok": [True]},
        {"traces": ["x", "y"], "ok": [True, True, True]},
        {"traces": ["x", "y"], "ok": [[True, True]]},
        {"traces": ["x", "y"], "ok": {"0": True, "1": True}},
        {"traces": ["x", "y"], "ok": {"x": True, "y": True}},
        {"traces": ["x", "y"], "ok": "[true, true]"},
        {"traces": ["x", "y"], "ok.x": True},
        {"traces": ["x", "y"], "OK": [True, True]},
        {"traces": ["x"], "ok": {"x": True}},
        {"traces": ["x"], "ok": [[True]]},
        {"traces": ["x"], "ok": []},
        {"traces": ["x"]},
    ],
)
def test_a_label_that_belongs_to_no_single_trace_is_nobodys(row: Mapping[str, object]) -> None:
    assert set(grades(row, column="traces", correct="ok")) == {"unparsed"}


def test_one_label_beside_several_texts_is_nobodys() -> None:
    row = {"small": "x", "large": "y", "ok": True, "deep": {"text": "z", "ok": True}}
    columns = {"a": "small", "b": "large", "c": "deep.text"}
    assert grades(row, columns=columns, correct="ok") == ["unparsed", "unparsed", "correct"]
    assert grades(row, columns={"a": "small"}, correct="ok") == ["correct"]


@pytest.mark.parametrize(
    ("labels", "verdicts"),
    [
        ([True, False], ["unparsed", "unparsed"]),
        ([False, True, True], ["unparsed"] * 3),
        (["1", 0], ["unparsed", "unparsed"]),
        ([True, None], ["correct", "unparsed"]),
        ([True, True], ["correct", "correct"]),
        ([False, False], ["wrong", "wrong"]),
    ],
)
def test_labels_of_one_text_that_contradict_each_other_are_none(
    labels: list[object], verdicts: list[str], tmp_path: Path
) -> None:
    texts = ["The answer is 5."] + ["The answer is 5.\n "] * (len(labels) - 1)
    row = {"traces": [*texts, "another"], "ok": [*labels, True]}
    assert grades(row, column="traces", correct="ok") == [*verdicts, "correct"]
    rows = [
        {"question": "Why?", "answer": "Because.", "trace": text, "ok": label}
        for text, label in zip(texts, labels, strict=True)
    ]
    (joined, *_) = source(tmp_path, rows, column="trace", correct="ok", group="prompt").rows(
        traces=True
    )
    named = {True: "correct", False: "wrong", None: "unparsed"}
    assert [named[one.correct] for one in joined.recorded] == verdicts


def source(folder: Path, rows: list[dict[str, object]], **traces: object) -> Source:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"prompt": "question", "gold": "answer"}
    made: Source = plugins.build(
        "curation.sources",
        "jsonl",
        {"path": str(path), "columns": columns, "traces": traces},
        "source",
    )
    return made


@pytest.mark.parametrize("score", [5, -1, 0.5, 0.99, "3", "4.5", 100, [1, 5], [0, 1, 2]])
def test_a_scale_of_scores_is_refused_because_1_of_it_would_be_correct(
    score: object, tmp_path: Path
) -> None:
    scores = score if isinstance(score, list) else [1, score]
    rows = [
        {"question": f"{n}?", "answer": "a", "trace": "x", "ok": one}
        for n, one in enumerate(scores)
    ]
    made = source(tmp_path, rows, column="trace", correct="ok")
    shown = next(one for one in scores if str(one) not in "01")
    for kinds in ({"kind": "label"}, {"kind": "first_of", "graders": [{"kind": "label"}]}):
        with pytest.raises(UserError, match=rf"source\.traces\.correct .* {shown}[ ,;]"):
            components.check_labels(recipe(grader=kinds), [made])
    components.check_labels(recipe(), [made])  # math trusts no label


def test_labels_that_are_missing_or_words_are_no_scale(tmp_path: Path) -> None:
    labels: list[object] = [1.0, 0.0, None, NAN, "maybe", "1", "", "TRUE", "Inf", [], {}]
    rows: list[dict[str, object]] = [
        {"question": f"{n}?", "answer": "a", "trace": "x", "ok": one}
        for n, one in enumerate(labels)
    ]
    made = source(tmp_path, rows, column="trace", correct="ok")
    components.check_labels(recipe(grader={"kind": "label"}), [made])


SERVED = {"kind": "openai_server", "endpoints": "http://127.0.0.1:9", "model": "m"}


@pytest.mark.parametrize(
    ("graders", "teacher", "is_refused"),
    [
        ([{"kind": "label"}], SERVED, True),
        ([{"kind": "label"}, {"kind": "label"}], SERVED, True),
        ([{"kind": "label"}], {"kind": "recorded", "top_up": SERVED}, True),
        ([{"kind": "label"}, {"kind": "math"}], SERVED, True),
        ([{"kind": "label"}, {"kind": "math"}], {"kind": "recorded", "top_up": SERVED}, False),
        ([{"kind": "label"}, {"kind": "math"}], {"kind": "recorded"}, False),
        ([{"kind": "math"}, {"kind": "first_of", "graders": [{"kind": "label"}]}], SERVED, True),
        ([{"kind": "math"}], SERVED, False),
    ],
)
def test_labels_are_not_trusted_where_there_can_be_none(
    graders: list[dict[str, Any]], teacher: dict[str, Any], is_refused: bool
) -> None:
    one: Recipe = recipe(teacher=teacher, grader={"kind": "first_of", "graders": graders})
    if is_refused:
        with pytest.raises(UserError, match=r"^grader\.kind: label trusts"):
            components.check_labels(one, [])
    else:
        components.check_labels(one, [])
