import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.release import statistics, writer
from curation.release.rows import read_rows
from curation.release.verify import find_problems
from schemas import arrow
from schemas.manifest import Manifest
from schemas.records import Grade, Released
from tests.curation import samples


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("sound") / "run"
    samples.write_run(run, samples.corpus(24))
    return run


@pytest.fixture
def run(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "run")
    return tmp_path / "run"


def named(run: Path) -> list[str]:
    return [file.path for file in Manifest.load(run / "manifest.json").named()]


def test_a_sound_run_has_no_problems(sound: Path) -> None:
    assert find_problems(sound) == []


def test_a_run_without_a_canvas_or_a_scorer_is_sound(tmp_path: Path) -> None:
    manifest = samples.write_run(tmp_path / "empty", [])
    assert manifest.release == ()
    assert find_problems(tmp_path / "empty") == []


def test_a_flipped_byte_anywhere_is_found(tmp_path: Path) -> None:
    run = tmp_path / "run"
    samples.write_run(run, samples.corpus(4))
    names = [*named(run), "manifest.json"]
    draw = random.Random(0)
    for name in names:
        path = run / name
        whole = path.read_bytes()
        places = {0, len(whole) // 2, len(whole) - 1, *draw.sample(range(len(whole)), 3)}
        for at in sorted(places):
            flipped = bytes([whole[at] ^ (1 << draw.randrange(8))])
            path.write_bytes(whole[:at] + flipped + whole[at + 1 :])
            problems = find_problems(run)
            assert len(problems) == 1, (name, at, problems)
            assert name in problems[0]
            assert "\n" not in problems[0]
        path.write_bytes(whole)
    assert find_problems(run) == []


def test_missing_cut_and_replaced_files_are_one_line_each(tmp_path: Path) -> None:
    run = tmp_path / "run"
    samples.write_run(run, samples.corpus(4))
    for name in [*named(run), "manifest.json"]:
        path = run / name
        whole = path.read_bytes()
        path.unlink()
        assert [name in line for line in find_problems(run)] == [True]
        path.write_bytes(whole[: len(whole) // 2])
        assert [name in line for line in find_problems(run)] == [True]
        path.unlink()
        path.mkdir()
        assert [name in line for line in find_problems(run)] == [True]
        path.rmdir()
        path.write_bytes(whole)
    assert find_problems(run) == []


def test_nothing_there_is_one_line(tmp_path: Path) -> None:
    (line,) = find_problems(tmp_path / "none")
    assert "no manifest" in line
    (tmp_path / "file").touch()
    assert len(find_problems(tmp_path / "file")) == 1


def test_strangers_among_the_files_are_found(run: Path) -> None:
    data = run / "release" / "data"
    shutil.copy(next(data.iterdir()), data / "train-ffffffff-00000.parquet")
    shutil.copy(run / "rejected" / "release-00000.parquet", run / "rejected" / "x.parquet")
    assert find_problems(run) == [
        "release/data/train-ffffffff-00000.parquet: not part of this build",
        "rejected/x.parquet: not part of this build",
    ]


def forge(run: Path, change: Callable[[list[Released]], list[Released]]) -> None:
    """Change the rows of the first release file, and make every checksum and statistic agree."""
    manifest = Manifest.load(run / "manifest.json")
    first = manifest.release[0]
    path = run / first.path
    rows = change(list(read_rows(path)))
    data = pa.Table.from_pylist([asdict(row) for row in rows], schema=arrow.RELEASE)
    pq.write_table(data, path)
    forged = first.model_copy(
        update={**writer.describe(path, first.path).model_dump(), "rows": len(rows)}
    )
    files = (forged, *manifest.release[1:])
    described = statistics.measure(run / "release", files)
    (run / "release" / "stats.json").write_text(described.text())
    seal(run, manifest.model_copy(update={"release": files}))


def seal(run: Path, manifest: Manifest) -> None:
    """Save a manifest whose other files are described as they are now."""
    files = tuple(writer.describe(run / file.path, file.path) for file in manifest.files)
    manifest.model_copy(update={"files": files}).save(run / "manifest.json")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"response": "<think 1>\nno"}, "not a canvas: path 1 is not closed"),
        ({"summary": "The final answer is 12345"}, "response is not the canvas of paths and summ"),
        ({"gold": "77"}, "the summary does not end in the gold answer"),
        ({"long_cot": "other"}, "long_cot is not paths and summary"),
        ({"messages": ()}, "messages are not prompt and response"),
        ({"prompt": "other"}, "messages are not prompt and response"),
        ({"correct_paths": 0}, "correct_paths is 0, but 3 paths are correct"),
        ({"summary_tokens": 33}, "summary of 33 tokens in a slot of 32"),
        ({"source": "elsewhere"}, "source 'elsewhere' is not in the manifest"),
        ({"scorer": "other"}, "scored by ('other', 'abc')"),
        ({"seqdep_path_gains": (1.0,)}, "1 path gains for 3 paths"),
        ({"paths": ()}, "0 paths, the manifest has 3"),
    ],
)
def test_a_row_that_contradicts_itself_is_found(
    run: Path, change: dict[str, object], says: str
) -> None:
    forge(run, lambda rows: [replace(rows[0], **change), *rows[1:]])  # type: ignore[arg-type]
    problems = find_problems(run)
    assert any(f"row 1: {says}" in line for line in problems), problems
    assert all("\n" not in line for line in problems)


def test_a_path_that_is_not_its_trace_is_found(run: Path) -> None:
    def change(rows: list[Released]) -> list[Released]:
        first, second, _ = rows[0].paths
        alien = replace(first, tokens=331, grade=Grade.WRONG)
        alien = replace(alien, trace=replace(first.trace, prompt_id="alien", text="other"))
        return [replace(rows[0], paths=(alien, second, second)), *rows[1:]]

    forge(run, change)
    problems = "\n".join(find_problems(run))
    assert "path 1 of 331 tokens in a slot of 330" in problems
    assert "path 1 belongs to prompt alien" in problems
    assert "path 1 is no part of its trace" in problems
    assert "a trace stands on the canvas twice" in problems


def test_repeated_rows_are_found(run: Path) -> None:
    forge(run, lambda rows: [rows[0], *rows[0:-1]])
    problems = "\n".join(find_problems(run))
    assert "is also in train" in problems
    assert "is released or rejected 2 times" in problems


def test_lost_rows_are_found(run: Path) -> None:
    forge(run, lambda rows: rows[:-2])
    problems = "\n".join(find_problems(run))
    assert "manifest.json: canvases are 24, but 22 rows in release files" in problems
    assert "release/data: 22 released prompts, the manifest has 24" in problems


def test_a_prompt_in_both_splits_is_found(run: Path) -> None:
    manifest = Manifest.load(run / "manifest.json")
    held_out = next(file for file in manifest.release if file.split == "validation")
    row = next(read_rows(run / held_out.path))
    forge(run, lambda rows: [row, *rows[1:]])
    assert any(f"prompt {row.id} is also in train" in line for line in find_problems(run))


def test_other_columns_are_found(run: Path) -> None:
    manifest = Manifest.load(run / "manifest.json")
    first = manifest.release[0]
    pq.write_table(pq.read_table(run / first.path).drop(["license"]), run / first.path)
    facts = writer.describe(run / first.path, first.path).model_dump()
    files = (first.model_copy(update=facts), *manifest.release[1:])
    seal(run, manifest.model_copy(update={"release": files}))
    assert any("columns differ from schema version 1" in line for line in find_problems(run))


def test_a_file_that_is_no_parquet_though_its_sum_is_right_is_one_line(run: Path) -> None:
    manifest = Manifest.load(run / "manifest.json")
    for shard in manifest.shards:
        (run / shard.path).write_bytes(b"PAR1 nothing PAR1")
    for file in manifest.release:
        (run / file.path).write_bytes(b"")
    rejected = run / "rejected" / "release-00000.parquet"
    rejected.write_bytes(b"nothing")
    shards = tuple(
        s.model_copy(update=writer.describe(run / s.path, s.path).model_dump())
        for s in manifest.shards
    )
    files = tuple(
        f.model_copy(update=writer.describe(run / f.path, f.path).model_dump())
        for f in manifest.release
    )
    seal(run, manifest.model_copy(update={"shards": shards, "release": files}))
    problems = find_problems(run)
    for shard in manifest.shards:
        assert sum(line.startswith(f"{shard.path}: not Parquet") for line in problems) == 1
    for file in manifest.release:
        assert sum(line.startswith(f"{file.path}: cannot be read") for line in problems) == 1
    assert all("\n" not in line for line in problems)


def test_counts_are_recounted_from_the_rejected_rows(run: Path) -> None:
    manifest = Manifest.load(run / "manifest.json")
    moved = tuple(
        one.model_copy(update={"reason": "other"}) if one.reason == "too_few_traces" else one
        for one in manifest.rejected
    )
    seal(run, manifest.model_copy(update={"rejected": moved}))
    assert find_problems(run) == [
        "rejected: canvases prompt other: 0 rows, the manifest has 1",
        "rejected: canvases prompt too_few_traces: 1 rows, the manifest has 0",
    ]


def test_recipe_and_statistics_must_be_those_of_the_run(run: Path) -> None:
    manifest = Manifest.load(run / "manifest.json")
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("seed: 0", "seed: 1"))
    found = statistics.read_stats(run / "release" / "stats.json")
    forged = found.model_copy(update={"train": found.train + 1})
    (run / "release" / "stats.json").write_text(forged.text())
    seal(run, manifest)
    first, second = find_problems(run)
    assert first.startswith("recipe.yaml: digest ")
    assert second == "release/stats.json: does not describe the rows of release/data"


def test_many_problems_of_a_file_are_cut_short(tmp_path: Path) -> None:
    run = tmp_path / "run"
    samples.write_run(run, samples.corpus(40), samples.recipe(release={"validation": 0}))
    forge(run, lambda rows: [replace(row, long_cot="other") for row in rows])
    problems = find_problems(run)
    assert len(problems) == 21
    assert problems[-1].endswith("and 20 more problems")
