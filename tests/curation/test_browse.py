import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation import browse, terminal
from curation.release import data_path
from curation.rows import read_rows
from schemas.errors import DamagedError, UserError
from schemas.manifest import Manifest
from tests.curation import samples


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("browse") / "run"
    recipe = samples.recipe(release={"validation": 0.25, "rows_per_file": 8, "notice": "not\nso"})
    samples.write_run(run, samples.corpus(24), recipe)
    return run


def test_the_overview_tells_counts_yields_and_reasons(run: Path) -> None:
    text = browse.overview(run)
    assert "26 in = 24 released + 2 rejected (92.3% released)" in text
    assert "24 of P = 3: 1,022 masks (3 x 330 + 32), 1,098 positions with headers" in text
    assert "NOTICE: not so" in text
    assert "saw 25, dropped 1 (4.0%), threshold=0.5" in text
    assert re.search(r"canvases +trace +not_selected +24", text)
    assert "nats a token" in text
    assert str(run) not in text


def test_rejections_come_by_reason_with_an_example(run: Path) -> None:
    lines = browse.rejections(run).splitlines()
    assert lines[0].split()[:4] == ["canvases", "trace", "not_selected", "24"]
    assert "problems.jsonl row 1 trace 9: because of not_selected" in lines[0]
    assert len(lines) == 4
    assert browse.top_reasons(run) == "canvases too_few_traces (1), release seqdep_high (1)"


def test_a_canvas_is_found_by_number_and_by_id(run: Path) -> None:
    manifest = Manifest.load(run / "manifest.json")
    rows = [row for file in manifest.release for row in read_rows(data_path(run / "release", file))]
    for number in (0, 7, 8, 23):
        row = rows[number]
        shown = browse.show(run, str(number), 100)
        assert shown.startswith(row.id)
        assert shown == browse.show(run, row.id, 100)
        assert f"gold {row.gold};" in shown
        assert row.summary in shown
    prefix = next(
        row.id[:k]
        for row in rows
        for k in range(1, 17)
        if sum(other.id.startswith(row.id[:k]) for other in rows) == 1 and not row.id[:k].isdigit()
    )
    assert browse.show(run, prefix, 100).startswith(prefix)


@pytest.mark.parametrize("which", ["24", "-1", "zz", "", "²", "9" * 40, "\x1b[2J"])
def test_no_such_canvas_is_the_users_mistake(run: Path, which: str) -> None:
    with pytest.raises(UserError, match="no canvas") as caught:
        browse.show(run, which, 100)
    assert "\x1b" not in str(caught.value)


def test_an_ambiguous_id_is_the_users_mistake(run: Path) -> None:
    with pytest.raises(UserError, match="24 canvases begin with '000000'"):
        browse.show(run, "000000", 100)


def test_paths_stand_side_by_side_where_there_is_room(run: Path) -> None:
    wide, narrow = browse.show(run, "1", 120), browse.show(run, "1", 50)
    heading = next(line for line in wide.splitlines() if line.startswith("path 1"))
    assert "path 2" in heading
    assert "path 3" in heading
    assert "✓ correct" in heading
    assert "✗ wrong" in wide + browse.show(run, "4", 120) + browse.show(run, "5", 120)
    assert sum(line.startswith("path ") for line in narrow.splitlines()) == 3
    for text, cells in ((wide, 120), (narrow, 50)):
        assert max(map(terminal.width, text.splitlines())) <= cells


def test_escapes_in_a_trace_reach_no_terminal(tmp_path: Path) -> None:
    nasty = "\x1b]0;owned\x07 \x1b[2J\r\x9b31m \u202egnp \u200b \x08\x7f 漢字 e\u0301 \u2028 end"
    samples.write_run(tmp_path, [samples.with_text(0, nasty)], samples.recipe())
    text = browse.show(tmp_path, "0", 60) + browse.overview(tmp_path) + browse.rejections(tmp_path)
    bad = {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")}
    assert bad == set()
    assert "␛" in text
    assert "<U+202E>" in text
    assert "漢字" in text


def test_an_unfinished_or_damaged_run_is_one_line(run: Path, tmp_path: Path) -> None:
    for look in (browse.overview, browse.rejections, browse.show):
        with pytest.raises(UserError, match="no complete run"):
            look(tmp_path)
    samples.write_run(tmp_path, [])
    assert browse.show(tmp_path) == "no canvas was released"
    assert "0 of P = 3" in browse.overview(tmp_path)
    samples.write_run(tmp_path / "b", samples.corpus(3))
    for path in (tmp_path / "b").rglob("*.parquet"):
        path.write_bytes(b"no")
    (tmp_path / "b" / "release" / "stats.json").unlink()
    for look in (browse.overview, browse.rejections, browse.show):
        with pytest.raises(DamagedError) as caught:
            look(tmp_path / "b")
        assert "\n" not in str(caught.value)


@given(st.text(), st.integers(2, 40))
def test_wrapping_fits_and_loses_nothing(text: str, cells: int) -> None:
    shown = terminal.visible(text)
    lines = terminal.wrap(shown, cells)
    assert all(terminal.width(line) <= cells for line in lines)
    squeezed = re.sub(r"[ \n]", "", shown)
    assert re.sub(r"[ \n]", "", "".join(lines)) == squeezed


@given(st.text())
def test_visible_text_moves_no_cursor(text: str) -> None:
    shown = terminal.visible(text)
    assert not {c for c in shown if c != "\n" and unicodedata.category(c)[0] == "C"}
    assert terminal.visible(shown) == shown
    assert "\n" not in terminal.one_line(text)


@given(st.lists(st.text(), min_size=1, max_size=5), st.integers(10, 120))
def test_columns_stay_within_the_width(texts: list[str], total: int) -> None:
    shown = terminal.columns([terminal.visible(text) for text in texts], total)
    assert all(terminal.width(line) <= total for line in shown.split("\n"))
