import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curation.inspect import layout, terminal_view
from support.display import text as terminal
from support.errors import DamagedError, UserError
from tests.curation import samples


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("browse") / "run"
    recipe = samples.recipe(release={"validation": 0.25, "rows_per_file": 8, "notice": "not\nso"})
    samples.write_run(run, samples.corpus(24), recipe)
    return run


def test_the_overview_tells_counts_yields_and_reasons(run: Path) -> None:
    text = terminal_view.overview(run)
    assert "26 in = 24 released + 2 rejected (92.3% released)" in text
    assert "24 of P = 3: 1,022 masks (3 x 330 + 32), 1,098 positions with headers" in text
    assert "NOTICE: not so" in text
    assert "saw 25, dropped 1 (4.0%), learnt threshold=0.5" in text
    assert re.search(r"canvases +trace +not_selected +24", text)
    assert "nats a token" in text
    assert str(run) not in text


def test_figures_have_as_many_digits_as_a_reader_can_use(tmp_path: Path) -> None:
    manifest = samples.write_run(tmp_path, samples.corpus(24))
    learnt = manifest.filters[0].model_copy(update={"frozen": "0.04392016040227436"})
    manifest.model_copy(update={"filters": (learnt,)}).save(tmp_path / "manifest.json")
    text = terminal_view.overview(tmp_path)
    assert "dropped 1 (4.0%), learnt 0.04392\n" in text
    assert not re.search(r"\d\.\d{6}", text)


def test_the_most_frequent_reasons_come_first(run: Path) -> None:
    assert terminal_view.top_reasons(run) == "canvases too_few_traces (1), release seqdep_high (1)"


def test_an_unfinished_or_damaged_run_is_one_line(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no complete run"):
        terminal_view.overview(tmp_path)
    samples.write_run(tmp_path, [])
    assert "0 of P = 3" in terminal_view.overview(tmp_path)
    samples.write_run(tmp_path / "b", samples.corpus(3))
    for path in (tmp_path / "b").rglob("*.parquet"):
        path.write_bytes(b"no")
    (tmp_path / "b" / "release" / "stats.json").unlink()
    with pytest.raises(DamagedError) as caught:
        terminal_view.overview(tmp_path / "b")
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


@given(st.lists(st.text(), min_size=1, max_size=7), st.integers(10, 120))
@example(["\xa0"], 10)
def test_columns_stay_within_the_width_and_lose_nothing(texts: list[str], total: int) -> None:
    parts = [layout.Part(terminal.visible(text)) for text in texts]
    rows = [line.plain for line in layout.columns([[part] for part in parts], total)]
    assert all(terminal.width(line) <= total for line in rows)
    wanted = Counter("".join(part.text for part in parts))
    found = Counter("".join(rows))
    assert all(found[char] >= n for char, n in wanted.items() if char not in " \n")


def test_columns_fill_the_width_in_equal_bands() -> None:
    blocks = [[layout.Part(f"path {j}")] for j in range(6)]
    of = {
        total: [len(line.plain.split("│")) for line in layout.columns(blocks, total) if line]
        for total in (200, 120, 60, 30)
    }
    assert of == {200: [6], 120: [3, 3], 60: [2, 2, 2], 30: [1] * 6}
