"""Sources: every row read comes out once, good or with a reason, and wrong options say so."""

import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.sources import Row, Source
from curation.sources import jsonl as jsonl_kind
from curation.sources.columns.gold import damage, plain_number, read_gold
from curation.sources.readers.jsonl import JsonlReader, parse
from schemas.records import FinishReason, Recorded
from support.errors import UserError
from support.plugins import build, kinds

GOOD = {"problem": "What is 1 + 1?", "answer": "2"}


def make(kind: str, **options: object) -> Source:
    source: Source = build("curation.sources", kind, options, "source")
    return source


def write(path: Path, *lines: object) -> str:
    """A JSONL file; bytes go in as they are."""
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"\n".join(raw) + b"\n")
    return str(path)


def read(kind: str, *, with_traces: bool = False, **options: object) -> list[Row]:
    return list(make(kind, **options).rows(traces=with_traces))


def error(kind: str, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        list(make(kind, **options).rows(traces=False))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_kinds() -> None:
    files = ("canvases", "csv", "jsonl", "parquet")
    assert kinds("curation.sources") == tuple(sorted((*files, "gsm8k", "hub", "openr1_math")))


# --- damaged rows


@pytest.mark.parametrize(
    ("line", "reason", "says"),
    [
        (b'{"problem": "x", "answer"', "broken_json", "rows.jsonl, line 2"),
        (b"not json", "broken_json", "line 2"),
        (b"[" * 100_000, "broken_json", "deep"),
        (b'{"a":' * 100_000, "broken_json", "deep"),
        (b"[1, 2]", "not_an_object", "list"),
        (b"null", "not_an_object", "NoneType"),
        (b'{"problem": "caf\xe9 1", "answer": "2"}', "bad_encoding", "byte 17"),
        (b'{"problem": "1 \\ud800", "answer": "2"}', "bad_encoding", "surrogate"),
        (b'{"problem": "1 + 1", "answer": "\\udfff"}', "bad_encoding", "gold"),
        (b'{"problem": "1\\u0000 + 1", "answer": "2"}', "control_characters", "U+0000"),
        (b'{"problem": "Find \\frac12", "answer": "2"}', "control_characters", "U+000C"),
        (b'{"problem": "1 + 1", "answer": "2\\u0000"}', "control_characters", "gold"),
        (b'{"answer": "2"}', "missing_prompt", "'problem'"),
        (b'{"problem": null, "answer": "2"}', "missing_prompt", "no prompt"),
        (b'{"problem": "", "answer": "2"}', "missing_prompt", "empty"),
        (b'{"problem": " \\n\\t", "answer": "2"}', "missing_prompt", "empty"),
        (b'{"problem": "...?", "answer": "2"}', "missing_prompt", "neither"),
        (b'{"problem": 7, "answer": "2"}', "missing_prompt", "int"),
        (b'{"problem": ["x"], "answer": "2"}', "missing_prompt", "list"),
        (b'{"problem": "1 + 1"}', "missing_gold", "'answer'"),
        (b'{"problem": "1 + 1", "answer": null}', "missing_gold", "no gold"),
        (b'{"problem": "1 + 1", "answer": "  "}', "missing_gold", "empty"),
        (b'{"problem": "1 + 1", "answer": "None"}', "missing_gold", "None"),
        (b'{"problem": "1 + 1", "answer": true}', "damaged_gold", "boolean"),
        (b'{"problem": "1 + 1", "answer": NaN}', "damaged_gold", "float"),
        (b'{"problem": "1 + 1", "answer": 1e999999999}', "damaged_gold", "Decimal"),
        (b'{"problem": "1 + 1", "answer": 1e99999999999999999999}', "damaged_gold", "Decimal"),
        (b'{"problem": "1 + 1", "answer": ' + b"9" * 9000 + b"}", "damaged_gold", "9"),
        (b'{"problem": "1 + 1", "answer": [2, [3]]}', "damaged_gold", "list"),
        (b'{"problem": "1 + 1", "answer": "' + b"2" * 1001 + b'"}', "damaged_gold", "1001"),
        (b'{"problem": "1 + 1", "answer": "\\\\frac{1"}', "damaged_gold", "braces"),
    ],
)
def test_a_damaged_line_is_one_row_with_a_reason(
    tmp_path: Path, line: bytes, reason: str, says: str
) -> None:
    rows = read("jsonl", path=write(tmp_path / "rows.jsonl", GOOD, line, GOOD))
    assert [(r.number, r.reason) for r in rows] == [(1, ""), (2, reason), (3, "")]
    assert says in rows[1].detail and "rows.jsonl, line 2" in rows[1].detail
    rows[1].detail.encode()


def test_a_row_of_five_megabytes_is_too_long(tmp_path: Path) -> None:
    big = {"problem": "1 " * 2_500_000, "answer": "2"}
    rows = read("jsonl", path=write(tmp_path / "rows.jsonl", GOOD, big, GOOD))
    assert [r.reason for r in rows] == ["", "too_long", ""]
    edge = {"problem": "1" * 21, "answer": "2"}
    path = write(tmp_path / "edge.jsonl", {**edge, "problem": "1" * 20}, edge)
    assert [r.reason for r in read("jsonl", path=path, max_chars=20)] == ["", "too_long"]


def test_a_line_over_the_limit_is_skipped_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curation.sources.readers.jsonl.MAX_LINE_BYTES", 200)
    path = write(tmp_path / "rows.jsonl", GOOD, b"x" * 5000, GOOD, b"y" * 201)
    rows = read("jsonl", path=path)
    assert [(r.number, r.reason) for r in rows] == [
        (1, ""),
        (2, "too_long"),
        (3, ""),
        (4, "too_long"),
    ]


def test_blank_lines_a_bom_and_windows_line_ends_are_no_rows(tmp_path: Path) -> None:
    good = json.dumps(GOOD).encode()
    (tmp_path / "rows.jsonl").write_bytes(
        b"\xef\xbb\xbf" + good + b"\r\n\r\n  \t\n" + good + b"\r\n\n" + good
    )
    rows = read("jsonl", path=str(tmp_path / "rows.jsonl"))
    assert [(r.number, r.text, r.reason) for r in rows] == [
        (n, GOOD["problem"], "") for n in (1, 4, 6)
    ]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_conserve_rows(data: bytes) -> None:
    lines = data.split(b"\n")
    records = [parse(line, n, "x") for n, line in enumerate(lines, 1) if line.strip()]
    for record in records:
        assert (record.value is None) == bool(record.reason)


# --- golds


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (18, "18"),
        (18.0, "18"),
        ("7.0", "7"),
        ("-3.00", "-3"),
        ("7.50", "7.50"),
        ("1.0.0", "1.0.0"),
        (Decimal("18.0"), "18"),
        (Decimal("0.10"), "0.1"),
        (Decimal("0.30000000000000000004"), "0.30000000000000000004"),
        (1e-7, "0.0000001"),
        (1e22, "10000000000000000000000"),
        (-0.5, "-0.5"),
        (0, "0"),
        (Decimal("0E+900"), "0"),
        (100, "100"),
        (Decimal("1E+2"), "100"),
        (10**40, "1" + "0" * 40),
    ],
)
def test_a_number_becomes_text_faithfully(value: object, text: str) -> None:
    assert read_gold(value, None).text == text


@pytest.mark.parametrize(
    "gold",
    [
        r"v_{R}=4\mathrm{~}/\mathrm{},v_{B}=10\mathrm{~}/\mathrm{}",  # OpenR1-Math-220k, row 0
        r"\frac{3\sqrt{10",
        "}{",
        r"5\text{}",
        r"\frac{1}{}",
        r"\sqrt{}",
        "10^{}",
        "?",
        "...",
        "-",
        "$",
        "x=",
        "12\\",
        r"\left(1, 2)",
        "1\ufffd2",
    ],
)
def test_damaged_golds(gold: str) -> None:
    assert damage(gold)
    assert read_gold(gold, None).reason == "damaged_gold"


@pytest.mark.parametrize(
    "gold",
    [
        "18",
        "$18",
        "<",
        "∅",
        r"\{\}",
        r"\{1, 2\}",
        "[0, 1)",
        r"\left( 3, \frac{\pi}{2} \right)",
        r"\left\{x\right.",
        r"5\text{ }cm",
        r"\infty{}",
        "\u0410",
        "x = 3",
        r"50\%",
        "proofreader",
    ],
)
def test_sound_golds(gold: str) -> None:
    assert read_gold(gold, None).text == gold


def test_golds_of_real_data_pass_but_for_the_cut_ones(shared_data: Path) -> None:
    counts: Counter[str] = Counter()
    for name in ("math500/test.jsonl", "traces/recorded_traces.jsonl"):
        path = str(shared_data / name)
        counts.update(r.reason for r in read("jsonl", path=path, self_contained=False))
    assert counts == {"": 950}
    # 18 answers of this file end at their first closing brace: \frac{3\sqrt{10
    path = str(shared_data / "math500" / "math_train_1000.jsonl")
    train = read("jsonl", path=path, self_contained=False)
    assert Counter(r.reason for r in train) == {"": 982, "damaged_gold": 18}


def test_gold_after_takes_the_last_mark(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.jsonl",
        {"problem": "1 + 1", "answer": "A: 3, no. A: 2"},
        {"problem": "1 + 2", "answer": "three"},
        {"problem": "1 + 3", "answer": "A: "},
    )
    rows = read("jsonl", path=path, gold_after="A:")
    assert [(r.gold, r.reason) for r in rows] == [
        ("2", ""),
        ("", "missing_gold"),
        ("", "missing_gold"),
    ]
    assert "'A:'" in rows[1].detail


@pytest.mark.parametrize(
    ("text", "tidy"),
    [("1,200", "1200"), ("$ 18 ", "18"), ("-3.", "-3"), ("$1,000.50", "1000.50"), (" 1/2 ", "1/2")],
)
def test_plain_number(text: str, tidy: str) -> None:
    assert plain_number(text) == tidy


# --- columns


def test_dotted_columns_and_the_usual_names(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", {"q": {"text": "1 + 1"}, "a.b": {"c": 2}})
    rows = read("jsonl", path=path, columns={"prompt": "q.text", "gold": "a.b"})
    assert rows[0].reason == "damaged_gold"
    path = write(tmp_path / "rows.jsonl", {"q": {"text": "1 + 1"}, "a": {"b": {"c": 2}}})
    assert read("jsonl", path=path, columns={"prompt": "q.text", "gold": "a.b.c"})[0].gold == "2"
    path = write(tmp_path / "rows.jsonl", {"question": "1 + 1", "ground_truth": "2"})
    assert read("jsonl", path=path)[0].gold == "2"


def test_a_wrong_column_lists_those_that_exist(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", b"broken", {**GOOD, "meta": {"id": 1}})
    message = error("jsonl", path=path, columns={"prompt": "problm"})
    for part in ("rows.jsonl", "columns.prompt", "'problm'", "did you mean 'problem'", "meta.id"):
        assert part in message
    assert "'gold'" in error("jsonl", path=path, columns={"prompt": "problem", "gold": "gold"})
    assert "'gen'" in error("jsonl", path=path, traces={"column": "gen"})
    traced = write(tmp_path / "traced.jsonl", {**GOOD, "gen": ["a"], "ok": [True]})
    for option in ("correct", "model", "finish_reason"):
        message = error("jsonl", path=traced, traces={"column": "gen", option: "oks"})
        assert f"traces.{option}: no column 'oks'" in message and "'ok'" in message
    assert read("jsonl", path=traced, traces={"column": "gen", "correct": "ok"})
    assert str(tmp_path) not in message


def test_a_column_that_appears_late_in_the_sample_is_there(tmp_path: Path) -> None:
    few = [{"problem": f"{n} + 1"} for n in range(99)]
    path = write(tmp_path / "rows.jsonl", *few, GOOD)
    rows = read("jsonl", path=path, columns={"prompt": "problem", "gold": "answer"})
    assert Counter(r.reason for r in rows) == {"missing_gold": 99, "": 1}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"columns": {"promt": "x"}}, "did you mean 'prompt'"),
        ({"traces": {"column": "x", "txt": "y"}}, "did you mean 'text'"),
        ({"traces": {}}, "either column"),
        ({"traces": {"column": "x", "columns": {"a": "b"}}}, "either column"),
        ({"traces": {"columns": {"a": "b"}, "text": "t"}}, "each path is the text"),
        ({"columns": {"prompt": 3}}, "columns.prompt"),
        ({"max_chars": "many"}, "max_chars"),
        ({"max_chars": 0}, "at least 1"),
        ({"gold_after": ""}, "gold_after is empty"),
        ({"colums": {}}, "did you mean 'columns'"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, options: Mapping[str, object], says: str) -> None:
    path = write(tmp_path / "rows.jsonl", GOOD)
    assert says in error("jsonl", path=path, **options)


# --- files


def test_files_that_are_none(tmp_path: Path) -> None:
    for kind in ("jsonl", "parquet", "gsm8k", "openr1_math"):
        assert "no such file" in error(kind, path=str(tmp_path / "none.x"))
        assert "holds no" in error(kind, path=str(tmp_path))
    (tmp_path / "empty.jsonl").write_bytes(b"\n \n")
    assert "empty.jsonl: holds no rows" in error("jsonl", path=str(tmp_path / "empty.jsonl"))
    (tmp_path / "text.parquet").write_bytes(b"hello")
    assert "text.parquet: not a readable Parquet" in error(
        "parquet", path=str(tmp_path / "text.parquet")
    )
    pq.write_table(pa.table({"problem": pa.array([], pa.string())}), tmp_path / "zero.parquet")
    assert "use kind parquet" in error("jsonl", path=str(tmp_path / "zero.parquet"))
    assert "holds no rows" in error("parquet", path=str(tmp_path / "zero.parquet"))


def test_a_folder_is_read_in_order_of_names(tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    write(folder / "b.jsonl", {**GOOD, "problem": "third 3"})
    write(folder / "a.jsonl", {**GOOD, "problem": "first 1"}, b"broken")
    (folder / "notes.txt").write_text("no data")
    with gzip.open(folder / "c.jsonl.gz", "wb") as packed:
        packed.write(json.dumps({**GOOD, "problem": "fourth 4"}).encode())
    source = make("jsonl", path=str(folder))
    rows = list(source.rows(traces=False))
    assert source.label == "pool"
    assert [(r.number, r.text) for r in rows] == [
        (1, "first 1"),
        (2, ""),
        (3, "third 3"),
        (4, "fourth 4"),
    ]
    assert "a.jsonl, line 2" in rows[1].detail
    (folder / "c.jsonl.gz").write_bytes((folder / "c.jsonl.gz").read_bytes()[:20])
    assert "c.jsonl.gz: cannot be read to its end" in error("jsonl", path=str(folder))


def test_the_fingerprint_follows_bytes_and_options_not_places(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    one = write(tmp_path / "rows.jsonl", GOOD)
    two = write(tmp_path / "elsewhere" / "rows.jsonl", GOOD)
    first = make("jsonl", path=one).fingerprint()
    assert first == make("jsonl", path=two).fingerprint()
    changed = [
        make("jsonl", path=one, max_chars=10).fingerprint(),
        make("jsonl", path=one, license="mit").fingerprint(),
        make("jsonl", path=one, columns={"prompt": "answer"}).fingerprint(),
        make("jsonl", path=write(tmp_path / "rows.jsonl", GOOD, GOOD)).fingerprint(),
    ]
    assert len({first, *changed}) == 5


def test_labels_hold_no_path(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", GOOD)
    assert make("jsonl", path=path).label == "rows.jsonl"
    assert make("jsonl", path=path, label="mine").label == "mine"


def test_memory_stays_flat(tmp_path: Path) -> None:
    lines = [{"problem": f"{n} " + "word " * 400, "answer": n} for n in range(2500)]
    path = write(tmp_path / "rows.jsonl", *lines)
    del lines
    source = make("jsonl", path=path)
    tracemalloc.start()
    count = sum(1 for _ in source.rows(traces=False))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 2500
    assert peak < 2_000_000  # the file has 5 MB; the peak is the sample of 100 rows


# --- recorded traces


def held(tmp_path: Path, row: Mapping[str, object], **spec: object) -> Row:
    path = write(tmp_path / "traces.jsonl", {**GOOD, **row})
    (only,) = read("jsonl", path=path, traces=spec, with_traces=True)
    assert not only.reason
    return only


def recorded(tmp_path: Path, row: Mapping[str, object], **spec: object) -> tuple[Recorded, ...]:
    return held(tmp_path, row, **spec).recorded


def test_a_list_column_with_aligned_labels(tmp_path: Path) -> None:
    row = {
        "g": ["one", None, 3, "four", "nul\x00", "half \ud800", "esc \x1b"],
        "ok": [True, False, False, None, True, False, True],
        "end": ["stop", "stop", "stop", "length", "other", None, "stop"],
    }
    only = held(tmp_path, row, column="g", correct="ok", finish_reason="end", model_name="m")
    # what cannot be a trace has a reason of its own, and the others keep their own labels
    assert [(t.text, t.correct, t.finish_reason) for t in only.recorded] == [
        ("one", True, FinishReason.STOP),
        ("four", None, FinishReason.LENGTH),
        ("esc \x1b", True, FinishReason.STOP),
    ]
    assert [(bad.reason, bad.detail.partition(": ")[0]) for bad in only.bad_traces] == [
        ("null_trace", "traces.jsonl, line 1, trace 2"),
        ("trace_not_text", "traces.jsonl, line 1, trace 3"),
        ("control_characters", "traces.jsonl, line 1, trace 5"),
        ("bad_encoding", "traces.jsonl, line 1, trace 6"),
    ]
    assert {t.model for t in only.recorded} == {"m"}


@pytest.mark.parametrize(
    ("written", "label"),
    [
        *((word, True) for word in ("true", "TRUE", "yes", " Correct ", "right", "1")),
        *((word, False) for word in ("false", "No", "incorrect", "wrong", "0")),
        *((word, None) for word in ("", "maybe", "2", "0.9", "not correct")),
    ],
)
def test_a_label_of_csv_is_a_word(tmp_path: Path, written: str, label: bool | None) -> None:
    path = tmp_path / "labelled.csv"
    path.write_text(f"question,answer,trace,verdict\nWhich?,red,It is red.,{written}\n")
    (row,) = read(
        "csv", with_traces=True, path=str(path), traces={"column": "trace", "correct": "verdict"}
    )
    assert [trace.correct for trace in row.recorded] == [label]


@pytest.mark.parametrize("labels", [None, [True], [True, False, True], "yes", {}, 3])
def test_labels_that_cannot_be_aligned_are_left_out(tmp_path: Path, labels: object) -> None:
    found = recorded(tmp_path, {"g": ["a", "b"], "ok": labels}, column="g", correct="ok")
    assert [t.correct for t in found] == [None, None]


def test_a_list_of_objects(tmp_path: Path) -> None:
    row = {"t": [{"x": {"text": "a"}, "m": "m1", "ok": 1}, {"x": {}, "ok": False}, None, "odd"]}
    only = held(tmp_path, row, column="t", text="x.text", model="m", correct="ok")
    assert only.recorded == (Recorded(text="a", model="m1", correct=True),)
    assert [bad.reason for bad in only.bad_traces] == [
        "trace_not_text",
        "null_trace",
        "trace_not_text",
    ]
    assert "'x.text'" in only.bad_traces[0].detail
    path = write(tmp_path / "traces.jsonl", {**GOOD, **row})
    assert "'txt'" in error("jsonl", path=path, traces={"column": "t", "text": "txt"})


def test_a_single_text_and_no_list(tmp_path: Path) -> None:
    spec = {"column": "g", "correct": "ok"}
    assert recorded(tmp_path, {"g": "a", "ok": True}, **spec) == (Recorded(text="a", correct=True),)
    assert recorded(tmp_path, {"g": None, "ok": True}, **spec) == ()


def test_traces_are_read_only_on_demand(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", {**GOOD, "g": ["a"]})
    assert read("jsonl", path=path, traces={"column": "g"})[0].recorded == ()


def test_recorded_traces_file(shared_data: Path) -> None:
    rows = read(
        "jsonl",
        with_traces=True,
        self_contained=False,
        path=str(shared_data / "traces" / "recorded_traces.jsonl"),
        traces={"column": "traces", "text": "text", "model": "model", "correct": "correct"},
    )
    assert len(rows) == 450
    assert sum(len(r.recorded) for r in rows) == 300 * 4 + 100 * 8 + 50 * 3
    assert all(t.text and t.model for r in rows for t in r.recorded)


# --- gsm8k


def test_gsm8k_train(shared_data: Path) -> None:
    source = make("gsm8k", path=str(shared_data / "gsm8k" / "train.jsonl"))
    rows = list(source.rows(traces=True))
    assert (source.label, source.license, len(rows)) == ("train.jsonl", "mit", 7473)
    assert rows[0].gold == "72"
    assert all(not r.reason and not r.recorded and float(r.gold) is not None for r in rows)


def test_gsm8k_example_solutions(shared_data: Path) -> None:
    path = str(shared_data / "gsm8k" / "example_model_solutions.jsonl")
    rows = read("gsm8k", with_traces=True, path=path)
    assert rows[0].gold == "18"
    assert {len(r.recorded) for r in rows} == {4} and len(rows) == 1319
    traces = [t for r in rows for t in r.recorded]
    assert sum(t.correct is True for t in traces) / len(traces) == pytest.approx(0.379, abs=5e-4)
    assert [t.model for t in rows[0].recorded] == sorted(t.model or "" for t in rows[0].recorded)
    # five samples were cut off inside an annotation; what is not closed is left as recorded
    assert sum("<<" in t.text for t in traces) == 5
    kept = read("gsm8k", with_traces=True, path=path, strip_annotations=False)
    assert any("<<16-3=13>>13" in t.text for t in kept[0].recorded)
    general = read(
        "jsonl",
        with_traces=True,
        path=path,
        columns={"prompt": "question", "gold": "ground_truth"},
        gold_after="A:",
        strip_annotations=True,
        traces={
            "columns": {m.model: f"{m.model}.solution" for m in rows[0].recorded},
            "correct": "is_correct",
        },
    )
    assert [r.recorded for r in general] == [r.recorded for r in rows]


def test_gsm8k_from_parquet_equals_jsonl(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "gsm8k" / "test.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    pq.write_table(pa.Table.from_pylist(lines), tmp_path / "test-00000-of-00001.parquet")
    assert read("gsm8k", path=str(tmp_path)) == read("gsm8k", path=str(path))


def test_gsm8k_of_another_schema(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", GOOD)
    assert "'question'" in error("gsm8k", path=path)


# --- openr1_math

TYPES = {
    "string": pa.string(),
    "int64": pa.int64(),
    "list<bool>": pa.list_(pa.bool_()),
    "list<string>": pa.list_(pa.string()),
    "list<struct<content:string, role:string>>": pa.list_(
        pa.struct([("content", pa.string()), ("role", pa.string())])
    ),
}


def openr1_parquet(shared_data: Path, path: Path) -> list[dict[str, object]]:
    """Rows of the real schema around the two real generations."""
    folder = shared_data / "openr1"
    columns = json.loads((folder / "openr1_schema.json").read_text())["columns_in_order"]
    schema = pa.schema([(name, TYPES[kind.split(" | ")[0]]) for name, kind in columns])
    real = [json.loads(line) for line in (folder / "openr1_real_traces.jsonl").open()]
    damaged = r"v_{R}=4\mathrm{~}/\mathrm{},v_{B}=10\mathrm{~}/\mathrm{}"
    first, second = (row["generations"][0] for row in real)
    rows: list[dict[str, object]] = [
        {
            "problem": real[0]["problem"],
            "answer": damaged,
            "generations": [first, f"{first}."],
            "correctness_math_verify": [True, False],
            "finish_reasons": None,
        },
        {
            "problem": real[1]["problem"],
            "answer": "8",
            "generations": [second, None, f"{second}."],
            "correctness_math_verify": [True, False, False],
            "finish_reasons": ["stop", "stop", "length"],
        },
        {"problem": "Find 2 + 2.", "answer": "4", "generations": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return rows


def test_openr1_parquet(shared_data: Path, tmp_path: Path) -> None:
    rows = openr1_parquet(shared_data, tmp_path / "train-00000.parquet")
    source = make("openr1_math", path=str(tmp_path))
    found = list(source.rows(traces=True))
    assert source.license == "apache-2.0"
    assert [r.reason for r in found] == ["damaged_gold", "", ""]
    texts = rows[1]["generations"]
    assert isinstance(texts, list)
    assert found[1].recorded == (
        Recorded(
            text=texts[0],
            model="deepseek-ai/DeepSeek-R1",
            correct=True,
            finish_reason=FinishReason.STOP,
        ),
        Recorded(
            text=texts[2],
            model="deepseek-ai/DeepSeek-R1",
            correct=False,
            finish_reason=FinishReason.LENGTH,
        ),
    )
    assert found[2].recorded == ()
    by_columns = read(
        "parquet",
        with_traces=True,
        path=str(tmp_path / "train-00000.parquet"),
        columns={"prompt": "problem", "gold": "answer"},
        traces={
            "column": "generations",
            "correct": "correctness_math_verify",
            "finish_reason": "finish_reasons",
            "model_name": "deepseek-ai/DeepSeek-R1",
        },
    )
    assert [r.recorded for r in by_columns] == [r.recorded for r in found]


def test_the_two_real_openr1_rows_are_two_rejections(shared_data: Path) -> None:
    path = str(shared_data / "openr1" / "openr1_real_traces.jsonl")
    rows = read("openr1_math", with_traces=True, path=path)
    assert [r.reason for r in rows] == ["missing_gold", "missing_gold"]
    assert all(r.text for r in rows)


# --- parquet


def test_parquet_counts_bad_text_and_odd_types(tmp_path: Path) -> None:
    bad = pa.Array.from_buffers(
        pa.string(),
        3,
        [None, pa.array([0, 3, 7, 10], pa.int32()).buffers()[1], pa.py_buffer(b"1+1\xff\xfe122+2")],
    )
    table = pa.table({"problem": bad, "answer": pa.array([2, 3, 4], pa.int64())})
    pq.write_table(table, tmp_path / "bad.parquet")
    rows = read("parquet", path=str(tmp_path / "bad.parquet"))
    assert [(r.number, r.text, r.gold, r.reason) for r in rows] == [
        (1, "1+1", "2", ""),
        (2, "", "", "bad_encoding"),
        (3, "2+2", "4", ""),
    ]
    odd = pa.table({"problem": [b"1+1"], "answer": pa.array([Decimal("2.50")])})
    pq.write_table(odd, tmp_path / "odd.parquet")
    assert read("parquet", path=str(tmp_path / "odd.parquet"))[0].reason == "missing_prompt"


UNREADABLE = {
    "a second far off": pa.array([1, 10**15, 1], pa.timestamp("s")),
    "a day far off": pa.array([1, 10**8, 1], pa.date32()),
    "no such zone": pa.array([None, 1, None], pa.timestamp("us", "Mars/Olympus")),
    "in a list": pa.array([[1], [1, 10**8], [1]], pa.list_(pa.date32())),
    "in an object": pa.array([{"day": 1}, {"day": 10**8}, None], pa.struct([("day", pa.date32())])),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_parquet_values_that_python_cannot_hold(tmp_path: Path, name: str) -> None:
    """They do not matter in a column that nobody asked for; in another one each costs its row."""
    texts = ["What is 1 + 1?", "What is 1 + 2?", "What is 1 + 3?"]
    table = pa.table({"problem": texts, "answer": ["2", "3", "4"], name: UNREADABLE[name]})
    path = str(tmp_path / "odd.parquet")
    pq.write_table(table, path)
    rows = read("parquet", path=path, with_traces=True)
    assert [(row.text, row.gold, row.reason) for row in rows] == [
        (text, str(n), "") for n, text in enumerate(texts, 2)
    ]
    for wanted in ("gold", "license"):
        rows = read("parquet", path=path, columns={wanted: name})
        assert [row.number for row in rows] == [1, 2, 3]
        assert rows[1].reason == "unreadable_value"
        assert rows[1].detail.startswith(f"odd.parquet, row 2: column {name!r}: ")
        assert "unreadable_value" not in (rows[0].reason, rows[2].reason)
    assert "no column 'none'" in error("parquet", path=path, columns={"gold": "none"})


def test_parquet_cut_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "cut.parquet"
    pq.write_table(pa.table({"problem": [f"{n} + {n}" for n in range(9999)]}), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "cut.parquet: not a readable Parquet" in error("parquet", path=str(path))


def test_parquet_dotted_columns(tmp_path: Path) -> None:
    rows = [{"q": {"text": "1 + 1", "x": 1}, "a.b": "2", "t": [{"s": "one"}, {"s": None}]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "nested.parquet")
    (row,) = read(
        "parquet",
        with_traces=True,
        path=str(tmp_path / "nested.parquet"),
        columns={"prompt": "q.text", "gold": "a.b"},
        traces={"column": "t", "text": "s"},
    )
    assert (row.text, row.gold, row.recorded) == ("1 + 1", "2", (Recorded(text="one"),))


# --- hub


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_the_hub_path_on_a_local_dataset(shared_data: Path, tmp_path: Path, suffix: str) -> None:
    source_file = shared_data / "math500" / "test.jsonl"
    folder = tmp_path / "math500"
    folder.mkdir()
    if suffix == "jsonl":
        (folder / "test.jsonl").write_bytes(source_file.read_bytes())
    else:
        lines = [json.loads(line) for line in source_file.open(encoding="utf-8")]
        pq.write_table(pa.Table.from_pylist(lines), folder / "test.parquet")
    columns = {"prompt": "problem"}
    source = make("hub", repo=str(folder), split="test", columns=columns, self_contained=False)
    assert source.label == "math500"
    here = read("jsonl", path=str(source_file), columns=columns, self_contained=False)
    assert list(source.rows(traces=False)) == here
    assert len(source.fingerprint()) == 64
    assert "split nope" in error("hub", repo=str(folder), split="nope")
    assert "'problm'" in error("hub", repo=str(folder), split="test", columns={"prompt": "problm"})


def test_an_unreachable_hub_is_one_line() -> None:
    script = (
        "from support.plugins import build\n"
        "from support.errors import UserError\n"
        "for kind, o in (('hub', {'repo': 'a/b'}), ('gsm8k', {}), ('openr1_math', {})):\n"
        "    try:\n"
        "        build('curation.sources', kind, o, 'source')\n"
        "    except UserError as error:\n"
        "        print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": os.getcwd()},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert all("hub did not answer" in line and "the path of local files" in line for line in lines)
    assert "openai/gsm8k" in lines[1] and "OpenR1-Math-220k" in lines[2]


def test_a_hub_id_that_is_none() -> None:
    assert "neither a hub id" in error("hub", repo="/no/such/folder here")


def test_a_reader_can_be_started_again(tmp_path: Path) -> None:
    reader = JsonlReader(write(tmp_path / "rows.jsonl", GOOD, GOOD))
    assert len(list(reader.records(()))) == len(list(reader.records(()))) == 2
    source = jsonl_kind.build(path=str(tmp_path / "rows.jsonl"))
    assert list(source.rows(traces=False)) == list(source.rows(traces=False))


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_where_a_line_breaks_off_is_within_it(end: bytes) -> None:
    record = parse(b'{"q": "What is 1 plus 1?", "a": "2"' + end, 7, "x.jsonl, line 7")
    assert (record.number, record.detail) == (7, "Expecting ',' delimiter at character 36")
