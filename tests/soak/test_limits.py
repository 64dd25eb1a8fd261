"""A system that gives little: memory, open files, a slow disk.

In every case: one sentence that says what to do, nothing is lost, and with more the same command
makes the same bytes.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curation.release.verify import find_problems
from schemas.manifest import RELEASE_FOLDER
from support.paths import ROOT
from tests.builds import BuiltRuns, contents, make
from tests.flows.commands import polytrace
from tests.flows.homes import HOMES
from tests.flows.test_served import write_recipe
from tests.forked import begin
from tests.servers.loopback import Behaviour, Loopback
from tests.soak import hostile, limited

pytestmark = pytest.mark.soak
FEW = 40  # megabytes beyond those of the imports
MEGABYTES = (5, 60, 250, 500, 1000, 1500, 2000)  # the same
ABORTED = (-signal.SIGABRT, -signal.SIGSEGV, 127)  # how the C library ends a process
SLOW = 0.2  # seconds of one fsync


def ending(
    place: Path,
    *args: str,
    megabytes: int | None = None,
    files: int | None = None,
    api: str | None = None,
) -> tuple[int, str]:
    """The exit code of a command, and what it said on standard error."""
    said = place / "said"
    said.unlink(missing_ok=True)
    process = begin(limited.command, place, megabytes, files, api, *args, output=said)
    process.join()
    assert process.exitcode is not None
    return process.exitcode, said.read_text()


def check_same(run: Path, whole: Path) -> None:
    assert contents(run / RELEASE_FOLDER) == contents(whole / RELEASE_FOLDER)
    assert find_problems(run) == []


def check_out_of_memory(place: Path, *args: str) -> None:
    code, said = ending(place, *args, megabytes=FEW)
    assert code == 3, said
    check_told(said)


def check_told(said: str) -> None:
    (line,) = [line for line in said.splitlines() if line.startswith("polytrace: ")]
    assert "memory ran out" in line and "run the same command again" in line
    assert "Traceback" not in said


# --- memory


def test_a_training_whose_memory_runs_out_goes_on_with_more(
    built_runs: BuiltRuns, tmp_path: Path
) -> None:
    built_runs.copy(tmp_path / "runs" / "demo", "demo", limit=24)
    sets = ("corpus=runs/demo", "epochs=1", "validation=0")
    train = ("train", "tiny_nap", *(word for one in sets for word in ("--set", one)))
    assert polytrace(*train, "--out", "whole", cwd=tmp_path).returncode == 0
    check_out_of_memory(tmp_path, *train, "--out", "some")
    code, said = ending(tmp_path, *train, "--out", "some")
    assert code == 0, said
    assert contents(tmp_path / "some" / "model") == contents(tmp_path / "whole" / "model")


def check_ends_with_more(
    place: Path, api: str | None, check_whole: Callable[[], None], *args: str
) -> None:
    """With little memory the command ends with its sentence, or as the C library ends it, or well.

    A library that cannot go on without memory ends the process, as Linux does; nothing can then be
    said. It never ends well with less than all.
    """
    for megabytes in MEGABYTES:
        code, said = ending(place, *args, megabytes=megabytes, api=api)
        print(f"{args[0]} with {megabytes} MB more: exit code {code}")
        if code == 0:
            check_whole()
        elif code == 3:
            check_told(said)
        else:
            assert code in ABORTED, said
    code, said = ending(place, *args, api=api)
    assert code == 0, said
    check_whole()


def test_a_build_whose_memory_runs_out_goes_on_with_more(tmp_path: Path, prefect_api: str) -> None:
    make(tmp_path / "whole", "demo", "shard_rows=10", limit=60)
    build = ("build", "demo", "--set", "shard_rows=10", "--limit", "60", "--out", "run")

    def check_whole() -> None:
        assert find_problems(tmp_path / "run") == []
        some, whole = (tmp_path / name / RELEASE_FOLDER / "data" for name in ("run", "whole"))
        assert alike(pq.read_table(some).to_pylist(), pq.read_table(whole).to_pylist())

    check_ends_with_more(tmp_path, prefect_api, check_whole, *build)


def test_scoring_whose_memory_runs_out_goes_on_with_more(
    built_runs: BuiltRuns, tmp_path: Path
) -> None:
    built_runs.copy(tmp_path / "runs" / "demo", "demo", limit=60)
    score = ("score", "--model", "tiny/teacher", "--input", "runs/demo", "--out")
    code, said = ending(tmp_path, *score, "whole.parquet")
    assert code == 0, said

    def check_whole() -> None:
        some, whole = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("some", "whole"))
        assert alike(some.to_pylist(), whole.to_pylist())

    check_ends_with_more(tmp_path, None, check_whole, *score, "some.parquet")


def alike(one: object, other: object) -> bool:
    """Whether two values are the same, their numbers within 1e-4.

    The scorer halves batches that do not fit into memory, which changes the last digits.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) < 1e-4
    return one == other


# --- open files


def test_a_teacher_is_asked_by_as_many_connections_as_may_be_open(tmp_path: Path) -> None:
    with Loopback(Behaviour(latency_s=0.1)) as server:
        recipe = write_recipe(tmp_path, server.url, prompts=40)
        recipe.write_text(recipe.read_text().replace("in_flight: 16", "in_flight: 256"))
        make(tmp_path / "whole", str(recipe.with_suffix("")))
        server.forget()
        run, said = tmp_path / "run", tmp_path / "said"
        process = begin(limited.build, recipe, run, 64, 0.0, output=said)
        process.join()
        assert process.exitcode == 0, said.read_text()
        assert len(server.served()) == 120, "no sample is lost, and none asked for twice"
    check_same(run, tmp_path / "whole")
    assert "16 samples are in flight at a time" in said.read_text()
    assert "ulimit -n 512 allows more" in said.read_text()


@pytest.mark.parametrize("runner", ["threads", "dask"])
def test_a_build_with_64_open_files(runner: str, tmp_path: Path) -> None:
    """With Prefect's own server, and with two workers a cluster fits; with more it is refused."""
    recipe = hostile.write_plain(tmp_path, rows=20)
    args = ("--set", "shard_rows=10", "--set", f"task_runner={runner}", "--out", "run")
    command = [sys.executable, "-m", "flows.cli", "build", str(recipe), *args]
    home = HOMES.make(tmp_path / ".prefect")
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    if runner == "dask" and (os.cpu_count() or 2) > 2:
        assert done.returncode == 2, done.stderr
        assert "lets a process open 64 files" in done.stderr.splitlines()[-1]
        return
    assert done.returncode == 0, done.stderr
    make(tmp_path / "whole", str(recipe.with_suffix("")), "shard_rows=10")
    check_same(tmp_path / "run", tmp_path / "whole")


def test_too_few_open_files_are_refused_before_any_work(tmp_path: Path) -> None:
    code, said = ending(tmp_path, "build", "demo", "--out", "run", files=40)
    assert code == 2, said
    assert "open 40 files" in said.splitlines()[-1] and "ulimit -n 1024" in said.splitlines()[-1]
    assert "Traceback" not in said and not (tmp_path / "run" / "prompts").exists()


# --- a slow disk


def test_a_slow_disk_changes_no_byte_and_delays_no_ctrl_c(tmp_path: Path) -> None:
    said = tmp_path / "said"
    with Loopback(Behaviour(latency_s=0.1)) as server:
        recipe = write_recipe(tmp_path, server.url, prompts=60)
        make(tmp_path / "whole", str(recipe.with_suffix("")))
        server.forget()
        run = tmp_path / "run"
        process = begin(limited.build, recipe, run, None, SLOW, output=said)
        while len(server.served()) < 60:
            assert process.is_alive(), said.read_text()
            time.sleep(0.02)
        began = time.monotonic()
        os.kill(process.pid or 0, signal.SIGINT)
        process.join()
        seconds = time.monotonic() - began
        assert process.exitcode == 128 + signal.SIGINT, said.read_text()
        assert "interrupted; the same command goes on" in said.read_text()
        began = time.monotonic()
        process = begin(limited.build, recipe, run, None, SLOW, output=said)
        process.join()
        print(f"Ctrl-C: {seconds:.2f} s; the rest: {time.monotonic() - began:.1f} s")
        assert process.exitcode == 0, said.read_text()
    assert seconds < 1.0
    check_same(run, tmp_path / "whole")
