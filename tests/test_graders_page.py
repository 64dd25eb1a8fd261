"""The page *Which grader?*: it names every kind, and its recipes build a corpus from ten rows."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from curation.context import Job
from curation.pipeline import run_build
from curation.release.rows import read_rows
from curation.release.verify import find_problems
from schemas.recipe import load_recipe, validate_recipe
from schemas.records import Grade
from support import plugins
from support.errors import UserError
from support.paths import ROOT
from support.sandbox import SandboxError
from support.sandbox.isolation import find
from tests.builds import contents, rejected

PAGES = sorted((ROOT / "docs").glob("*.md"))
RECIPE = re.compile(r"^```yaml\n(name: .*?)^```$", re.MULTILINE | re.DOTALL)
RECIPES = {
    yaml.safe_load(text)["grader"]["kind"]: text
    for page in PAGES
    for text in RECIPE.findall(page.read_text(encoding="utf-8"))
    if "grader:" in text and "science.csv" not in text
}


def test_every_kind_is_in_the_table() -> None:
    page = (ROOT / "docs" / "graders.md").read_text(encoding="utf-8")
    for kind in plugins.kinds("curation.graders"):
        assert re.search(rf"^\| \[?`{kind}`", page, re.MULTILINE), kind
    assert {"choice", "code", "exact", "number", "regex", "label"} <= RECIPES.keys()


@pytest.mark.parametrize("kind", ["choice", "code", "exact", "label", "number", "regex"])
def test_a_recipe_of_the_page_builds_a_corpus_from_ten_rows(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    if kind == "code":
        try:
            find(allow_weak=False)
        except SandboxError as error:
            pytest.skip(f"no sandbox: {error}")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPES[kind], encoding="utf-8")
    assert len(RECIPES[kind].splitlines()) <= 12
    run = tmp_path / "run"
    outcome = run_build(load_recipe(recipe), run)
    assert outcome.prompts.in_ == outcome.prompts.released == outcome.canvases == 10
    assert outcome.traces.in_ == 30
    assert find_problems(run) == []
    released = [row for path in (run / "release/data").glob("*.parquet") for row in read_rows(path)]
    grades = Counter(path.grade for row in released for path in row.paths)
    # Two of the three traces of a row are right, and the third is wrong.
    assert set(grades) == {Grade.CORRECT, Grade.WRONG} and grades[Grade.CORRECT] > 10
    assert all(row.summary == f"The final answer is {row.gold}" for row in released)
    card = (run / "release/README.md").read_text(encoding="utf-8")
    assert f"grader `{kind}`" in card


def test_labels_are_refused_where_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPES["label"], encoding="utf-8")
    local = "{kind: transformers_local, path: tiny/teacher}"
    for override, says in (
        ("source.traces={column: traces, text: text}", "traces.correct"),
        (f"teacher={local}", "set teacher.kind=recorded"),
        (f"teacher.top_up={local}", "without top_up"),
    ):
        with pytest.raises(UserError, match=says):
            run_build(load_recipe(recipe, [override]), tmp_path / "run")


def test_another_grader_changes_grades_and_keeps_every_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(RECIPES["exact"], encoding="utf-8")
    built = run_build(load_recipe(recipe), run)
    before = contents(run / "traces")
    strict = run_build(load_recipe(recipe, ["grader.case=true", "groups.min_correct=2"]), run)
    # "Answer: tuesday" is wrong now, and its row lacks a second right trace.
    assert (built.canvases, strict.canvases) == (10, 9)
    assert strict.traces.in_ == built.traces.in_ == 30
    assert contents(run / "traces") == before
    assert find_problems(run) == []
    assert rejected(run)["prompt", "too_few_correct"] == 1
    again = run_build(load_recipe(recipe), run)
    assert again.canvases == 10 and contents(run / "traces") == before


def test_the_first_recipe_reads_ten_questions_with_four_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "graders.md").read_text(encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE.findall(page)[0], encoding="utf-8")
    job = Job(recipe=load_recipe(tmp_path / "recipe.yaml"), run=tmp_path / "run", shown=False)
    job.check()
    (source,) = job.sources
    rows = list(source.rows(traces=False))
    assert len(rows) == 10 and not any(row.reason for row in rows)
    assert all(len(row.choices) == 4 and row.gold in tuple("ABCD") for row in rows)


def test_a_table_with_a_verdict_of_people_in_each_row_becomes_a_corpus(tmp_path: Path) -> None:
    ways = ("Think of the shelf where it stands.", "Its first page names one.", "By its style.")
    rows = ["question,gold,trace,verdict"]
    for book in range(10):
        for way, verdict in zip(ways, ("yes", "no", "perhaps"), strict=True):
            rows.append(f"Who wrote book {book}?,A. Writer,{way} It was A. Writer.,{verdict}")
    (tmp_path / "labelled.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    recipe = validate_recipe(
        {
            "name": "labelled",
            "source": {
                "kind": "csv",
                "path": str(tmp_path / "labelled.csv"),
                "traces": {"column": "trace", "correct": "verdict", "group": "prompt"},
            },
            "teacher": {"kind": "recorded"},
            "grader": {"kind": "label"},
            "scorer": None,
        },
        "recipe.yaml",
    )
    outcome = run_build(recipe, tmp_path / "run")
    assert outcome.canvases == 10 and outcome.prompts.in_ == 30
    assert outcome.said == (
        "20 of the rejected rows repeat the prompt of an earlier row, which has their traces "
        "(reason grouped)",
    )
    released = [r for file in tmp_path.glob("run/release/data/*.parquet") for r in read_rows(file)]
    grades = Counter(path.grade for row in released for path in row.paths)
    assert grades == {Grade.CORRECT: 10, Grade.WRONG: 10, Grade.UNPARSED: 10}
