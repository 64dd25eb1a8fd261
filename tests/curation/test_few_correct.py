"""A run whose teacher solves nothing says so, and shows what was answered against the gold."""

import json
from pathlib import Path
from typing import Any

import pytest

from curation.inspect.few_correct import few_correct, nothing_released
from curation.inspect.html_report import corpus_page
from curation.inspect.query import Query
from curation.inspect.rejections import find_rejections
from curation.inspect.terminal_view import show_rejection
from curation.pipeline import run_build
from curation.release.reader import ReleaseReader
from flows.page import REPORT, page, write_report
from schemas.recipe import validate_recipe
from schemas.records import Grade
from tests.browser import browser, needs_chromium


def built(folder: Path, texts: list[list[str]], **more: Any) -> Path:
    """A run of recorded traces, whose gold is always 17."""
    rows = [
        {"prompt": f"What is {n} + {n}?", "gold": "17", "generations": generations}
        for n, generations in enumerate(texts)
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    source = {
        "kind": "jsonl",
        "path": str(folder / "rows.jsonl"),
        "license": "mit",
        "traces": {"column": "generations"},
    }
    given = {
        "name": "few",
        "source": source,
        "teacher": {"kind": "recorded"},
        "canvas": {"slot_tokens": 99, "summary_tokens": 9, "tokenizer": "tiny/teacher"},
        "scorer": None,
    }
    run_build(validate_recipe({**given, **more}, "r.yaml"), folder / "run")
    return folder / "run"


def answers(prompt: int, answer: str) -> list[str]:
    ways = (
        f"Start with {prompt} apples in a basket, then put as many beside them.",
        f"Twice {prompt} is what the question asks for, so double the number.",
        "On a line of numbers we walk to the first mark, and the same way once more.",
    )
    return [f"{way} {answer}" for way in ways]


WRONG = [answers(n, f"The answer is {100 + n}") for n in range(10)]
UNREAD = [answers(n, "And so on, as one can see") for n in range(10)]
RIGHT = [answers(n, "The answer is 17") for n in range(10)]


def test_wrong_answers_are_told_from_answers_that_nobody_could_read(tmp_path: Path) -> None:
    (tmp_path / "unread").mkdir()
    wrong = few_correct(built(tmp_path, WRONG))
    assert wrong is not None and wrong.startswith(
        "the recorded traces solve 0 of 10 problems (0 of 30 traces are right): look at the answers"
    )
    assert f"`polytrace inspect {tmp_path}/run --reason too_few_correct --limit 5`" in wrong
    assert wrong.endswith("then try another grader or gold column")
    unread = few_correct(built(tmp_path / "unread", UNREAD))
    assert unread is not None
    assert "because no answer could be read in 30 of 30 traces" in unread
    assert nothing_released(tmp_path / "run").startswith(
        "nothing was released; top reasons: canvases too_few_correct (10); the recorded traces"
    )


def test_a_run_without_prompts_says_which_command_shows_why(tmp_path: Path) -> None:
    run = built(tmp_path, WRONG, grader={"kind": "choice"})
    said = nothing_released(run)
    assert said.startswith("nothing was released; top reasons: prompts not_gradable (10); see why")
    assert said.endswith(f"`polytrace inspect {run} --reason not_gradable --limit 5`")


@pytest.mark.parametrize(
    "texts", [WRONG[:6], [*WRONG, RIGHT[0]], RIGHT], ids=["too few", "some are right", "all right"]
)
def test_nothing_is_said_where_it_would_say_too_much(
    tmp_path: Path, texts: list[list[str]]
) -> None:
    assert few_correct(built(tmp_path, texts)) is None


def test_it_is_said_of_a_run_that_released_its_wrong_paths(tmp_path: Path) -> None:
    said = few_correct(built(tmp_path, WRONG, groups={"min_correct": 0}))
    assert said is not None and f"`polytrace inspect {tmp_path}/run`" in said


def test_inspect_shows_the_answers_against_the_gold(tmp_path: Path) -> None:
    run = ReleaseReader(built(tmp_path, [*WRONG, UNREAD[0]]))
    items, total = find_rejections(run, Query(reason="too_few_correct", limit=20))
    shown = list(items)
    assert total == len(shown) == 10
    assert [one.answer for one in shown[0].answers] == ["100"] * 3
    assert all(one.grade is Grade.WRONG for one in shown[0].answers)
    text = show_rejection(shown[0], 80).plain
    assert "gold answer: 17" in text and text.count("✗ wrong: 100") == 3
    assert [one["answer"] for one in shown[0].fields()["answers"]] == ["100"] * 3  # type: ignore[attr-defined]
    assert run.manifest is not None
    reasons = {one.reason for one in run.manifest.rejected if one.kind == "prompt"}
    (other,) = reasons - {"too_few_correct"}
    (unread,) = find_rejections(run, Query(reason=other))[0]
    assert [one.answer for one in unread.answers] == [None] * 3
    assert "as one can see" in show_rejection(unread, 80).plain


def test_the_page_of_an_empty_release_shows_them_too(tmp_path: Path) -> None:
    run = built(tmp_path, WRONG)
    found = corpus_page(run)
    assert found.canvases == () and len(found.examples) == 3
    assert found.examples[0].gold == "17" and found.examples[0].answers[0] == ("✗ wrong", "100")
    text = page(run)
    assert "The recorded traces solve 0 of 10 problems" in text
    assert str(tmp_path) not in text, "the page may be given away"
    assert "polytrace inspect RUN --reason too_few_correct" in text


@needs_chromium
def test_it_is_whole_in_a_browser_light_and_dark(tmp_path: Path) -> None:
    run = built(tmp_path, [*WRONG, answers(10, "<script>document.title = 1</script>")])
    write_report(run / REPORT, run)
    with browser() as tab:
        for width in (1280, 390):
            tab.open((run / REPORT).as_uri(), width=width)
            shown = tab.run("document.body.innerText")
            assert tab.faults == [] and len(tab.requests) == 1
            assert "gold answer: 17" in shown and "✗ wrong" in shown and "NaN" not in shown
            assert tab.run("document.querySelectorAll('svg').length") == 0, "no empty chart"
            assert tab.run("document.documentElement.scrollWidth") <= width
            tab.dark()
            assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
            tab.call("Emulation.setEmulatedMedia", features=[])
