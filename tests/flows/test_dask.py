"""A build on a real Dask cluster: the same bytes as with threads, also where a worker is killed."""

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from curation.release.verify import find_problems
from flows.runtime.cluster import DASK as ADDRESS
from flows.runtime.cluster import RAY, check_reach
from flows.runtime.runners import runner_of
from schemas.recipe import load_recipe
from support.errors import UserError
from support.paths import ROOT
from tests.builds import contents, make
from tests.curation.test_remote import SETS, recorded
from tests.flows.commands import alive, check_all_end

if importlib.util.find_spec("prefect_dask") is None:  # to import it takes seconds
    pytest.skip("prefect_dask is not installed", allow_module_level=True)

DASK = ("--set", "task_runner=dask", "--set", "shard_rows=6", "--limit", "36")


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "PREFECT_HOME": str(folder / ".prefect"),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The release that this process makes alone."""
    run = tmp_path_factory.mktemp("plain") / "run"
    make(run, "demo", "shard_rows=6", limit=36)
    return contents(run / "release")


def workers(parent: int) -> list[int]:
    """The processes below `parent` that work for Dask."""
    asked = ["ps", "-ewwo", "pid,ppid,args"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in said.stdout.splitlines()[1:]]
    below = {parent}
    for _ in rows:
        below |= {int(pid) for pid, above, _ in rows if int(above) in below}
    return [int(pid) for pid, _, args in rows if int(pid) in below and "spawn_main" in args]


@pytest.mark.slow
def test_a_cluster_whose_worker_is_killed_makes_the_same_bytes(
    plain: dict[str, str], tmp_path: Path, prefect_api: str
) -> None:
    command = [sys.executable, "-m", "flows.cli", "build", "demo", "--out", "run", *DASK]
    shared = environment(tmp_path) | {"PREFECT_API_URL": prefect_api}
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=tmp_path, env=shared, stderr=said)
    killed = 0
    while process.poll() is None:
        if not killed and list((tmp_path / "run" / "graded").glob("*.json")):
            running_teacher = workers(process.pid)
            os.kill(running_teacher[-1], signal.SIGKILL)
            killed = len(running_teacher)
        time.sleep(0.02)
    shown = (tmp_path / "said").read_text()
    assert process.returncode == 0, shown
    assert killed == (os.cpu_count() or 2)
    assert contents(tmp_path / "run" / "release") == plain
    assert find_problems(tmp_path / "run") == []
    totals = dict(re.findall(r"(canvases|scored): (\d+) of \2 ", shown))
    assert totals["canvases"] == totals["scored"], "progress of the shards is seen, once"
    assert "distributed" not in shown
    check_all_end(tmp_path / ".prefect")


@pytest.mark.slow
def test_a_command_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    """Of recorded traces: no worker has a model to load first."""
    (tmp_path / "rows.jsonl").write_bytes(recorded(200))
    sets = ("source.path=rows.jsonl", "task_runner=dask", "shard_rows=4", *SETS)
    words = [word for one in sets for word in ("--set", one)]
    command = [sys.executable, "-m", "flows.cli", "build", "recorded_traces", "--out", "run"]
    command += words
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.DEVNULL
    )
    while not list((tmp_path / "run" / "graded").glob("*.json")):
        assert process.poll() is None
        time.sleep(0.02)
    assert len(alive(tmp_path / ".prefect")) > 3, "a server, and workers"
    process.kill()
    process.wait()
    check_all_end(tmp_path / ".prefect")


def test_no_password_of_an_address_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, variable in (("dask", ADDRESS), ("ray", RAY)):
        monkeypatch.setenv(variable, "tcp://me:hunter2@127.0.0.1:9")
        recipe = load_recipe(ROOT / "flows" / "recipes" / "demo.yaml", [f"task_runner={name}"])
        with pytest.raises(UserError) as caught:
            runner_of(recipe)
        assert f"{variable}=tcp://127.0.0.1:9: no " in str(caught.value)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("runner", "variable"), [("dask", ADDRESS), ("ray", RAY)])
def test_a_cluster_that_is_not_there_is_said_before_prefect_starts(
    tmp_path: Path, runner: str, variable: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "build", "demo", "--set", f"task_runner={runner}"],
        cwd=tmp_path,
        env=environment(tmp_path) | {variable: "127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"polytrace: {variable}=") and "answers there" in line
    assert not (tmp_path / ".prefect").exists()


@pytest.mark.parametrize("server", ["http://127.0.0.1:4200/api", "http://localhost:4200/api"])
def test_workers_elsewhere_that_cannot_reach_the_server_are_said(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ADDRESS, "tcp://127.0.0.1:8786")  # as through a tunnel
    here = ["tcp://127.0.0.1:4001", "tcp://[::1]:4002", "inproc://127.0.0.1/1/2"]
    check_reach(server, here)
    with pytest.raises(UserError) as caught:
        check_reach(server, [*here, "tcp://203.0.113.9:4003"])
    said = str(caught.value)
    assert "its worker at 203.0.113.9 is on another machine" in said and server in said
    assert "PREFECT_API_URL" in said
    check_reach("http://203.0.113.1:4200/api", ["tcp://203.0.113.9:4003"])


ELSEWHERE = """
import urllib.request, urllib.error
from pathlib import Path
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings
from flows.runtime.server import own_server
with own_server("dask"):
    address = get_current_settings().api.url
    password = get_current_settings().api.auth_string.get_secret_value().encode()
    print(address.rpartition(":")[0], get_client(sync_client=True).hello().status_code)
    try:
        urllib.request.urlopen(address + "/version", timeout=20)
    except urllib.error.HTTPError as error:
        print(error.code)
kept = [file for file in get_current_settings().home.rglob("*") if file.is_file()]
print(bool(kept), any(password in file.read_bytes() for file in kept))
"""


# What a user may have set for servers of their own.
IN_THE_WAY = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "PREFECT_API_AUTH_STRING": "user:theirs",
    "PREFECT_SERVER_API_AUTH_STRING": "user:theirs",
    "PREFECT_API_KEY": "theirs",
    "PREFECT_CLIENT_CUSTOM_HEADERS": '{"Authorization": "Bearer theirs"}',
}


def own_address() -> str | None:
    """An address of this machine that is not loopback, if it has one; nothing is sent for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return None


@pytest.mark.slow
def test_workers_elsewhere_reach_the_commands_server_by_its_password(tmp_path: Path) -> None:
    if (host := own_address()) is None:
        pytest.skip("this machine has no address but loopback")
    with socket.create_server((host, 0)) as head:
        done = subprocess.run(
            [sys.executable, "-c", ELSEWHERE],
            cwd=tmp_path,
            env=environment(tmp_path)
            | {ADDRESS: f"tcp://{host}:{head.getsockname()[1]}", **IN_THE_WAY},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
    assert (done.returncode, done.stdout) == (0, f"http://{host} 200\n401\nTrue False\n"), (
        done.stderr
    )
    check_all_end(tmp_path / ".prefect")
