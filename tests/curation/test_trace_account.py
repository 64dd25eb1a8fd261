"""Recorded traces are counted from the file on: each is sampled, or rejected with a true reason."""

import json
import random
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation import pipeline
from curation.inspect import rejections
from curation.inspect.funnel import funnel
from curation.inspect.query import Query
from curation.inspect.terminal_view import overview
from curation.release.reader import ReleaseReader
from curation.release.verify import find_problems
from curation.sources import BadTrace, Row
from curation.sources.columns.group import grouped
from schemas.manifest import MANIFEST_FILE, Manifest
from schemas.records import FinishReason, Recorded, Stage
from support.errors import UserError
from tests.builds import contents, make, rejected

WAYS = (
    "Adding {a} to {b} gives it at once. The answer is {c}.",
    "Let x stand for the sum; counting on from {b} we come to x. The answer is {c}.",
    "On my fingers, one after the other, starting at {a}. The answer is {c}.",
    "First {b}, and {a} more on top of that pile makes them all. The answer is {c}.",
)
SETTINGS = ("decontaminate=[]", "scorer=null", "canvas.slot_tokens=200", "source.columns=null")


def problem(n: int) -> str:
    return f"Ann has {n} pens and buys {n + 3} more. How many pens has Ann now?"


def trace(n: int, way: int) -> str:
    return WAYS[way].format(a=n, b=n + 3, c=2 * n + 3)


def one(n: int, way: int, **changes: object) -> dict[str, object]:
    """A row of one generation."""
    row = {"problem": problem(n), "expected_answer": str(2 * n + 3), "generation": trace(n, way)}
    return row | changes


def write(path: Path, rows: Sequence[object]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def built(tmp_path: Path, path: Path, *overrides: str, limit: int | None = None) -> Manifest:
    """A finished build whose sums hold, counted from its files."""
    run = tmp_path / "run"
    make(run, "recorded_traces", *SETTINGS, f"source.path={path}", *overrides, limit=limit)
    assert find_problems(run) == []
    manifest = Manifest.load(run / MANIFEST_FILE)
    recorded = sum(source.traces for source in manifest.sources)
    assert manifest.traces.in_ == recorded, "from the file on"
    sampled = sum(
        pq.read_metadata(file).num_rows for file in (run / Stage.TRACES).glob("*.parquet")
    )
    on_reading = sum(
        r.count for r in manifest.rejected if (r.stage, r.kind) == (Stage.PROMPTS, "trace")
    )
    assert recorded == sampled + on_reading
    for passage in funnel(manifest):
        for flow in filter(None, passage[1:]):
            assert flow.before == flow.after + sum(count for _, count in flow.dropped)
    return manifest


def reasons(manifest: Manifest, stage: Stage = Stage.PROMPTS) -> dict[tuple[str, str], int]:
    return {(r.kind, r.reason): r.count for r in manifest.rejected if r.stage is stage}


GENERATION = "source.traces={column: generation}"
GROUPED = "source.traces={column: generation, group: prompt}"


# --- one generation a row


def test_rows_of_one_prompt_are_joined(tmp_path: Path) -> None:
    rows = [one(n, way) for n in (1, 2) for way in range(3)]
    manifest = built(tmp_path, write(tmp_path / "rows.jsonl", rows), GROUPED)
    assert manifest.canvases == 2
    assert (manifest.prompts.in_, manifest.traces.in_, manifest.traces.kept) == (6, 6, 6)
    assert reasons(manifest) == {("prompt", "grouped"): 4}


def test_over_files_in_any_order(tmp_path: Path) -> None:
    """As NeMo-Skills writes them: a file a seed, every problem in each."""
    folder = tmp_path / "nemo"
    for seed in range(4):
        write(folder / f"output-rs{seed}.jsonl", [one(n, seed) for n in range(1, 6)])
    manifest = built(tmp_path, folder, GROUPED)
    assert manifest.canvases == 5 and manifest.traces.in_ == 20
    assert reasons(manifest, Stage.CANVASES) == {("trace", "not_selected"): 5}


def test_until_asked_to_it_says_so_and_counts_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [one(n, way) for n in (1, 2) for way in range(3)] + [one(1, 0)]
    manifest = built(tmp_path, write(tmp_path / "rows.jsonl", rows), GENERATION)
    assert manifest.canvases == 0 and manifest.traces.in_ == 7
    assert reasons(manifest) == {
        ("prompt", "duplicate_exact"): 5,
        ("trace", "prompt_rejected"): 5,
    }
    (said,) = (line for line in capsys.readouterr().err.splitlines() if "other traces" in line)
    assert said == (
        "rows.jsonl: 4 rows repeat the prompt of an earlier row with other traces, and 4 traces "
        "are dropped with them; set source.traces.group=prompt to join the traces of one prompt"
    )  # the last row repeats its trace too


def test_the_key_is_that_of_the_source_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write(tmp_path / "a.jsonl", [one(9, 0), one(9, 1)])
    second = write(tmp_path / "b.jsonl", [one(9, 2), one(8, 0)])
    sources = [
        {"kind": "jsonl", "path": str(first), "traces": {"column": "generation"}},
        {"kind": "jsonl", "path": str(second), "traces": {"column": "generation"}},
    ]
    run = tmp_path / "run"
    make(run, "recorded_traces", *SETTINGS[:3], f"source={json.dumps(sources)}")
    err = capsys.readouterr().err
    assert "a.jsonl: 1 rows" in err and "source.0.traces.group=prompt" in err
    assert "b.jsonl" not in err, "another source's traces cannot be joined by any key"
    assert find_problems(run) == []


def test_a_row_with_another_gold_stays_apart(tmp_path: Path) -> None:
    rows = [one(1, 0), one(1, 1, expected_answer="99"), one(1, 2), one(1, 3, expected_answer="99")]
    manifest = built(tmp_path, write(tmp_path / "rows.jsonl", rows), GROUPED, "paths=2")
    assert manifest.canvases == 1 and manifest.traces.kept == 2
    assert reasons(manifest) == {
        ("prompt", "duplicate_conflicting_gold"): 1,
        ("prompt", "grouped"): 2,
        ("trace", "prompt_rejected"): 2,
    }


def test_the_same_bytes_and_limits(tmp_path: Path) -> None:
    rows = [one(n, way) for way in range(3) for n in range(1, 8)]
    random.Random(3).shuffle(rows)
    path = write(tmp_path / "rows.jsonl", rows)
    for place in ("a", "b"):
        built(tmp_path / place, path, GROUPED, "shard_rows=2")
    first, second = (contents(tmp_path / place / "run") for place in ("a", "b"))
    assert first == second and len(first) > 20
    few = built(tmp_path / "few", path, GROUPED, limit=9)
    assert few.prompts.in_ == 9 == few.traces.in_, "rows beyond the limit are not read"


def test_a_killed_build_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [one(n, way) for way in range(3) for n in range(1, 8)]
    path = write(tmp_path / "rows.jsonl", rows)
    built(tmp_path / "whole", path, GROUPED, "shard_rows=2")
    with monkeypatch.context() as patch:
        steps = {**pipeline.WORK, pipeline.Step.ASSEMBLE: lambda job, index: 1 / 0}
        patch.setattr(pipeline, "WORK", steps)
        with pytest.raises(ZeroDivisionError):
            built(tmp_path / "cut", path, GROUPED, "shard_rows=2")
    (tmp_path / "cut/run/prompts/census.json").unlink()
    (tmp_path / "cut/run/prompts/census.copy.json").unlink()
    built(tmp_path / "cut", path, GROUPED, "shard_rows=2")
    assert contents(tmp_path / "cut/run") == contents(tmp_path / "whole/run")


ROW = st.builds(
    lambda prompt, gold, held, bad, reason: Row(
        number=0,
        text=f"prompt {prompt}",
        gold=str(gold),
        recorded=tuple(
            Recorded(text=t, model="m", correct=True, finish_reason=FinishReason.STOP) for t in held
        ),
        bad_traces=(BadTrace("null_trace", "it is null"),) * bad,
        reason=reason,
    ),
    st.integers(0, 3),
    st.integers(0, 1),
    st.lists(st.text(st.characters(), max_size=5), max_size=3),
    st.integers(0, 2),
    st.sampled_from(["", "", "", "missing_gold"]),
)


@given(st.lists(ROW, max_size=12))
def test_no_row_and_no_trace_is_lost(rows: list[Row]) -> None:
    rows = [
        Row(**{f: getattr(row, f) for f in Row.__slots__ if f != "number"}, number=n)
        for n, row in enumerate(rows, 1)
    ]
    found = list(grouped(iter(rows)))
    assert [row.number for row in found] == [row.number for row in rows]
    assert Counter(t for row in found for t in row.recorded) == Counter(
        t for row in rows for t in row.recorded
    )
    assert sum(len(row.bad_traces) for row in found) == sum(len(row.bad_traces) for row in rows)
    for row in found:
        same = [r for r in rows if (r.text, r.gold) == (row.text, row.gold) and not r.reason]
        if row.reason == "grouped":
            assert not row.recorded and same[0].number < row.number
        elif not row.reason:
            assert row.number == same[0].number
            assert row.recorded == tuple(t for r in same for t in r.recorded)
        else:
            assert row == rows[row.number - 1]


def test_memory_does_not_grow_with_the_traces() -> None:
    def rows(count: int) -> Iterator[Row]:
        for n in range(count):
            held = (Recorded(text=f"{n} " + "word " * 2000),)
            yield Row(number=n + 1, text=f"{n % (count // 4)} + 1", gold="1", recorded=held)

    assert sum(1 for _ in grouped(rows(400))) == 400, "what is made once is there before the count"
    peaks = []
    for count in (400, 2000):
        tracemalloc.start()
        assert sum(len(row.recorded) for row in grouped(rows(count))) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 1600 < 1000, "bytes a row; its trace has 10,000"


# --- every trace of a file


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_traces_of_a_row_that_is_not_utf_8_are_counted(tmp_path: Path, kind: str) -> None:
    rows = [
        {"problem": problem(n), "gold": f"{2 * n + 3}", "one": trace(n, 0), "two": trace(n, 1)}
        for n in range(1, 6)
    ]
    rows[1]["problem"] += " Léa?"
    rows[2]["two"] += " Léa."
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    if kind == "csv":
        lines = [",".join(rows[0]), *(",".join(f'"{v}"' for v in row.values()) for row in rows)]
    path = tmp_path / f"rows.{kind}"
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("latin-1"))
    spec = "source.traces={columns: {a: one, b: two}}"
    manifest = built(tmp_path, path, f"source.kind={kind}", spec, "paths=2")
    assert manifest.traces.in_ == 10
    assert reasons(manifest) == {
        ("prompt", "bad_encoding"): 2,
        ("trace", "prompt_rejected"): 3,
        ("trace", "bad_encoding"): 1,
    }


def test_traces_of_rejected_rows_and_null_traces_are_counted(tmp_path: Path) -> None:
    held = [trace(1, way) for way in range(3)]
    rows = [
        {"problem": problem(1), "gold": "5", "traces": [held[0], None, *held[1:]]},
        {"problem": problem(2), "gold": None, "traces": held},
        {"problem": None, "gold": "5", "traces": held[:1]},
        {"problem": problem(1), "gold": "5", "traces": [*held, None]},
        {"problem": problem(3), "gold": "9", "traces": [7, {"text": "x"}, "half \ud800"]},
        {"problem": problem(4), "gold": "11"},
        {"problem": problem(5), "gold": "13", "traces": None},
    ]
    before: list[object] = [
        {"problem": f"{n} + 1", "gold": None, "traces": []} for n in range(100)
    ]  # the sample sees no object
    path = write(tmp_path / "rows.jsonl", [*before, *rows])
    manifest = built(tmp_path, path, "source.traces={column: traces}")
    assert manifest.traces.in_ == 4 + 3 + 1 + 4 + 3
    assert manifest.canvases == 1 and manifest.traces.kept == 3
    assert reasons(manifest) == {
        ("prompt", "missing_gold"): 101,
        ("prompt", "missing_prompt"): 1,
        ("prompt", "duplicate_exact"): 1,
        ("trace", "prompt_rejected"): 7,
        ("trace", "null_trace"): 2,
        ("trace", "trace_not_text"): 2,
        ("trace", "bad_encoding"): 1,
    }
    run = tmp_path / "run"
    corpus = ReleaseReader(run)
    found, total = rejections.find_rejections(corpus, Query(reason="prompt_rejected"))
    assert total == 7 and all(one.text is None for one in found), "no other trace's text"
    assert "null_trace" in overview(run)
    card = (run / "release/README.md").read_text()
    assert "| traces | 15 | 3 | 12 |" in card and r"| prompts | trace | null\_trace | 2 |" in card


def test_a_null_generation_is_a_trace_of_its_row(tmp_path: Path) -> None:
    rows = [one(1, 0), one(1, 1, generation=None), one(1, 2), one(2, 0, generation=None), one(1, 3)]
    manifest = built(tmp_path, write(tmp_path / "rows.jsonl", rows), GROUPED)
    assert manifest.traces.in_ == 5 and manifest.canvases == 1
    assert reasons(manifest)["trace", "null_trace"] == 2


def test_columns_that_are_null_are_counted_and_absent_ones_are_none(tmp_path: Path) -> None:
    rows = [{"problem": problem(1), "gold": "5", "a": {"s": trace(1, 0)}, "b": {"s": None}}]
    path = write(tmp_path / "rows.jsonl", [*rows, {"problem": problem(2), "gold": "7"}])
    manifest = built(tmp_path, path, "source.traces={columns: {a: a.s, b: b.s}}", "paths=1")
    assert manifest.traces.in_ == 2 and reasons(manifest) == {("trace", "null_trace"): 1}


def test_a_corpus_of_recorded_traces_grows(tmp_path: Path) -> None:
    first = [one(1, way) for way in range(3)]
    rows = [*first, one(2, 0, generation=None), *(one(2, way) for way in range(1, 4))]
    path = write(tmp_path / "rows.jsonl", rows)
    built(tmp_path, path, GROUPED, "grow=true")
    write(path, [*rows, *(one(3, way) for way in range(3)), one(3, 3, generation=None)])
    grown = built(tmp_path, path, GROUPED, "grow=true")
    assert [part.canvases for part in grown.editions] == [2, 1]
    assert grown.traces.in_ == 11 and reasons(grown)["trace", "null_trace"] == 2
    before = contents(tmp_path / "run")
    write(path, [*rows, *(one(3, way) for way in range(3)), one(3, 3, generation=None), one(1, 3)])
    with pytest.raises(UserError, match="row 1: has another recorded"):
        built(tmp_path, path, GROUPED, "grow=true")
    assert contents(tmp_path / "run") == before


# --- reasons that are known before any work, or that say what is


def said(tmp_path: Path, rows: Sequence[object], *overrides: str) -> str:
    path = write(tmp_path / "rows.jsonl", rows)
    run = tmp_path / "run"
    with pytest.raises(UserError) as caught:
        make(run, "recorded_traces", *SETTINGS, f"source.path={path}", *overrides)
    assert not list(run.rglob("*.parquet")), "before any work"
    assert "\n" not in str(caught.value) and "rows.jsonl" in str(caught.value)
    return str(caught.value)


def test_a_missing_evaluation_set_is_named_as_such(tmp_path: Path) -> None:
    rows = [{"problem": problem(1), "gold": "5", "traces": [trace(1, way) for way in range(3)]}]
    path = write(tmp_path / "rows.jsonl", rows)
    asked = (f"source.path={path}", "source.traces={column: traces}")
    missing = "decontaminate=[{kind: gsm8k, path: test.jsonl}]"
    with pytest.raises(UserError, match=r"^decontaminate\.0\.path 'test\.jsonl': no such file"):
        make(tmp_path / "run", "recorded_traces", *SETTINGS[1:], *asked, missing)


def test_objects_without_the_key_of_their_text(tmp_path: Path) -> None:
    held = [{"output": trace(1, way), "model": "m"} for way in range(3)]
    rows = [{"problem": problem(1), "gold": "5", "traces": held}]
    message = said(tmp_path, rows, "source.traces={column: traces}")
    assert "set traces.text" in message and "output, model" in message
    mixed = write(tmp_path / "mixed.jsonl", [{**rows[0], "traces": [trace(1, 0), *held]}])
    asked = (f"source.path={mixed}", "source.traces={column: traces}")
    make(tmp_path / "mixed", "recorded_traces", *SETTINGS, *asked)
    counted = rejected(tmp_path / "mixed")
    assert counted["trace", "trace_not_text"] == 3, "objects among texts are no mistake"
    single = [{"problem": problem(1), "gold": "5", "traces": held[0]}]
    assert "output, model" in said(tmp_path, single, "source.traces={column: traces}")


def test_recorded_without_traces(tmp_path: Path) -> None:
    rows = [{"problem": problem(1), "gold": "5"}]
    message = said(tmp_path, rows, "source.traces=null")
    assert "teacher.kind: recorded" in message and "names no recorded traces" in message


def test_after_think_where_nothing_was_thought(tmp_path: Path) -> None:
    rows = [{"problem": problem(1), "gold": "5", "traces": [trace(1, way) for way in range(3)]}]
    options = ("source.traces={column: traces}", "teacher.part=after_think")
    message = said(tmp_path, rows, *options)
    assert "none of the first 3 traces" in message and "</think>" in message
    rows[0]["traces"] = [f"<think>so</think>{trace(1, 0)}", f"hm</think>{trace(1, 1)}", trace(1, 2)]
    manifest = built(tmp_path / "some", write(tmp_path / "some.jsonl", rows), *options)
    assert reasons(manifest, Stage.CANVASES) == {
        ("prompt", "too_few_traces"): 1,
        ("trace", "no_end_of_thinking"): 1,
        ("trace", "prompt_rejected"): 2,
    }
    assert rejected(tmp_path / "some/run")["trace", "no_end_of_thinking"] == 1
    (one_file,) = (tmp_path / "some/run/rejected").glob("canvases-*.parquet")
    details = {row["reason"]: row["detail"] for row in pq.read_table(one_file).to_pylist()}
    assert "there is no </think>" in details["no_end_of_thinking"]
