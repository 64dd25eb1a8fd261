"""The rows of docs/sequentiality.md, and the tables and pictures that are made of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from schemas.records import Level
from support.stats import Interval
from tools.sequentiality import collect, inputs, page
from tools.sequentiality.collect import Row


def rows() -> list[Row]:
    """Forty documents of two series: windows gain 1 nat a token, the short last one 3."""
    draw = np.random.default_rng(0)
    made = []
    for number in range(40):
        full, rest = 2 + number // 4, 1 + int(draw.integers(40))
        tokens = (*[page.WINDOW] * full, rest)
        gains = (*[1.0 * page.WINDOW] * (full - 1), 3.0 * rest)
        made.append(
            Row(
                series="web",
                level="window",
                row=number,
                is_cut=False,
                tokens=tokens,
                gains=gains,
            )
        )
        made += (
            Row(
                series=series,
                level="path",
                row=number,
                is_cut=False,
                tokens=(50, 50 + number),
                gains=(nats * (50 + number),),
            )
            for series, nats in (("others", 0.2), ("canvas", 0.3), ("repeated", 1.2))
        )
    return made


def test_rows_survive_their_file(tmp_path: Path) -> None:
    collect.write(rows(), tmp_path / "rows.parquet")
    found = collect.read(tmp_path / "rows.parquet")
    assert [(r.series, r.level, r.row, r.tokens) for r in found] == [
        (r.series, r.level, r.row, r.tokens) for r in rows()
    ]
    assert [r.record.nats_per_token for r in found] == pytest.approx(
        [r.record.nats_per_token for r in rows()], abs=1e-6
    )


def test_the_short_last_window_alone_makes_windows_fall() -> None:
    every = page.of(rows(), "web", Level.WINDOW).curve()
    assert page.trend(every) == "falling"
    full = page.full_windows(rows(), "web")
    assert full.nats == pytest.approx(np.ones(len(full.nats)))
    assert page.trend(full.curve()) == "not shown"


def test_the_share_lies_between_the_controls() -> None:
    found = page.share(rows())
    assert isinstance(found, Interval)
    assert found == pytest.approx((0.1, 0.1, 0.1))
    text = "\n".join(table.markdown() for table in page.tables(rows()))
    assert "10.0 [10.0, 10.0] %" in text and "| canvases | 40 | 0.300 [0.300, 0.300] |" in text


def test_pictures_are_drawn_without_a_model(tmp_path: Path) -> None:
    page.draw(rows(), tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        f"{n}.{s}" for n in ("figure_3", "figure_7", "windows") for s in ("png", "svg")
    }
    assert "web text" in (tmp_path / "figure_3.svg").read_text()


def test_the_committed_tables_are_those_of_the_committed_rows() -> None:
    text = "\n".join(t.markdown() for t in page.tables(collect.read(page.FOLDER / "rows.parquet")))
    assert (page.FOLDER / "tables.md").read_text() == text
    assert (page.FOLDER / "rows.parquet").stat().st_size < 3_000_000


def test_the_order_of_a_corpus_is_drawn_once(shared_data: Path) -> None:
    first, again = (inputs.rows("math500", shared_data) for _ in range(2))
    assert first == again and len(first) == 500
    with (shared_data / "math500" / "test.jsonl").open() as lines:
        source = [json.loads(line)["problem"] for line in lines]
    assert [row["problem"] for row in first] != source
    assert sorted(row["problem"] for row in first) == sorted(source)
    assert len(inputs.rows("traces", shared_data)) == 150  # one of each prompt
