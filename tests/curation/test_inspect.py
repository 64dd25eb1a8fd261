"""Canvases are found, read and laid out; nothing in them reaches the terminal as a command."""

import dataclasses
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from curation.inspect import query
from curation.inspect.query import Query, find
from curation.inspect.rejections import RejectedItem, find_rejections
from curation.inspect.terminal_view import show, show_rejection
from curation.release import writer
from curation.release.reader import ReleaseReader, rows
from curation.release.rows import read_rows
from curation.release.rows import released as made
from schemas import arrow
from schemas.manifest import Manifest
from schemas.records import Level, Rejection, Released, Siblings, Stage
from support.display import text as terminal
from support.errors import DamagedError, UserError
from tests.curation import samples

NASTY = (
    "\x1b]0;owned\x07 \x1b[2J\r\x9b31m \u202egnp \u200b \x08\x7f "
    "[bold]b[/bold] [link=x] 漢字 \u2028 end"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("inspect") / "run"
    recipe = samples.recipe(release={"validation": 0.25, "rows_per_file": 8})
    samples.write_run(run, samples.corpus(24), recipe)
    return run


@pytest.fixture(scope="module")
def released(run: Path) -> list[Released]:
    files = Manifest.load(run / "manifest.json").release
    return [r for file in files for r in read_rows(writer.data_path(run / "release", file))]


def found(run: Path, **asked: object) -> list[Released]:
    query = Query(**asked)  # type: ignore[arg-type]
    query.check()
    corpus = ReleaseReader(run)
    places = find(corpus, query).places
    return [one for _, row in rows(places) for one in arrow.records(Released, row)]


def dropped(run: Path, **asked: object) -> tuple[list[RejectedItem], int]:
    found, total = find_rejections(ReleaseReader(run), Query(**asked))  # type: ignore[arg-type]
    return list(found), total


def moves(text: str) -> set[str]:
    """Characters that a terminal might obey."""
    return {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")}


def test_a_canvas_is_found_by_number_and_by_id(run: Path, released: list[Released]) -> None:
    for number in (0, 7, 8, 23):
        assert found(run, canvas=str(number + 1)) == [released[number]]
        assert found(run, canvas=released[number].id) == [released[number]]
        assert found(run, id=released[number].id) == [released[number]]
    prefix = next(
        row.id[:k]
        for row in released
        for k in range(1, 17)
        if sum(other.id.startswith(row.id[:k]) for other in released) == 1
    )
    assert [row.id.startswith(prefix) for row in found(run, id=prefix)] == [True]


def test_without_a_search_the_first_or_any_by_a_seed(run: Path, released: list[Released]) -> None:
    assert found(run) == released[:1]
    assert found(run, limit=1000) == released
    assert found(run, seed=1, limit=5) == found(run, seed=1, limit=5)
    drawn = {row.id for seed in range(20) for row in found(run, seed=seed)}
    assert len(drawn) > 5
    assert len({row.id for row in found(run, seed=3, limit=1000)}) == 24


def test_grep_looks_for_plain_text_in_prompts(run: Path, released: list[Released]) -> None:
    expected = [row for row in released if "has 1" in row.prompt]
    assert 1 < len(expected) < 24
    assert found(run, grep="HAS 1", limit=100) == expected
    assert found(run, grep="has 1", limit=2) == expected[:2]
    assert find(ReleaseReader(run), Query(grep="has 1")).total == len(expected)
    with pytest.raises(UserError, match=r"no canvas of 24 matches --grep 'has \.'"):
        found(run, grep="has .")


def test_seqdep_bounds_select_and_order(run: Path, released: list[Released]) -> None:
    value = {row.id: row.seqdep_path_nats_per_token or 0.0 for row in released}
    above = [value[row.id] for row in found(run, above=0.06, limit=100)]
    below = [value[row.id] for row in found(run, below=0.06, limit=100)]
    assert above == sorted((v for v in value.values() if v > 0.06), reverse=True)
    assert below == sorted(v for v in value.values() if v < 0.06)
    assert [value[row.id] for row in found(run, above=0.06, limit=2)] == above[:2]
    both = found(run, above=0.055, below=0.06, grep="has 7")
    assert [row.id for row in both] == [samples.prompt(7).id]
    with pytest.raises(UserError, match=r"path level goes from 0\.05 to 0\.073"):
        found(run, above=9.0)
    with pytest.raises(UserError, match="step level was not measured"):
        found(run, above=0.0, level=Level.STEP)


def test_reasons_show_what_was_rejected(run: Path) -> None:
    (first, *_), total = dropped(run, reason="not_selected", limit=3)
    assert total == 24
    assert first.rejection.detail == "because of not_selected"
    assert first.prompt == samples.prompt(0).text and first.gold == samples.prompt(0).gold
    assert first.text is None  # trace 9 is in no shard
    (only,), total = dropped(run, reason="not_selected", grep="has 17", limit=9)
    assert total == 1 and only.rejection.prompt_id == samples.prompt(17).id
    (only,), total = dropped(run, reason="not_selected", id=samples.prompt(4).id)
    assert total == 1 and only.prompt == samples.prompt(4).text
    text = show_rejection(only, 80).plain
    assert "trace 10 of prompt" in text and "because of not_selected" in text
    with pytest.raises(
        UserError, match=r"'not_selected' \(24 traces\), nothing matches --grep 'z'"
    ):
        dropped(run, reason="not_selected", grep="z")
    with pytest.raises(UserError, match=r"did you mean 'not_selected'.*not_selected \(24 traces"):
        dropped(run, reason="not_selectd")


@pytest.mark.parametrize("which", ["0", "25", "-1", "zz", "", "²", "9" * 40, "\x1b[2J"])
def test_no_such_canvas_is_the_users_mistake(run: Path, which: str) -> None:
    with pytest.raises(UserError, match="no canvas") as caught:
        found(run, canvas=which)
    assert not moves(str(caught.value))


def test_an_id_that_is_none_is_told_its_fate(run: Path, released: list[Released]) -> None:
    with pytest.raises(UserError, match="24 canvases begin with '000000'"):
        found(run, id="000000")
    near = f"{released[5].id[:-1]}x"
    with pytest.raises(UserError, match=f"nearest ids: {released[5].id}, "):
        found(run, id=near)
    late = samples.prompt(9_001).id
    with pytest.raises(UserError, match=f"{late} was rejected at stage release: see --reason seq"):
        found(run, id=late)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"canvas": "1", "grep": "x"}, "--canvas"),
        ({"canvas": "1", "seed": 1}, "--canvas"),
        ({"seed": 1, "grep": "x"}, "--seed"),
        ({"reason": "x", "above": 0.1}, "--reason"),
        ({"level": Level.STEP}, "--level"),
        ({"above": float("nan")}, "NaN"),
        ({"above": 0.2, "below": 0.2}, "no SeqDep lies above 0.2 and below 0.2"),
        ({"grep": "\udcff"}, "--grep: is not valid UTF-8"),
    ],
)
def test_conditions_that_do_not_go_together(asked: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Query(**asked).check()  # type: ignore[arg-type]


def test_a_dataset_alone_can_be_looked_at(run: Path, released: list[Released]) -> None:
    for folder in (run / "release", run / "release" / "data"):
        assert found(folder, limit=100) == released
        assert found(folder, id=released[9].id) == [released[9]]
    file = min((run / "release" / "data").iterdir())
    assert found(file) == released[:1]
    with pytest.raises(UserError, match="is a dataset alone"):
        dropped(run / "release", reason="not_selected")
    with pytest.raises(UserError, match="has no column 'id'"):
        ReleaseReader(run / "scored")


def test_unfinished_and_damaged_runs_are_one_line(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such run"):
        ReleaseReader(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no complete run"):
        ReleaseReader(tmp_path)
    samples.write_run(tmp_path, samples.corpus(3))
    (data,) = (tmp_path / "release" / "data").glob("train*")
    (traces, prompts) = (tmp_path / "traces/00000.parquet", tmp_path / "prompts/00000.parquet")
    whole = data.read_bytes()
    looks: list[tuple[Path, Callable[[], object]]] = [
        (data, lambda: found(tmp_path)),
        (data, lambda: found(tmp_path, grep="apples")),
        (traces, lambda: dropped(tmp_path, reason="not_selected")),
        (prompts, lambda: dropped(tmp_path, reason="not_selected", grep="apples")),
    ]
    for path, look in looks:
        look()
        before = path.read_bytes()
        path.write_bytes(before[:40] + bytes(len(before) // 2) + before[len(before) // 2 + 40 :])
        with pytest.raises(DamagedError, match="cannot be read") as caught:
            look()
        assert path.name in str(caught.value) and "\n" not in str(caught.value)
        path.write_bytes(before)
    assert data.read_bytes() == whole


def test_paths_stand_abreast_where_there_is_room(released: list[Released]) -> None:
    row = released[1]
    wide, narrow = show(row, 120).plain, show(row, 50).plain
    heading = next(line for line in wide.splitlines() if line.startswith("path 1"))
    assert "path 2" in heading and "path 3" in heading and "✓ correct" in heading
    assert sum(line.startswith("path ") for line in narrow.splitlines()) == 3
    piped = show(row, 120, abreast=False).plain
    assert sum(line.startswith("path ") for line in piped.splitlines()) == 3
    for text, cells in ((wide, 120), (narrow, 50), (piped, 120)):
        assert max(map(terminal.width, text.splitlines())) <= cells
        for part in (row.id, row.summary, f"gold answer: {row.gold}", "SeqDep", "9 tokens"):
            assert part in text
    assert "✗ wrong" in "".join(show(one, 120).plain for one in released)


def test_every_paths_own_figures_stand_above_it() -> None:
    canvas, scores = samples.canvas(1), samples.scores(1)
    matrix = ((None, 0.5, -0.25), (0.125, None, 0.0), (0.75, 0.1, None))
    siblings = Siblings(gains_per_token=matrix, near_copies=((0, 1),))
    row = made(canvas, dataclasses.replace(scores, siblings=siblings))
    parts = show(row, 50).plain.split("\npath ")
    one, two, three = (part for part in parts if part[:3] in ("1  ", "2  ", "3  "))
    assert "SeqDep begins with path 2" in one
    assert "from path 2 +0.125, 3 +0.750" in one
    assert "from path 1 +0.500, 3 +0.100" in two
    assert "near copy of path 1" in two and "near copy" not in one + three
    assert "SeqDep +0.25 nats (+0.028 a token)" in two
    assert "SeqDep +0.77 nats (+0.070 a token)" in three


def test_hostile_text_has_no_effect(tmp_path: Path) -> None:
    samples.write_run(tmp_path, [samples.with_text(0, NASTY)], samples.recipe())
    (row,) = found(tmp_path)
    nasty = Rejection(
        stage=Stage.CANVASES,
        prompt_id=NASTY,
        source=NASTY,
        row=1,
        index=1,
        reason=NASTY,
        detail=NASTY,
    )
    lost = RejectedItem(rejection=nasty, prompt=NASTY, gold=NASTY, text=NASTY)
    for text in (show(row, 60), show(row, 200), show_rejection(lost, 60)):
        assert not moves(text.plain)
        for shown in ("␛", "<U+202E>", "漢字", "[bold]b[/bold]", "[link=x]"):
            assert shown in text.plain
        console = Console(force_terminal=True, color_system="standard", width=60)
        with console.capture() as painted:
            console.print(text, soft_wrap=True)
        assert set(painted.get().split("\x1b")[0]) <= set(text.plain) | {"\n"}
        ours = {"[0m", "[1m", "[2m", "[31m", "[32m", "[33m"}
        assert {part.partition("m")[0] + "m" for part in painted.get().split("\x1b")[1:]} <= ours


def test_a_giant_text_is_cut_on_display_with_a_count(tmp_path: Path) -> None:
    giant = "漢" * 500_000 + "x" * 500_000
    samples.write_run(tmp_path, [samples.with_text(0, giant)], samples.recipe())
    (row,) = found(tmp_path)
    assert row.paths[0].text == giant
    text = show(row, 120).plain
    assert len(text) < 100_000
    assert "[980,000 more characters]" in text.replace("│", "").replace("\n", "")


def test_more_rows_than_a_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "ROW_GROUP", 10)
    samples.write_run(tmp_path, samples.corpus(64), samples.recipe())
    files = Manifest.load(tmp_path / "manifest.json").release
    paths = [writer.data_path(tmp_path / "release", file) for file in files]
    assert max(pq.read_metadata(path).num_row_groups for path in paths) > 1
    everything = [row for path in paths for row in read_rows(path)]
    for number in (0, 9, 10, 15, 16, 63):
        assert found(tmp_path, canvas=str(number + 1)) == [everything[number]]
    by_seqdep = found(tmp_path, above=0.0, limit=1000)
    assert len(by_seqdep) == 64
    assert [row.seqdep_path_nats_per_token for row in by_seqdep] == sorted(
        (row.seqdep_path_nats_per_token for row in everything), reverse=True, key=lambda v: v or 0.0
    )
    assert (
        len({place.number for place in find(ReleaseReader(tmp_path), Query(grep="", limit=99))[0]})
        == 64
    )


def test_first_counts_what_it_leaves_out() -> None:
    assert query.first(iter("abcd"), 2) == (["a", "b"], 4)
    assert query.first(iter("abcd"), 9) == (["a", "b", "c", "d"], 4)
    assert query.first([3.0, 1.0, 2.0], 2, lambda v: v) == ([1.0, 2.0], 3)
    assert query.first([], 2, lambda v: v) == ([], 0)


def test_a_rejection_is_flat_in_json(run: Path) -> None:
    (one,), _ = dropped(run, reason="seqdep_high")
    fields = json.loads(json.dumps(one.fields()))
    assert fields["stage"] == "release" and fields["index"] is None
    assert fields["prompt"] == samples.prompt(9_001).text
    more = {"prompt", "gold", "text", "answers"}
    assert {*fields} == {*arrow.schema_of(Rejection).names} | more
