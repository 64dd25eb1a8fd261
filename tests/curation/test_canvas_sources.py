"""Parallel corpora as sources: the paths of every known form come back as recorded traces."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from curation.export import export
from curation.pipeline import run_build
from curation.release.reader import ReleaseReader
from curation.release.rows import read_rows
from curation.release.verify import find_problems
from curation.sources import Row, Source
from curation.sources.readers.canvases import parse
from schemas.recipe import Recipe
from schemas.records import Grade
from support.errors import UserError
from support.plugins import build
from tests.builds import rejected
from tests.curation import samples

WITH_PATHS = ("parathinker", "parallel_r1", "multiverse", "automodel", "dfactory", "sdar")
PARALLEL = "<Parallel><Path>a</Path><Path>b</Path></Parallel>"


def make(path: Path, **options: object) -> Source:
    source: Source = build("curation.sources", "canvases", {"path": str(path), **options}, "source")
    return source


def write(path: Path, *rows: Mapping[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def one(path: Path, row: Mapping[str, Any], **options: object) -> Row:
    """The row, read between two good ones."""
    text = "<think 1>\n7\n</think 1>"
    good = {"prompt": "What is 3 + 4?", "response": text, "gold": "the answer is 7"}
    rows = list(make(write(path / "rows.jsonl", good, row, good), **options).rows(traces=True))
    assert [r.reason for r in (rows[0], rows[2])] == ["", ""]
    return rows[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("canvases") / "run"
    samples.write_run(run, samples.corpus(24))
    return run


def released(run: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Gold and paths of every prompt."""
    return {
        row.prompt: (row.gold, tuple(path.text for path in row.paths))
        for file in ReleaseReader(run).files
        for row in read_rows(file)
    }


def found(*sources: Source) -> dict[str, tuple[str, tuple[str, ...]]]:
    rows = [row for source in sources for row in source.rows(traces=True)]
    assert not [row for row in rows if row.reason or row.bad_traces]
    return {row.text: (row.gold, tuple(t.text for t in row.recorded)) for row in rows}


@pytest.mark.parametrize("kind", WITH_PATHS)
def test_an_export_is_read_back(kind: str, run: Path, tmp_path: Path) -> None:
    facts = export(run, kind, tmp_path / "out")
    assert found(*(make(tmp_path / "out" / name) for name in facts.lines)) == released(run)


@pytest.mark.parametrize("below", ["", "release", "release/data"])
def test_a_release_is_read_with_models_and_labels(below: str, run: Path) -> None:
    source = make(run / below)
    assert found(source) == released(run)
    graded = {
        row.prompt: [
            {Grade.CORRECT: True, Grade.WRONG: False}.get(path.grade) for path in row.paths
        ]
        for file in ReleaseReader(run).files
        for row in read_rows(file)
    }
    for row in source.rows(traces=True):
        assert [trace.correct for trace in row.recorded] == graded[row.text]
        assert {trace.model for trace in row.recorded} == {"tiny"}
        assert row.license == "MIT"


def test_what_has_no_paths_is_no_source(run: Path, tmp_path: Path) -> None:
    for kind in ("rlvr", "dpo"):
        facts = export(run, kind, tmp_path / kind)
        with pytest.raises(UserError, match=r"none of the first \d+ rows holds paths"):
            list(make(tmp_path / kind / next(iter(facts.lines))).rows(traces=True))
    with pytest.raises(UserError, match="the folder of an export; give one of its files"):
        make(tmp_path / "dpo")


def test_files_of_the_nap_trainer_are_read(tmp_path: Path) -> None:
    """Columns prompt and response (examples/run_sft.sh), no gold: the summary's end is the gold."""
    text = (
        "<think 1>\n3 + 4 = 7\n</think 1>\n<think 2>\nseven\n</think 2>\n<summary>\n"
        "Both agree. The answer is 7\n</summary>"
    )
    row = one(tmp_path, {"prompt": "What is 3 + 4?", "response": text}, gold_after="answer is")
    assert (row.gold, [t.text for t in row.recorded]) == ("7", ["3 + 4 = 7", "seven"])
    row = one(tmp_path, {"prompt": "What is 3 + 4?", "response": text})
    assert row.reason == "missing_gold"


def test_columns_can_be_named(tmp_path: Path) -> None:
    row = {"q": "What is 3 + 4?", "a": "7", "trajectory": PARALLEL, "response": "7"}
    path = write(tmp_path / "rows.jsonl", row)
    columns = {"prompt": "q", "gold": "a", "text": "trajectory"}
    assert found(make(path, columns=columns)) == {"What is 3 + 4?": ("7", ("a", "b"))}
    with pytest.raises(UserError, match="did you mean 'text'"):
        make(path, columns={"txt": "trajectory"})


def test_chats_of_both_forms(tmp_path: Path) -> None:
    turns = [("human", "Hi"), ("gpt", "Hello"), ("human", "What is 3 + 4?"), ("gpt", PARALLEL)]
    chat = [{"from": who, "value": text} for who, text in turns]
    row = one(tmp_path, {"conversations": chat, "gold": "7"})
    assert (row.text, [t.text for t in row.recorded]) == ("Hi", ["a", "b"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("7", "no path between markers"),
        (None, "no column holds text"),
        (["7"], "no column holds text"),
        ("<think 1>\na\n</think 1>\n<think 2>\nb", "a path is not closed"),
        ("<think1>a</think2>", "no path between markers"),
        ("<think 2>\na\n</think 2>", "do not number 1 paths in order"),
        ("<think1>a</think1><think1>b</think1>", "do not number 2 paths in order"),
        (f"First {PARALLEL} so {PARALLEL}", "2 blocks <Parallel>"),
        (f"<Parallel><Path>a {PARALLEL}</Path></Parallel>", "2 blocks <Parallel>"),
    ],
)
def test_a_row_without_whole_paths_is_rejected(tmp_path: Path, text: object, says: str) -> None:
    row = one(tmp_path, {"prompt": "What is 3 + 4?", "gold": "7", "response": text})
    assert row.reason == "no_canvas" and says in row.detail and "rows.jsonl, line 2" in row.detail
    assert row.recorded == ()


def test_numbers_belong_to_multiverse_alone() -> None:
    assert [p["text"] for p in parse("<Path>1: a</Path><Path>2: b</Path>").traces] == [
        "1: a",
        "2: b",
    ]
    goal = "<Parallel><Goal><Outline>\n1: x\n</Outline></Goal><Path>\n1: 2: b\n</Path></Parallel>"
    assert [path["text"] for path in parse(goal).traces] == ["2: b"]


def test_what_is_read_shows_in_the_fingerprint(run: Path, tmp_path: Path) -> None:
    export(run, "parathinker", tmp_path / "out")
    path = tmp_path / "out" / "train.jsonl"
    marks = {
        make(path, **options).fingerprint()
        for options in ({}, {"columns": {"gold": "id"}}, {"gold_after": "is"})
    }
    assert len(marks) == 3


def test_a_corpus_is_graded_filtered_and_released_again(run: Path, tmp_path: Path) -> None:
    """Of three paths two are whole; the third of these samples ends in the midst of a sentence."""
    facts = export(run, "parallel_r1", tmp_path / "out")
    recipe = Recipe.model_validate(
        {
            "name": "again",
            "paths": 2,
            "source": {"kind": "canvases", "path": str(tmp_path / "out" / "train.parquet")},
            "teacher": {"kind": "recorded"},
            "scorer": None,
            "groups": {"min_correct": 1, "similarity": 1.0},
            "release": {"validation": 0.0},
        }
    )
    made = tmp_path / "again"
    outcome = run_build(recipe, made, None)
    assert find_problems(made) == []
    lost = rejected(made)
    prompts = sum(count for (kind, _), count in lost.items() if kind == "prompt")
    assert outcome.canvases + prompts == facts.lines["train.parquet"]
    assert lost["trace", "truncated"] == facts.lines["train.parquet"]
    before, after = released(run), released(made)
    assert len(after) == outcome.canvases > 0
    for prompt, (gold, paths) in after.items():
        assert gold == before[prompt][0] and set(paths) < set(before[prompt][1])
