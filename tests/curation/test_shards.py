"""Shards: atomic, marked, fingerprinted, locked."""

import multiprocessing
import os
from pathlib import Path

import pytest

from curation.pipeline import run_build
from curation.run_store import shards
from schemas import arrow
from schemas.manifest import Manifest
from schemas.recipe import load_recipe
from schemas.records import Prompt, Rejection, Stage
from support.errors import DamagedError, UserError
from support.files import lock
from support.paths import ROOT


def prompt(i: int) -> Prompt:
    return Prompt(id=str(i), text=f"What is {i}?", gold=str(i), source="s", row=i, license="mit")


def drop(i: int, index: int | None = None) -> Rejection:
    return Rejection(
        stage=Stage.PROMPTS,
        prompt_id=str(i),
        source="s",
        row=i,
        index=index,
        reason="r",
        detail="d",
    )


def write(run: Path, rows: int, fingerprint: str = "f", index: int = 0) -> shards.ShardMarker:
    data = arrow.table(Prompt, [prompt(i) for i in range(rows)])
    return shards.write(
        run, Stage.PROMPTS, index, fingerprint, data, [drop(9), drop(8), drop(7, 1)]
    )


def test_a_shard_counts_only_under_its_fingerprint(tmp_path: Path) -> None:
    mark = write(tmp_path, 3)
    assert shards.matching_marker(tmp_path, Stage.PROMPTS, 0, "f") == mark
    assert shards.matching_marker(tmp_path, Stage.PROMPTS, 0, "g") is None
    assert shards.matching_marker(tmp_path, Stage.PROMPTS, 1, "f") is None
    assert mark.rows == 3
    assert [(r.kind, r.count) for r in mark.rejected] == [("prompt", 2), ("trace", 1)]
    table = shards.read(tmp_path, Stage.PROMPTS, 0)
    assert list(arrow.records(Prompt, table)) == [prompt(i) for i in range(3)]


def test_same_rows_same_bytes(tmp_path: Path) -> None:
    assert write(tmp_path / "a", 500).files == write(tmp_path / "b", 500).files


def test_any_flipped_byte_is_found(tmp_path: Path) -> None:
    write(tmp_path, 3)
    for path in (tmp_path / "prompts/00000.parquet", tmp_path / "rejected/prompts-00000.parquet"):
        whole = path.read_bytes()
        for at in range(0, len(whole), 97):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            assert shards.matching_marker(tmp_path, Stage.PROMPTS, 0, "f") is None
        path.write_bytes(whole)
    assert shards.matching_marker(tmp_path, Stage.PROMPTS, 0, "f")


def test_a_lost_file_or_mark_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, 3)
    (tmp_path / "prompts/00000.json").write_text("{")
    assert shards.matching_marker(tmp_path, Stage.PROMPTS, 0, "f") is None
    (tmp_path / "prompts/00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(DamagedError, match=r"00000\.parquet"):
        shards.read(tmp_path, Stage.PROMPTS, 0)


def test_shards_of_a_longer_build_go_but_traces_stay(tmp_path: Path) -> None:
    for index in range(3):
        write(tmp_path, 2, index=index)
        shards.write(tmp_path, Stage.TRACES, index, "f", arrow.table(Prompt, []), [])
    stray = tmp_path / "prompts" / "00002 (copy).json"  # as some programs leave them
    stray.write_bytes(b"{}")
    shards.drop_after(tmp_path, Stage.PROMPTS, 1)
    assert stray.exists()
    stray.unlink()
    shards.drop_after(tmp_path, Stage.TRACES, 1)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    assert [n for n in names if n.startswith(("prompts/", "rejected/"))] == [
        "prompts/00000.json",
        "prompts/00000.parquet",
        "rejected/prompts-00000.parquet",
    ]
    assert "traces/00002.parquet" in names
    assert "traces/00002.json" not in names


def _hold(run: str, ready: "multiprocessing.synchronize.Event") -> None:
    with lock(Path(run)):
        ready.set()
        ready.wait(0)
        import time

        time.sleep(60)


def test_two_builds_on_one_directory(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path), ready))
    holder.start()
    try:
        assert ready.wait(30)
        with pytest.raises(UserError, match="another command"), lock(tmp_path):
            pass
        holder.kill()
        holder.join()
        with lock(tmp_path):
            assert (tmp_path / ".lock").exists()
    finally:
        holder.kill()


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"), lock(tmp_path / "file" / "run"):
        pass


def test_a_changed_mark_is_no_mark(tmp_path: Path) -> None:
    write(tmp_path, 3)
    path = tmp_path / "prompts/00000.json"
    text = path.read_text()
    path.write_text(text.replace('"count": 2', '"count": 3'))
    assert shards.read_marker(tmp_path, Stage.PROMPTS, 0) is None
    path.write_text(text + " ")
    assert shards.read_marker(tmp_path, Stage.PROMPTS, 0) is None
    path.write_text(text)
    assert shards.matching_marker(tmp_path, Stage.PROMPTS, 0, "f")


def test_surplus_files_without_a_mark_go_too(tmp_path: Path) -> None:
    write(tmp_path, 2, index=2)
    (tmp_path / "prompts/00002.json").unlink()
    shards.drop_after(tmp_path, Stage.PROMPTS, 1)
    assert not list(tmp_path.rglob("*00002*"))


def test_what_a_power_cut_took_is_made_again_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(ROOT / "flows/recipes/choice_recorded.yaml", ["scorer=null"])
    synced: set[int] = set()
    on_disk: list[bool] = []
    real_sync, real_save = os.fsync, Manifest.save

    def sync(handle: int) -> None:
        synced.add(os.fstat(handle).st_ino)
        real_sync(handle)

    def save(manifest: Manifest, path: Path) -> None:
        made = [path.parent / file.path for file in manifest.shards]
        made += [file.with_suffix(".json") for file in made if file.parent.name != "rejected"]
        on_disk.extend(file.stat().st_ino in synced for file in made)
        real_save(manifest, path)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Manifest, "save", save)
    first = run_build(recipe, tmp_path / "run", limit=20)
    assert on_disk and all(on_disk), "what a manifest names is on the disk before it"

    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files if path.suffix in (".parquet", ".json")}
    (tmp_path / "run" / "manifest.json").unlink()
    for stage in (Stage.GRADED, Stage.CANVASES):  # as a cut would leave what was not forced
        shards.shard_path(tmp_path / "run", stage, 0).write_bytes(b"")
    assert run_build(recipe, tmp_path / "run", limit=20) == first
    assert {path: path.read_bytes() for path in before} == before
