"""Hostile rows through the whole pipeline: each is counted, once; none stops it or takes long."""

import json
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curation.release.verify import find_problems
from schemas.records import Stage
from scorers.answers.grade import GradePool
from tests.builds import make
from tests.soak import hostile

SECONDS_PER_ROW = 0.1  # on average, with what the answer checker is given before it is killed


def released(run: Path) -> list[dict[str, object]]:
    paths = sorted((run / "release/data").glob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def check_conservation(run: Path, rows: int) -> None:
    """Every row and every trace is released or rejected, once: counted apart from the manifest."""
    assert find_problems(run) == []
    manifest = json.loads((run / "manifest.json").read_text())
    places: Counter[object] = Counter()
    traces: Counter[tuple[object, object]] = Counter()
    on_reading = 0
    for row in released(run):
        places[row["source_row"]] += 1
        for path in row["paths"]:  # type: ignore[attr-defined]
            traces[row["id"], path["trace"]["index"]] += 1
    for file in sorted((run / "rejected").glob("*.parquet")):
        for row in pq.read_table(file).to_pylist():
            assert row["reason"]
            if row["index"] is None:
                places[row["row"]] += 1
            elif row["stage"] == Stage.PROMPTS:
                on_reading += 1
            else:
                traces[row["prompt_id"], row["index"]] += 1
    assert places == Counter(range(1, rows + 1))
    had: Counter[tuple[object, object]] = Counter()
    for file in sorted((run / Stage.TRACES).glob("*.parquet")):
        table = pq.read_table(file, columns=["prompt_id", "index"])
        had.update((row["prompt_id"], row["index"]) for row in table.to_pylist())
    assert traces == had
    assert set(had.values()) == {1}
    assert manifest["prompts"]["in"] == rows
    assert manifest["traces"]["in"] == had.total() + on_reading
    assert manifest["traces"]["in"] == manifest["sources"][0]["traces"]


@pytest.mark.parametrize("rows", [500, pytest.param(20_000, marks=pytest.mark.soak)])
def test_hostile_rows_are_conserved(tmp_path: Path, rows: int) -> None:
    recipe = hostile.write(tmp_path, seed=rows, rows=rows)
    began = time.monotonic()
    outcome = make(tmp_path / "run", str(recipe.with_suffix("")))
    seconds = time.monotonic() - began
    print(f"{rows} rows, {outcome.canvases} canvases: {seconds:.0f} s")
    assert outcome.canvases > rows / 10
    check_conservation(tmp_path / "run", rows)
    assert seconds < 60 + rows * SECONDS_PER_ROW


@pytest.mark.soak
def test_hostile_rows_are_scored(tmp_path: Path) -> None:
    rows = 300
    recipe = hostile.write(tmp_path, seed=1, rows=rows)
    outcome = make(tmp_path / "run", str(recipe.with_suffix("")), "scorer={path: tiny/teacher}")
    assert outcome.canvases > rows / 10
    check_conservation(tmp_path / "run", rows)
    for row in released(tmp_path / "run"):  # a prompt may be longer than the scorer reads
        assert row["seqdep_path_nats"] is not None or len(str(row["prompt"])) > 1000


def test_the_same_seed_gives_the_same_rows() -> None:
    lines = [hostile.line(3, number) for number in range(50)]
    assert lines == [hostile.line(3, number) for number in range(50)]
    assert all(line.strip() and b"\n" not in line for line in lines)


@pytest.mark.slow
def test_no_text_keeps_this_process_busy() -> None:
    """The answer checker is killed in its own process; what runs here must be quick by itself.

    A text counts as slow if it was so three times: once may be a collection of garbage, and the
    threads that other tests left do not count.
    """

    def seconds(pair: tuple[str, str]) -> float:
        began = time.thread_time()
        pool.grade([pair])
        return time.thread_time() - began

    slow = []
    with GradePool(workers=1, timeout_seconds=0.5) as pool:
        for text in hostile.texts():
            for pair in ((text, "7"), ("The answer is 7.", text)):
                if all(seconds(pair) > 1 for _ in range(3)):
                    slow.append((text[:40], len(text)))
    assert not slow
