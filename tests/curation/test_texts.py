"""Any corpus as texts: columns, lists, canvases, and what cannot be scored."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.release import writer
from curation.seqdep_report.documents import Document, TextCorpus
from schemas.canvas import render
from support.errors import UserError
from tests.curation import samples


def lines(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_columns_are_found_or_named(tmp_path: Path) -> None:
    where = lines(tmp_path / "a.jsonl", [{"question": "Q", "text": "one. two.", "other": "x"}])
    assert list(TextCorpus(where).documents()) == [Document(row=1, prompt="Q", text="one. two.")]
    both = lines(tmp_path / "d.jsonl", [{"question": "Q", "answer": "5", "traces": ["a", "b"]}])
    assert [one.text for one in TextCorpus(both).documents()] == ["a", "b"]
    named = TextCorpus(where, prompt_column="text", text_column="other")
    assert list(named.documents()) == [Document(row=1, prompt="one. two.", text="x")]
    assert next(TextCorpus(where, no_prompt=True).documents()).prompt == ""
    with pytest.raises(UserError, match="--text-column: no column 'txt'"):
        TextCorpus(where, text_column="txt")
    with pytest.raises(UserError, match="name one of b with --text-column"):
        TextCorpus(lines(tmp_path / "b.jsonl", [{"b": "x"}]))
    with pytest.raises(UserError, match="its first 100 rows hold nothing"):
        TextCorpus(lines(tmp_path / "c.jsonl", []))
    with pytest.raises(UserError, match="no such file"):
        TextCorpus(str(tmp_path / "gone.jsonl"))


def test_a_list_column_holds_several_documents(tmp_path: Path) -> None:
    rows = [
        {"problem": "P", "generations": ["a b", None, {"text": "c"}]},
        {"problem": "Q", "generations": []},
        {"problem": None, "generations": ["d"]},
    ]
    found = list(TextCorpus(lines(tmp_path / "a.jsonl", rows)).documents())
    assert [(one.row, one.part, one.text, one.reason) for one in found] == [
        (1, 1, "a b", ""),
        (1, 2, "", "missing_text"),
        (1, 3, "c", ""),
        (2, 1, "", "missing_text"),
        (3, 1, "", "missing_prompt"),
    ]


def test_what_is_no_text_has_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n{"text": 5}\n{"text": "\\ud800"}\n{"text": "  "}\n{"te\n')
    found = [one.reason for one in TextCorpus(str(path)).documents()]
    assert found[:1] == [""] and all(found[1:]) and len(found) == 5


def test_canvases_of_a_release_come_apart(tmp_path: Path) -> None:
    rows = samples.corpus(6)
    writer.write_release(tmp_path, samples.BUILD, rows, validation=0, rows_per_file=9)
    corpus = TextCorpus(str(tmp_path))
    assert corpus.begins_with_canvases and corpus.text_column == "response"
    found = sorted(corpus.documents(), key=lambda one: one.prompt)
    canvases = sorted((canvas for canvas, _ in rows), key=lambda one: one.prompt.text)
    assert [one.paths for one in found] == [tuple(p.text for p in c.paths) for c in canvases]
    assert [one.summary for one in found] == [c.summary for c in canvases]
    long_cot = TextCorpus(str(tmp_path), text_column="long_cot")
    assert not long_cot.begins_with_canvases
    assert all(one.text and not one.paths for one in long_cot.documents())


def test_a_damaged_canvas_is_a_text(tmp_path: Path) -> None:
    text = render(("a", "b"), "c")
    where = lines(tmp_path / "a.jsonl", [{"text": text}, {"text": text[:-3]}])
    assert [bool(one.paths) for one in TextCorpus(where).documents()] == [True, False]


def test_a_folder_of_files_is_read_before_its_data_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    lines(tmp_path / "data" / "b.jsonl", [{"text": "inner"}])
    assert [one.text for one in TextCorpus(str(tmp_path)).documents()] == ["inner"]
    lines(tmp_path / "a.jsonl", [{"text": "outer"}])
    assert [one.text for one in TextCorpus(str(tmp_path)).documents()] == ["outer"]


def test_parquet_and_folders(tmp_path: Path) -> None:
    for number in range(2):
        pq.write_table(pa.table({"text": [f"t{number}"]}), tmp_path / f"{number}.parquet")
    assert [one.text for one in TextCorpus(str(tmp_path)).documents()] == ["t0", "t1"]
    first = TextCorpus(str(tmp_path)).fingerprint()
    pq.write_table(pa.table({"text": ["other"]}), tmp_path / "1.parquet")
    assert TextCorpus(str(tmp_path)).fingerprint() != first
