"""A build on a Dask cluster that an address names: no worker starts a Prefect server."""

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from curation.release.verify import find_problems
from flows.runtime.cluster import DASK
from tests.builds import contents, make
from tests.flows.commands import API, alive
from tests.flows.homes import HOMES
from tests.flows.test_dask import DASK as SETS
from tests.flows.test_dask import environment, own_address

if importlib.util.find_spec("prefect_dask") is None:  # to import it takes seconds
    pytest.skip("prefect_dask is not installed", allow_module_level=True)

WORKERS = 2
LOOPBACK = "127.0.0.1"


@contextmanager
def cluster(folder: Path, host: str) -> Iterator[Path]:
    """A scheduler and workers at the address `host`; yields the file that names the scheduler."""
    file = folder / "scheduler.json"
    usual = ("--host", host, "--no-dashboard", "--scheduler-file", str(file))

    def begin(home: str, *words: str) -> "subprocess.Popen[bytes]":
        env = environment(folder) | {"PREFECT_HOME": str(folder / home)}
        command = [sys.executable, "-m", "dask", *words, *usual]
        return subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.DEVNULL)

    alone = ("worker", "--nthreads", "1", "--no-nanny")
    started = [begin("head", "scheduler", "--port", "0")]
    started += [begin(f"node{k}", *alone) for k in range(WORKERS)]
    try:
        yield file
    finally:
        for process in started:
            process.kill()
            process.wait()


def servers(folder: Path) -> int:
    """How many Prefect servers of the command and of the nodes live."""
    homes = (".prefect", "head", *(f"node{k}" for k in range(WORKERS)))
    return sum("prefect.server" in line for home in homes for line in alive(folder / home))


@pytest.mark.soak
@pytest.mark.parametrize("where", ["loopback", "the machine's address", "a server of the user's"])
def test_no_worker_starts_a_prefect_server(where: str, tmp_path: Path, prefect_api: str) -> None:
    host = own_address() if where == "the machine's address" else LOOPBACK
    if host is None:
        pytest.skip("this machine has no address but loopback")
    make(tmp_path / "plain", "demo", "shard_rows=6", limit=36)
    HOMES.make(tmp_path / ".prefect")
    is_users = where == "a server of the user's"
    command = [sys.executable, "-m", "flows.cli", "build", "demo", "--out", "run", *SETS]
    most = 0
    with cluster(tmp_path, host) as file, (tmp_path / "said").open("w") as said:
        env = environment(tmp_path) | {DASK: str(file)} | ({API: prefect_api} if is_users else {})
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=said)
        while process.poll() is None:
            most = max(most, servers(tmp_path))
            time.sleep(0.1)
        shown = (tmp_path / "said").read_text()
        assert process.returncode == 0, shown
        assert most == (0 if is_users else 1), "the command's own"
        assert not servers(tmp_path), "while the workers still live"
    assert contents(tmp_path / "run" / "release") == contents(tmp_path / "plain" / "release")
    assert find_problems(tmp_path / "run") == []
