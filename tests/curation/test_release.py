import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.release import statistics, writer
from curation.release.rows import read_rows, released
from schemas import arrow, canvas
from schemas.facts import ReleaseFile
from schemas.records import Canvas, Scores
from support.errors import DamagedError
from tests.curation import samples

ROOT = Path(__file__).resolve().parents[2]


def write(
    folder: Path, count: int, *, validation: float = 0.25, rows_per_file: int = 16
) -> tuple[ReleaseFile, ...]:
    rows = iter(samples.corpus(count))
    return writer.write_release(
        folder, samples.BUILD, rows, validation=validation, rows_per_file=rows_per_file
    )


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_twice_gives_the_same_bytes_and_only_whole_files(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", 60), write(tmp_path / "b", 60)
    assert first == second
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert sum(file.rows for file in first) == 60
    assert {f"release/{name}" for name in content(tmp_path / "a")} == {f.path for f in first}
    for file in first:
        path = writer.data_path(tmp_path / "a", file)
        assert file.bytes == path.stat().st_size
        assert path.name.startswith(f"{file.split}-{samples.BUILD}-")
    assert write(tmp_path / "a", 60) == first, "writing again over whole files changes nothing"


def test_files_hold_the_schema_zstd_and_page_checksums(tmp_path: Path) -> None:
    (file,) = write(tmp_path, 5, validation=0.0)
    path = writer.data_path(tmp_path, file)
    schema = pq.read_schema(path)
    assert schema.equals(arrow.RELEASE)
    assert schema.metadata == arrow.RELEASE.metadata, "no pandas metadata"
    assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"
    whole = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(2)
    whole[column.data_page_offset + column.total_compressed_size - 3] ^= 1
    path.write_bytes(bytes(whole))
    with pytest.raises(DamagedError, match="cannot be read") as caught:
        list(read_rows(path))
    assert "\n" not in str(caught.value)


def test_rows_are_the_canvases_and_scores(tmp_path: Path) -> None:
    files = write(tmp_path, 40, rows_per_file=7)
    rows = [row for file in files for row in read_rows(writer.data_path(tmp_path, file))]
    wanted = {c.prompt.id: (c, s) for c, s in samples.corpus(40)}
    assert {row.id for row in rows} == set(wanted)
    for row in rows:
        assert row == released(*wanted[row.id])
        assert canvas.parse(row.response).paths == tuple(path.text for path in row.paths)
        assert row.messages[0].content == row.prompt
        assert row.messages[1].content == row.response
        assert row.long_cot.endswith(f"\n\n{row.summary}")
    assert all(file.rows <= 7 for file in files)


def test_what_was_not_measured_is_null(tmp_path: Path) -> None:
    bare = Scores(
        prompt_id=samples.prompt(1).id,
        path=None,
        step=samples.scores(1).step,
        window=None,
        summary_gain=None,
        scorer="",
        scorer_revision="",
    )
    writer.write_release(
        tmp_path, samples.BUILD, [(samples.canvas(1), bare)], validation=0, rows_per_file=9
    )
    (row,) = pq.read_table(next((tmp_path / "data").iterdir())).to_pylist()
    for name in ("seqdep_path_nats", "seqdep_path_gains", "seqdep_step_nats", "scorer"):
        assert row[name] is None, name
    assert row["seqdep_step_gains"] == [], "one step: measured, and no gain"


def test_row_groups_bound_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "ROW_GROUP", 8)
    drawn = 0

    def rows() -> Iterator[tuple[Canvas, Scores]]:
        nonlocal drawn
        for drawn, pair in enumerate(samples.corpus(50), 1):
            yield pair
            if drawn == 40:
                parts = list((tmp_path / "data").glob("train-*.part"))
                assert parts, "rows are on disk before the corpus ends"

    (file,) = writer.write_release(tmp_path, samples.BUILD, rows(), validation=0, rows_per_file=100)
    facts = pq.read_metadata(writer.data_path(tmp_path, file))
    sizes = [facts.row_group(i).num_rows for i in range(facts.num_row_groups)]
    assert sizes == [8, 8, 8, 8, 8, 8, 2]


def test_a_failure_leaves_no_half_file(tmp_path: Path) -> None:
    def rows() -> Iterator[tuple[Canvas, Scores]]:
        yield from samples.corpus(20)
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        writer.write_release(tmp_path, samples.BUILD, rows(), validation=0, rows_per_file=8)
    names = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert names == [f"train-{samples.BUILD}-0000{i}.parquet" for i in (0, 1)]
    assert [pq.read_metadata(tmp_path / "data" / name).num_rows for name in names] == [8, 8]


def test_scores_of_another_prompt_are_refused() -> None:
    with pytest.raises(ValueError, match="given for the canvas of"):
        released(samples.canvas(1), samples.scores(2))


@given(
    st.text(min_size=1),
    st.floats(0, 1, exclude_max=True, allow_subnormal=False),
    st.floats(0, 1, exclude_max=True, allow_subnormal=False),
)
def test_a_prompt_leaves_validation_only_for_a_smaller_share(
    prompt_id: str, a: float, b: float
) -> None:
    try:
        prompt_id.encode()
    except UnicodeEncodeError:
        prompt_id = "x"
    small, large = sorted((a, b))
    if writer.split_of(prompt_id, small) == "validation":
        assert writer.split_of(prompt_id, large) == "validation"


def test_the_split_depends_on_nothing_but_the_prompt(tmp_path: Path) -> None:
    rows = samples.corpus(40)
    orders = (rows, rows[::-1], rows[10:])
    seen: dict[str, str] = {}
    for number, order in enumerate(orders):
        folder = tmp_path / str(number)
        for file in writer.write_release(
            folder, samples.BUILD, order, validation=0.3, rows_per_file=99
        ):
            for row in read_rows(writer.data_path(folder, file)):
                assert seen.setdefault(row.id, file.split) == file.split
    share = sum(split == "validation" for split in seen.values()) / len(seen)
    assert 0.1 < share < 0.5


def in_another_process(code: str, home: Path, *runs: Path) -> Any:
    """What the code prints as JSON, with `home` as the cache of `datasets`."""
    environment = {
        **os.environ,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, runs)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_one_cache_never_gives_the_rows_of_another_build(tmp_path: Path) -> None:
    """`datasets` names its cache after the folder, `release` in every run, and the metadata."""
    rows = samples.corpus(12)
    parts = {"a": (rows[:4], "a" * 12), "b": (rows[4:9], "b" * 12), "new": (rows[9:], "c" * 12)}
    for name, (some, build) in parts.items():
        samples.write_run(tmp_path / name, some, build=build)
    code = (
        "import json, pathlib, sys, datasets\n"
        "a, b, new = map(pathlib.Path, sys.argv[1:])\n"
        "def ids(run):\n"
        "    data = datasets.load_dataset(str(run / 'release'))\n"
        "    return sorted(one for split in data.values() for one in split['id'])\n"
        "answer = [ids(a), ids(b), ids(a)]\n"
        "a.rename(a.with_name('former'))\n"
        "new.rename(a)\n"
        "print(json.dumps([*answer, ids(a), ids(b)]))\n"
    )
    runs = (tmp_path / name for name in parts)
    found = in_another_process(code, tmp_path / "home", *runs)
    wanted = {name: sorted(c.prompt.id for c, _ in some) for name, (some, _) in parts.items()}
    assert found == [wanted[name] for name in ("a", "b", "a", "new", "b")]


def test_load_dataset_reads_the_folder(tmp_path: Path) -> None:
    both, one = tmp_path / "both", tmp_path / "one"
    samples.write_run(both, samples.corpus(40))
    assert list(both.glob("release/figures/*.png")), "which are no rows"
    in_train = [i for i in range(40) if writer.split_of(samples.prompt(i).id, 0.25) == "train"]
    pairs = [(samples.canvas(i), samples.scores(i)) for i in in_train[:3]]
    samples.write_run(one, pairs)
    code = (
        "import json, sys, datasets\n"
        "answer = {}\n"
        "for name in sys.argv[1:]:\n"
        "    data = datasets.load_dataset(name + '/release')\n"
        "    train = data['train']\n"
        "    answer[name] = {'rows': {k: len(v) for k, v in data.items()},\n"
        "        'columns': train.column_names, 'messages': train[0]['messages'],\n"
        "        'gains': train.features['seqdep_path_gains'].feature.dtype,\n"
        "        'grade': train[0]['paths'][0]['grade'],\n"
        "        'seed': train.features['paths'].feature['trace']['seed'].dtype}\n"
        "print(json.dumps(answer))\n"
    )
    answer = in_another_process(code, tmp_path / "home", both, one)
    assert sum(answer[str(both)]["rows"].values()) == 40
    assert set(answer[str(both)]["rows"]) == {"train", "validation"}
    assert answer[str(one)]["rows"] == {"train": 3}
    facts = answer[str(both)]
    assert facts["columns"] == arrow.RELEASE.names
    assert [turn["role"] for turn in facts["messages"]] == ["user", "assistant"]
    assert (facts["gains"], facts["grade"], facts["seed"]) == ("float64", "correct", "int64")


def test_statistics_are_measured_and_the_same_twice(tmp_path: Path) -> None:
    files = write(tmp_path, 40, rows_per_file=7)
    found = statistics.measure(tmp_path, files)
    assert found.text() == statistics.measure(tmp_path, files).text()
    canvases = [samples.canvas(i) for i in range(40)]
    assert found.rows == found.train + found.validation == 40
    assert found.grades.total == 40 * samples.P
    assert found.cut_paths == 40 * samples.P, "every sample runs on into another question"
    assert [(t.name, t.revision, t.paths) for t in found.teachers] == [("tiny", "abc", 120)]
    assert sum(bin.value * bin.rows for bin in found.correct_paths) == found.grades.correct
    tokens = sorted(n for c in canvases for n in c.path_tokens)
    assert found.path_tokens.mean == pytest.approx(sum(tokens) / len(tokens), abs=1e-4)
    assert found.path_tokens.p50 == sum(tokens[59:61]) / 2  # of 120
    assert (found.path_tokens.min, found.path_tokens.max) == (tokens[0], tokens[-1])
    assert found.seqdep_step_nats.count == 0
    assert found.seqdep_step_nats.missing == 40
    assert found.seqdep_step_nats.mean is None
    path = tmp_path / "stats.json"
    path.write_text(found.text())
    assert statistics.read_stats(path) == found
    path.write_text("{}")
    with pytest.raises(DamagedError, match=r"stats\.json"):
        statistics.read_stats(path)


def test_statistics_of_values_that_are_no_numbers(tmp_path: Path) -> None:
    odd = replace(samples.scores(1), summary_gain=float("nan"))
    files = writer.write_release(
        tmp_path, samples.BUILD, [(samples.canvas(1), odd)], validation=0, rows_per_file=9
    )
    found = statistics.measure(tmp_path, files)
    assert (found.summary_gain_nats.count, found.summary_gain_nats.missing) == (0, 1)
    json.loads(found.text(), parse_constant=pytest.fail)
    assert statistics.measure(tmp_path, ()).rows == 0


def test_statistics_name_every_teacher_and_count_the_cut_paths(tmp_path: Path) -> None:
    def row(number: int, *teachers: tuple[str, str]) -> tuple[Canvas, Scores]:
        base = samples.canvas(number)
        paths = tuple(
            replace(path, trace=replace(path.trace, teacher=name, text=text))
            for path, (name, text) in zip(base.paths, teachers, strict=True)
        )
        return replace(base, paths=paths), samples.scores(number)

    texts = [path.text for path in samples.canvas(2).paths]
    rows = [
        row(2, ("m", f" {texts[0]}\n"), ("B", texts[1]), ("m", f"{texts[2]}\n\nQuestion: x")),
        samples.corpus(1)[0],
    ]
    found = statistics.measure(
        tmp_path,
        writer.write_release(tmp_path, samples.BUILD, rows, validation=0, rows_per_file=9),
    )
    assert [(t.name, t.paths) for t in found.teachers] == [("tiny", 3), ("m", 2), ("B", 1)]
    assert found.cut_paths == 4


def test_every_text_survives(tmp_path: Path) -> None:
    texts = ["\x00", "\x1b[31m", "a\r\nb", "\u202e", "🙂" * 1000, "```\n---\n", "x" * 500_000]
    rows = [samples.with_text(i, text) for i, text in enumerate(texts)]
    (file,) = writer.write_release(tmp_path, samples.BUILD, rows, validation=0, rows_per_file=99)
    back = list(read_rows(writer.data_path(tmp_path, file)))
    assert [row.prompt for row in back] == texts
    assert [row.paths[0].answer for row in back] == texts
    assert isinstance(pq.read_table(writer.data_path(tmp_path, file)), pa.Table)
