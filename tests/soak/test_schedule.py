"""A deployed build that its schedule starts, and one whose worker dies before it begins."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.paths import ROOT
from tests.builds import BuiltRuns, contents
from tests.flows.places import WORKER, Place, served
from tests.soak.test_restarts import process_of, until

BEFORE_START_SECONDS = 60  # in place of the ten minutes of automations.yaml


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The deployment `nightly`, due every minute, over 24 rows; its schedule is paused."""
    with served(tmp_path_factory.mktemp("scheduled")) as made:
        plan = yaml.safe_load((ROOT / "prefect.yaml").read_text())
        (nightly,) = [one for one in plan["deployments"] if one["name"] == "nightly"]
        nightly["schedules"][0]["cron"] = "* * * * *"
        nightly["parameters"]["limit"] = 24
        automations = yaml.safe_load((ROOT / "automations.yaml").read_text())
        (again,) = [one for one in automations["automations"] if "submit" in one["name"]]
        again["trigger"]["within"] = BEFORE_START_SECONDS
        (made.folder / "prefect.yaml").write_text(yaml.safe_dump(plan))
        (made.folder / "automations.yaml").write_text(yaml.safe_dump(automations))
        made.deploy("nightly")
        yield made


@pytest.fixture
def corpus(built_runs: BuiltRuns) -> dict[str, str]:
    """The released files of a build that nobody disturbed."""
    run = built_runs.path("demo", "name=nightly", "grow=true", limit=24)
    return contents(run / "release")


def deployment(place: Place) -> Any:
    (found,) = place.ask("deployments/filter", deployments={"name": {"any_": ["nightly"]}})
    return found


def states(place: Place, run: str) -> list[Any]:
    found = place.read("flow_run_states/", flow_run_id=run)
    return sorted(found, key=lambda one: str(one["timestamp"]))


def stamps(run: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in run.glob("release/**/*")}


@pytest.mark.soak
def test_a_schedule_starts_a_build_by_itself_and_later_builds_find_nothing_to_do(
    place: Place, corpus: dict[str, str]
) -> None:
    found = deployment(place)
    worker = place.start(*WORKER)
    schedule = found["schedules"][0]["id"]
    place.prefect("deployment", "schedule", "resume", "build-recipe/nightly", schedule)
    out = place.folder / "runs" / "nightly"

    def completed(count: int) -> list[Any]:
        runs = place.runs("nightly")
        bad = [one for one in runs if one["state_type"] in ("FAILED", "CRASHED")]
        assert not bad, bad
        ended = [one for one in runs if one["state_type"] == "COMPLETED"]
        return ended if len(ended) >= count else []

    try:
        until(lambda: completed(1), "the schedule starts a build")
        made = stamps(out)
        assert contents(out / "release") == corpus
        until(lambda: completed(2), "the schedule starts another")
        place.prefect("deployment", "schedule", "pause", "build-recipe/nightly", schedule)
        until(lambda: place.slots("nightly") == 0, "no build is at work")
    finally:
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait(60)
    for run in completed(2):
        assert run["auto_scheduled"] and run["run_count"] == 1, run
        seconds = run["total_run_time"]
        print(f"due {run['expected_start_time']}, began {run['start_time']}, took {seconds:.0f} s")
    skipped = [one for one in place.runs("nightly") if one["state_type"] == "CANCELLED"]
    print(f"{len(skipped)} builds were due while one was at work")
    assert contents(out / "release") == corpus and stamps(out) == made


@pytest.mark.soak
def test_a_run_whose_worker_dies_before_it_begins_is_given_to_the_next_worker(
    place: Place, corpus: dict[str, str]
) -> None:
    worker = place.start(*WORKER)
    out = place.folder / "runs" / "again"
    values = {"parameters": {"limit": 24, "out": str(out)}}
    found = deployment(place)
    run = place.ask(f"deployments/{found['id']}/create_flow_run", **values)["id"]
    victim = until(lambda: process_of(run), "the run has a process")
    os.killpg(worker.pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    assert place.read(f"flow_runs/{run}")["state_type"] == "PENDING"

    def given_back() -> bool:
        return "AwaitingRetry" in [one["name"] for one in states(place, run)]

    until(given_back, "the server gives the run back")
    print(f"given back {time.monotonic() - killed:.0f} s after the kill")
    assert place.slots("nightly") == 0
    worker = place.start(*WORKER)
    ended = until(
        lambda: (now := place.read(f"flow_runs/{run}"))["end_time"] and now, "the run ends"
    )
    os.killpg(worker.pid, signal.SIGTERM)
    worker.wait(60)
    names = [one["name"] for one in states(place, run)]
    assert ended["state_type"] == "COMPLETED" and names.count("Running") == 1, names
    assert contents(out / "release") == corpus
