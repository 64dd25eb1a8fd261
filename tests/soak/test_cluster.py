"""A build on a Dask cluster that an address names, and the Prefect servers of its workers."""

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from curation.release.verify import find_problems
from flows.runtime.cluster import DASK
from tests.builds import contents, make
from tests.flows.commands import API, alive, check_all_end
from tests.flows.homes import HOMES
from tests.flows.test_dask import DASK as SETS
from tests.flows.test_dask import environment

if importlib.util.find_spec("prefect_dask") is None:  # to import it takes seconds
    pytest.skip("prefect_dask is not installed", allow_module_level=True)

WORKERS = 2


class Cluster(NamedTuple):
    """The file that names the scheduler, and the workers, whose homes of Prefect are `homes`."""

    file: Path
    homes: list[Path]
    workers: "list[subprocess.Popen[bytes]]"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    file = tmp_path / "scheduler.json"
    homes = [tmp_path / f"node{k}" for k in range(WORKERS)]
    quiet = ("--no-dashboard",)

    def begin(home: Path, *words: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "dask", *words, *quiet]
        env = environment(home) | {"PREFECT_HOME": str(home)}
        return subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL)

    local = ("--host", "127.0.0.1")
    scheduler = begin(tmp_path / "head", *("scheduler", *local, "--port", "0"), *_file(file))
    workers = []
    for home in homes:
        HOMES.make(home)
        one = ("worker", *local, "--nthreads", "1", "--no-nanny")
        workers.append(begin(home, *one, *_file(file)))
    yield Cluster(file, homes, workers)
    for process in (*workers, scheduler):
        process.kill()
        process.wait()


def _file(file: Path) -> tuple[str, str]:
    return "--scheduler-file", str(file)


def servers(homes: list[Path]) -> int:
    """How many Prefect servers live on the nodes."""
    return sum("prefect.server" in line for home in homes for line in alive(home))


@pytest.mark.soak
@pytest.mark.parametrize("is_reached", [True, False])
def test_a_worker_has_a_prefect_server_only_where_it_reaches_none(
    is_reached: bool, cluster: Cluster, tmp_path: Path, prefect_api: str
) -> None:
    make(tmp_path / "plain", "demo", "shard_rows=6", limit=36)
    env = (
        environment(tmp_path)
        | {DASK: str(cluster.file)}
        | ({API: prefect_api} if is_reached else {})
    )
    HOMES.make(tmp_path / ".prefect")
    command = [sys.executable, "-m", "flows.cli", "build", "demo", "--out", "run", *SETS]
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    most = 0
    while process.poll() is None:
        most = max(most, servers(cluster.homes))
        time.sleep(0.1)
    assert process.stderr is not None
    shown = process.stderr.read()
    print(f"{time.monotonic() - began:.1f} s, {most} servers on {WORKERS} nodes\n{shown}")
    assert process.returncode == 0, shown
    assert contents(tmp_path / "run" / "release") == contents(tmp_path / "plain" / "release")
    assert find_problems(tmp_path / "run") == []
    assert most == (0 if is_reached else WORKERS)
    check_all_end(tmp_path / ".prefect")
    left = servers(cluster.homes)
    for worker in cluster.workers:
        worker.kill()
    print(f"{left} servers are left when the build has ended")
    for home in cluster.homes:
        check_all_end(home)
