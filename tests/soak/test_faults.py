"""What a machine may do to a build: a full or read-only disk, a flipped bit, a lost server.

In every case: nothing wrong is released, the message says what to do, and the same command makes
the bytes of a build that nothing happened to.
"""

import ast
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from curation.release.verify import find_problems, journal_warnings
from support.paths import ROOT
from tests.builds import contents, make
from tests.flows.commands import start
from tests.soak import hostile

ROWS = 60
SHARDS = "shard_rows=20"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile.write_plain(tmp_path_factory.mktemp("rows"), ROWS)


@pytest.fixture(scope="module")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build that nothing happened to."""
    run = tmp_path_factory.mktemp("whole") / "run"
    build(recipe, run)
    return run


def build(recipe: Path, run: Path) -> None:
    make(run, str(recipe.with_suffix("")), SHARDS)


def same(run: Path, whole: Path) -> bool:
    manifests = [(folder / "manifest.json").read_bytes() for folder in (run, whole)]
    return contents(run / "release") == contents(whole / "release") and len({*manifests}) == 1


# --- disks


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """A file system of so many kilobytes at `folder`."""
    folder.mkdir(exist_ok=True)
    options = f"size={kilobytes}k"
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")


@needs_root
def test_a_disk_that_is_full_at_any_place(recipe: Path, whole: Path, tmp_path: Path) -> None:
    needed = sum(-(-p.stat().st_size // 4096) * 4 for p in whole.rglob("*") if p.is_file())
    disk = tmp_path / "disk"
    run = disk / "run"
    failed = 0
    with small_disk(disk, kilobytes=16):
        for kilobytes in range(16, 3 * needed, max(8, needed // 12)):
            remount(disk, f"size={kilobytes}k")
            try:
                build(recipe, run)
            except OSError as error:
                assert "No space left" in str(error)
                failed += 1
                assert find_problems(run) != []
            else:
                break
        assert failed >= 5
        assert same(run, whole)
        assert find_problems(run) == []


@pytest.mark.slow
@needs_root
def test_the_command_says_that_the_disk_is_full_or_read_only(
    recipe: Path, whole: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, kilobytes=120):
        args = ("build", str(recipe), "--set", SHARDS, "--out", str(disk / "run"))
        process = start(*args, cwd=tmp_path)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 3, err
        assert "No space left on device" in err.splitlines()[-1]
        assert "run the same command again" in err.splitlines()[-1]
        assert "Traceback" not in err and out == ""
        assert not (disk / "run/manifest.json").exists()
        remount(disk, "ro")
        process = start(*args, cwd=tmp_path)
        _, err = process.communicate(timeout=300)
        assert process.returncode == 2
        assert "cannot write there (Read-only file system)" in err.splitlines()[-1]
        remount(disk, "rw,size=20m")
        build(recipe, disk / "run")
        assert same(disk / "run", whole)


@pytest.mark.slow
@needs_root
def test_a_full_or_read_only_disk_under_prefects_database_is_told_at_once(tmp_path: Path) -> None:
    disk = tmp_path / "disk"

    def told() -> str:
        args = ("build", "demo", "--limit", "5", "--out", "run")
        process = start(*args, cwd=tmp_path, PREFECT_HOME=str(disk / "home"))
        _, err = process.communicate(timeout=60)
        assert process.returncode == 3, err
        assert "Traceback" not in err and str(disk / "home") in err
        return err.splitlines()[-1]

    with small_disk(disk, kilobytes=200):
        assert "0 MB are left" in told()
        remount(disk, "ro")
        assert "cannot be written to" in told()


# --- bits


def pieces(run: Path) -> list[Path]:
    """One file of each kind: shards, markers, rejections, index, journal, release, manifest."""
    kinds = {re.sub(r"[0-9a-f]{12}|\d+", "N", p.relative_to(run).as_posix()): p for p in files(run)}
    return [kinds[kind] for kind in sorted(kinds)]


def files(run: Path) -> Iterator[Path]:
    ours = {".lock", "report.html"}
    return (p for p in sorted(run.rglob("*")) if p.is_file() and p.name not in ours)


def flip(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def times(run: Path, folders: tuple[str, ...]) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in files(run) if path.parent.name in folders}


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.soak)])
def test_a_flipped_bit_is_found_and_its_shard_alone_is_made_again(
    recipe: Path, whole: Path, tmp_path: Path, every: int
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    draw = random.Random(4)
    stages = ("prompts", "traces", "graded", "canvases", "scored")
    for path in pieces(run)[::every]:
        before = path.read_bytes()
        flip(path, draw)
        name = path.relative_to(run).as_posix()
        assert any(name in line for line in find_problems(run)), name
        seen = times(run, stages)
        build(recipe, run)
        assert same(run, whole), name
        assert path.read_bytes() == before, name
        changed = {p for p, at in times(run, stages).items() if seen.get(p) != at}
        if path.parent.name == "prompts" or name.startswith("rejected/prompts"):
            # One pass reads all sources: the whole stage is made again, and nothing after it.
            assert {p.parent.name for p in changed} == {"prompts"}, name
        else:
            assert {p.stem for p in changed} <= {path.stem.rpartition("-")[2]}, (name, changed)
        assert find_problems(run) == []


@pytest.mark.parametrize("name", [b"recorded_correct", b"seed", b"text"])
def test_a_flipped_bit_in_the_name_of_a_column(
    name: bytes, recipe: Path, whole: Path, tmp_path: Path
) -> None:
    """Parquet has no checksum over its footer: a column would be missing, and all else sound."""
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    path = run / "traces/00001.parquet"
    before = path.read_bytes()
    path.write_bytes(before.replace(name, bytes([name[0] ^ 1]) + name[1:]))
    assert any("traces/00001.parquet" in line for line in find_problems(run))
    build(recipe, run)
    assert same(run, whole) and path.read_bytes() == before and find_problems(run) == []


def sample(run: Path) -> None:
    """A build whose traces were sampled: those have journals, recorded ones need none."""
    make(run, "demo", "shard_rows=6", limit=12)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("sampled") / "run"
    sample(run)
    return run


def test_a_flipped_bit_in_the_journal_of_a_closed_shard(sampled: Path, tmp_path: Path) -> None:
    """Its Parquet stands for it: the journal is damaged, and the corpus is whole."""
    run = tmp_path / "run"
    shutil.copytree(sampled, run)
    assert list(journal_warnings(run)) == []
    flip(run / "traces/00001.jsonl.done", random.Random(4))
    assert ["traces/00001.jsonl.done" in line for line in journal_warnings(run)] == [True]
    seen = times(run, ("traces", "graded", "canvases", "scored"))
    sample(run)
    assert same(run, sampled) and find_problems(run) == []
    assert times(run, ("traces", "graded", "canvases", "scored")) == seen


@pytest.mark.slow
def test_a_flipped_bit_in_the_journal_of_an_open_shard(sampled: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    draw = random.Random(5)
    for _ in range(5):
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(sampled, run)
        done = run / "traces/00001.jsonl.done"
        done.rename(journal := done.with_suffix(""))
        flip(journal, draw)
        for suffix in ("json", "parquet"):
            (run / f"traces/00001.{suffix}").unlink()
        sample(run)
        assert same(run, sampled)
        assert find_problems(run) == []


# --- Prefect's server, and clocks


def server_of(process: "subprocess.Popen[str]") -> int:
    """The id of the Prefect server that a command has started, through a supervisor."""
    parents: dict[int, int] = {}
    servers = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
            if "uvicorn" in (folder / "cmdline").read_text():
                servers.append(int(folder.name))
        except OSError:
            continue
    (found,) = [pid for pid in servers if parents.get(parents[pid]) == process.pid]
    return found


@pytest.mark.soak
def test_a_build_whose_prefect_server_dies_ends_and_goes_on(tmp_path: Path) -> None:
    args = ("build", "demo", "--set", "shard_rows=20", "--limit", "60", "--out", "run")
    process = start(*args, cwd=tmp_path)
    wait_for(lambda: any((tmp_path / "run/traces").glob("*")), process)
    began = time.monotonic()
    os.kill(server_of(process), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert "its Prefect server has died; the same command goes on" in err
    assert time.monotonic() - began < 30
    assert "Traceback" not in err
    assert not (tmp_path / "run/manifest.json").exists()
    make(tmp_path / "run", "demo", "shard_rows=20", limit=60)
    assert find_problems(tmp_path / "run") == []


def wait_for(is_there: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while not is_there():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def test_no_clock_that_may_jump_is_asked() -> None:
    """Durations are monotonic and no record holds a date; a server's own date is compared alone."""
    asked = set()
    for package in ("support", "schemas", "curation", "scorers", "flows"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and ast.unparse(node) in CLOCKS:
                    asked.add((path.relative_to(ROOT).as_posix(), ast.unparse(node)))
    assert asked == {
        # Retry-After may be a date; it is bounded.
        ("support/retry.py", "time.time"),
        # When Prefect's server gives a run to a worker again, which is a time of day.
        ("flows/runtime/deployed_run.py", "datetime.now"),
        # Hours of a budget, which the processes of several machines share.
        ("curation/sampling/spending.py", "time.time"),
        # Shown, beside "all servers are down".
        ("curation/teachers/openai/endpoints.py", "time.strftime"),
    }


CLOCKS = {
    *("time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.strftime"),
    *("datetime.now", "datetime.utcnow", "datetime.datetime.now", "date.today"),
}
