"""A Prefect server of the user's own that stops answering in the middle of a build."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builds import BuiltRuns, contents
from tests.flows.commands import API, start
from tests.flows.places import served

PATIENCE = 900.0
BUILD = ("build", "demo", "--limit", "24", "--set", "shard_rows=6", "--out", "run")
# Two tries of two seconds each, in place of six tries of a minute.
IMPATIENT = {"PREFECT_API_REQUEST_TIMEOUT": "2", "PREFECT_CLIENT_MAX_RETRIES": "1"}


def wait_for(is_there: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_there():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.soak
def test_a_server_that_falls_silent_in_the_middle_ends_the_build_which_goes_on(
    tmp_path: Path, built_runs: BuiltRuns
) -> None:
    whole = built_runs.path("demo", "shard_rows=6", limit=24)
    run = tmp_path / "run"
    with served(tmp_path) as place:
        server = place.started[0]

        def begin(at: str) -> "subprocess.Popen[str]":
            """The command, whose server falls silent once a file is there."""
            process = start(*BUILD, cwd=tmp_path, **{API: place.api}, **IMPATIENT)
            wait_for(lambda: (run / at).exists(), process)
            os.killpg(server.pid, signal.SIGSTOP)
            return process

        try:
            process = begin("traces/00000.json")
            began = time.monotonic()
            os.killpg(process.pid, signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE)
            print(f"ended by Ctrl-C after {time.monotonic() - began:.1f} s")
            assert process.returncode == 128 + signal.SIGINT and "Traceback" not in err, err
            assert time.monotonic() - began < 10
            os.killpg(server.pid, signal.SIGCONT)
            process = begin("canvases/00000.json")
            began = time.monotonic()
            _, err = process.communicate(timeout=PATIENCE)
            print(f"ended by itself after {time.monotonic() - began:.1f} s: {err}")
            assert process.returncode == 3, err
            assert "Traceback" not in err
            last = err.splitlines()[-1]
            assert f"the Prefect server at {place.api} does not answer any more" in last
            assert "the same command goes on" in last
        finally:
            os.killpg(server.pid, signal.SIGCONT)
        process = start(*BUILD, cwd=tmp_path, **{API: place.api})
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
    assert contents(run / "release") == contents(whole / "release")
