"""A deployed build whose process is killed, alone and with its worker: the server restarts it."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from support.paths import ROOT
from tests.builds import BuiltRuns, contents
from tests.flows.places import WORKER, Place, served

PATIENCE = 1800  # seconds; a quiet machine needs two minutes for the longest wait


@pytest.fixture
def place(tmp_path: Path) -> Any:
    with served(tmp_path) as made:
        for file in ("prefect.yaml", "automations.yaml"):
            shutil.copy(ROOT / file, tmp_path)
        yield made


def until(found: Callable[[], Any], what: str) -> Any:
    """What `found` returns, once it is true."""
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < deadline, what
        time.sleep(0.5)
    return value


def process_of(run: str) -> int | None:
    """The process of a flow run, if it is alive."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            mark = f"PREFECT__FLOW_RUN_ID={run}\0".encode()
            if mark in (folder / "environ").read_bytes() and b"prefect.engine" in (
                folder / "cmdline"
            ).read_bytes().split(b"\0"):
                return int(folder.name)
    return None


@pytest.mark.soak
def test_a_killed_run_is_restarted_twice_and_ends_with_the_same_bytes(
    place: Place, built_runs: BuiltRuns
) -> None:
    place.deploy("nightly")
    asked = {"name": {"any_": ["nightly"]}}
    (deployment,) = place.ask("deployments/filter", deployments=asked)
    worker = place.start(*WORKER)
    out = place.folder / "runs" / "demo"
    values = {"limit": 24, "out": str(out), "overrides": []}
    run = place.ask(f"deployments/{deployment['id']}/create_flow_run", parameters=values)["id"]

    def running(starts: int) -> bool:
        now = place.read(f"flow_runs/{run}")
        assert now["state_type"] not in ("COMPLETED", "FAILED", "CANCELLED"), now["state"]
        return (now["state_type"], now["run_count"]) == ("RUNNING", starts)

    def completed() -> bool:
        now = place.read(f"flow_runs/{run}")  # a crash has an end, too
        assert now["state_type"] not in ("FAILED", "CANCELLED"), now["state"]
        return bool(now["state_type"] == "COMPLETED")

    def process() -> int:
        return int(until(lambda: process_of(run), "the run has a process"))

    until(lambda: running(1) and (out / "recipe.yaml").exists(), "the build begins")
    os.kill(process(), signal.SIGKILL)  # the worker tells the server
    until(lambda: running(2), "the worker starts it again")
    assert place.slots("nightly") == 1
    victim = process()
    os.killpg(worker.pid, signal.SIGKILL)  # nobody tells the server
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    place.start(*WORKER)
    until(completed, "the run ends")
    states = sorted(
        place.read("flow_run_states/", flow_run_id=run), key=lambda one: one["timestamp"]
    )
    assert [one["name"] for one in states if one["type"] not in ("PENDING", "SCHEDULED")] == [
        *("Running", "Crashed", "Running", "Crashed", "Running", "Completed")
    ]
    messages = [one["message"] for one in states if one["name"] == "Crashed"]
    assert "-9" in messages[0] and messages[1] == "No heartbeat for two minutes."
    assert place.slots("nightly") == 0
    assert contents(out / "release") == contents(built_runs.path("demo", limit=24) / "release")
