"""The card's pictures, drawn from real release files."""

import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curation.release import figures, statistics, writer
from curation.release.figures import Picture, count, lengths, seqdep
from curation.release.verify import find_problems
from schemas.facts import ReleaseFile
from schemas.manifest import Manifest
from schemas.records import Canvas, Level, Scores, SeqDep
from support.display.digits import rounded
from tests.curation import samples

ROOT = Path(__file__).resolve().parents[2]
Row = tuple[Canvas, Scores]
Value = float | None


def at(level: Level, value: Value) -> SeqDep:
    return SeqDep(level=level, nats=value, nats_per_token=value, gains=(), tokens=(30,))


def scored(paths: Sequence[Value], steps: Sequence[Value]) -> Iterator[Row]:
    """A row for each pair of values a token."""
    for i, (path, step) in enumerate(zip(paths, steps, strict=True)):
        found = samples.scores(i)
        levels = {"path": at(Level.PATH, path), "step": at(Level.STEP, step)}
        yield samples.canvas(i), replace(found, **levels)  # type: ignore[arg-type]


def write(folder: Path, rows: Sequence[Row]) -> tuple[ReleaseFile, ...]:
    return writer.write_release(folder, samples.BUILD, rows, validation=0.3, rows_per_file=16)


def draw(folder: Path, rows: Sequence[Row]) -> tuple[tuple[Picture, ...], statistics.Stats]:
    files = write(folder, rows)
    measured = statistics.measure(folder, files)
    manifest = samples.manifest_of(samples.recipe(), list(rows), measured.grades)
    return figures.draw(folder, files, manifest, measured), measured


def chunks(picture: bytes) -> dict[bytes, bytes]:
    """A PNG's parts by their kind; of several of one kind the last."""
    at, found = 8, {}
    while at < len(picture):
        (size,) = struct.unpack_from(">I", picture, at)
        found[picture[at + 4 : at + 8]] = picture[at + 8 : at + 8 + size]
        at += 12 + size
    return found


def test_what_is_drawn_is_said_in_words(tmp_path: Path) -> None:
    values = [*np.linspace(-0.2, 0.6, 40), None, float("nan")]
    pictures, measured = draw(tmp_path, list(scored(values, values[::-1])))
    assert [picture.path for picture in pictures] == ["figures/tokens.png", "figures/seqdep.png"]
    lengths, dependence = (picture.alt for picture in pictures)
    assert measured.path_tokens.p50 is not None
    assert f"Tokens of a path: median {rounded(measured.path_tokens.p50)} tokens" in lengths
    assert "(slot of 330 marked), n = 126 (paths)" in lengths
    assert "Tokens of a summary: median 6 tokens (slot of 32 marked), n = 42 (canvases)" in lengths
    for level in ("path", "step"):
        p50 = measured.seqdep_path_nats_per_token.p50
        assert p50 is not None
        assert f"SeqDep, {level} level: median {rounded(p50)} nats a token" in dependence
    assert dependence.count("n = 40 (canvases), 2 without a value") == 2
    for picture in pictures:
        assert picture.path is not None
        drawn = (tmp_path / picture.path).read_bytes()
        parts = chunks(drawn)
        assert struct.unpack_from(">II", parts[b"IHDR"]) == (1400, 540), "twice the card's width"
        assert set(parts) <= {b"IHDR", b"pHYs", b"IDAT", b"IEND"}, "no date, no software"
        assert len(drawn) <= 80_000
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == ["seqdep.png", "tokens.png"]


AGAIN = """
import sys
from pathlib import Path
from curation.release import figures, statistics
from schemas.facts import ReleaseFile
from schemas.manifest import Manifest
run = Path(sys.argv[1])
manifest = Manifest.load(run / "manifest.json")
measured = statistics.read_stats(run / "release/stats.json")
figures.draw(run / "release", manifest.release, manifest, measured)
"""


@pytest.mark.slow
def test_the_same_rows_give_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    rows = samples.corpus(30)
    runs = [tmp_path / name for name in "ab"]
    for run in runs:
        samples.write_run(run, rows)
    first = {p.name: p.read_bytes() for p in (runs[0] / "release/figures").iterdir()}
    assert set(first) == {"tokens.png", "seqdep.png"}
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nsavefig.bbox: tight\naxes.grid: True\n")
    other = {"MATPLOTLIBRC": str(tmp_path), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run(
        [sys.executable, "-c", AGAIN, str(runs[1])],
        env={**os.environ, **other, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert {p.name: p.read_bytes() for p in (runs[1] / "release/figures").iterdir()} == first
    assert find_problems(runs[1]) == []


def test_without_a_scorer_or_rows_nothing_is_drawn_of_them(tmp_path: Path) -> None:
    bare = Scores(
        prompt_id=samples.prompt(1).id,
        path=None,
        step=None,
        window=None,
        summary_gain=None,
        scorer="",
        scorer_revision="",
    )
    (only,), _ = draw(tmp_path / "unscored", [(samples.canvas(1), bare)])
    assert only.path == "figures/tokens.png"
    (_, half), _ = draw(tmp_path / "half", list(scored([0.1, 0.2], [None, None])))
    assert half.alt.endswith("SeqDep, step level: none of the canvases has a value.")
    assert draw(tmp_path / "empty", [])[0] == ()
    assert not (tmp_path / "empty" / "figures").exists()


HOSTILE: dict[str, list[Value]] = {
    "no number": [None, float("nan"), float("inf"), float("-inf"), 0.25],
    "one row": [0.25],
    "all equal": [0.3] * 20,
    "all zero": [0.0] * 20,
    "hardly differing": [5.0, 5.0001],
    "below zero": [-3.0, -2.0],
    "far out": [*np.linspace(0, 1, 100), 1e5, -1e5],
    "out of this world": [1e308, -1e308],
    "too small": [5e-324, -5e-324],
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("error")
def test_hostile_values_are_drawn_without_a_warning(name: str, tmp_path: Path) -> None:
    pictures, measured = draw(tmp_path, list(scored(HOSTILE[name], HOSTILE[name])))
    assert len(pictures) == 2
    has_several = measured.seqdep_path_nats_per_token.count > 1
    assert (pictures[1].path is not None) is has_several, "one value is no picture"
    for picture in pictures:
        if picture.path:
            assert 5_000 < (tmp_path / picture.path).stat().st_size <= 80_000
        else:
            assert picture.alt.startswith("SeqDep, path level: 0.25 nats a token, not drawn")


@given(
    st.lists(
        st.none() | st.floats(-1, 1) | st.floats(-1e9, 1e9) | st.just(float("nan")),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=40, deadline=None)
@example([1e5, *[0.5] * 30])
def test_every_value_is_in_a_bar(values: list[Value]) -> None:
    rows = list(scored(values, values[::-1]))
    with TemporaryDirectory() as folder:
        files = write(Path(folder), rows)
        measured = statistics.measure(Path(folder), files)
        panels = [
            *lengths(samples.manifest_of(samples.recipe(), rows), measured),
            *seqdep(measured),
        ]
        counts = count(Path(folder), files, panels)
    for panel in panels:
        found, edges = counts[panel.column], panel.edges
        assert found.bins.sum() == panel.spread.count
        assert len(edges) < 200
        assert (np.diff(edges) > 0).all()
        away = np.remainder(edges - panel.mark, edges[1] - edges[0])
        assert np.minimum(away, edges[1] - edges[0] - away).max() < 1e-6 * max(1, *np.abs(edges))
    finite = [value for value in values if value is not None and np.isfinite(value)]
    inside = [value for value in finite if panels[2].edges[0] <= value <= panels[2].edges[-1]]
    assert counts[panels[2].column].beyond == len(finite) - len(inside)


def test_a_changed_or_strange_picture_is_found(tmp_path: Path) -> None:
    run = tmp_path / "run"
    samples.write_run(run, samples.corpus(4))
    named = {file.path for file in Manifest.load(run / "manifest.json").files}
    assert {"release/figures/tokens.png", "release/figures/seqdep.png"} <= named
    (run / "release/figures/mine.png").write_bytes(b"x")
    assert find_problems(run) == ["release/figures/mine.png: not part of this build"]
    (run / "release/figures/mine.png").unlink()
    (run / "release/figures/tokens.png").unlink()
    assert find_problems(run) == ["release/figures/tokens.png: missing"]


def test_drawing_alone_loads_matplotlib() -> None:
    code = (
        "import sys, curation.stages.release_stage, curation.release.verify\n"
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True
    )
