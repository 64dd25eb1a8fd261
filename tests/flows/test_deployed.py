"""`prefect.yaml` on a real server with a real worker: deployed, run, triggered, on schedule."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from flows.deployed import RELEASED
from schemas.paths import ROOT
from tests.flows.test_finetune_eval import small

FILE = ROOT / "prefect.yaml"


class Place:
    """A directory where a server, a worker and a user are at work."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.env = os.environ | {
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
            "DO_NOT_TRACK": "1",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
        }

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        """A `prefect` command in the background, its output in a file."""
        with (self.folder / f"{args[0]}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "prefect", *args],
                cwd=self.folder,
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def prefect(self, *args: str) -> str:
        """A `prefect` command, run to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *args],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ask(self, path: str, **body: Any) -> Any:
        """One question to the server; beside two flows on two cores it may answer late."""
        answer = httpx.post(f"{self.api}/{path}", json=body, timeout=300)
        answer.raise_for_status()
        return answer.json()

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        """The runs of a deployment whose time has come, oldest first."""
        found = self.ask(
            "flow_runs/filter",
            deployments={"name": {"any_": [deployment]}},
            flow_runs={"state": {"type": {"not_any_": ["SCHEDULED"]}}},
        )
        return sorted(found, key=lambda run: str(run["expected_start_time"]))

    def wait(self, deployment: str, seconds: float) -> dict[str, Any]:
        """The first run of a deployment, at its end."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ended = [one for one in self.runs(deployment) if one["end_time"]]
            if ended:
                return ended[0]
            time.sleep(1)
        log = (self.folder / "worker.log").read_text()[-4000:]
        raise AssertionError(f"{deployment} does not end: {self.runs(deployment)}\n{log}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("deployed"))
    (made.folder / "flows").mkdir()  # a place of its own; all but the entry point comes from ROOT
    shutil.copyfile(ROOT / "flows" / "deployed.py", made.folder / "flows" / "deployed.py")
    small(made.folder)  # small.yaml, the experiment
    plan = yaml.safe_load(FILE.read_text())
    by_name = {one["name"]: one for one in plan["deployments"]}
    (trigger,) = by_name["demo-worth"]["triggers"]
    trigger["parameters"]["experiment"] = "small.yaml"
    by_name["nightly"]["parameters"]["limit"] = 24
    soon = datetime.now(UTC) + timedelta(minutes=3)  # all is deployed by then
    by_name["nightly"]["schedules"] = [
        {"interval": 86400, "anchor_date": soon.isoformat(), "timezone": "UTC", "active": True}
    ]
    (made.folder / "prefect.yaml").write_text(yaml.safe_dump(plan))
    started = [made.start("server", "start", "--port", str(made.port))]
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                if httpx.get(f"{made.api}/health", timeout=5).is_success:
                    break
            except httpx.HTTPError:
                assert time.monotonic() < deadline, (made.folder / "server.log").read_text()
            time.sleep(0.5)
        started.append(made.start("worker", "start", "--pool", "polytrace", "--type", "process"))
        while not made.ask("work_pools/filter"):
            assert time.monotonic() < deadline, (made.folder / "worker.log").read_text()
            time.sleep(0.5)
        yield made
    finally:
        for process in reversed(started):
            os.killpg(process.pid, signal.SIGTERM)
        for process in started:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_release_starts_its_experiment_and_a_schedule_its_build(place: Place) -> None:
    said = place.prefect("deploy", "--all")
    for name in ("build-recipe/demo", "finetune-eval-recipe/demo-worth", "build-recipe/nightly"):
        assert name in said
    form = place.ask("deployments/filter", deployments={"name": {"any_": ["demo"]}})[0]
    asked = form["parameter_openapi_schema"]["properties"]
    assert asked["recipe"]["type"] == "string" and "A bundled recipe" in str(asked["recipe"])
    place.prefect("deployment", "run", "build-recipe/demo", "-p", "limit=24")
    assert place.wait("demo", 900)["state_type"] == "COMPLETED"
    assert (place.folder / "runs/demo/release/README.md").exists()
    nightly = place.wait("nightly", 900)
    assert nightly["state_type"] == "COMPLETED" and nightly["auto_scheduled"]
    assert (place.folder / "runs/nightly/report.html").exists()
    worth = place.wait("demo-worth", 900)
    assert worth["state_type"] == "COMPLETED", (place.folder / "worker.log").read_text()[-4000:]
    assert worth["parameters"]["corpus"] == str(place.folder / "runs/demo")
    events = place.ask("events/filter", filter={"event": {"name": [RELEASED]}})["events"]
    assert {Path(one["payload"]["run"]).name for one in events} == {"demo", "nightly"}
    assert len(place.runs("demo-worth")) == 1, "other corpora do not start it"
    keys = {one["key"] for one in place.ask("artifacts/filter")}
    assert keys >= {"demo-funnel", "demo-card", "small-experiment"}
    (report,) = (place.folder / "runs").glob("small-*/report.html")
    assert "Table 1" in report.read_text()


def test_it_deploys_what_the_flows_take() -> None:
    from prefect.utilities.callables import parameter_schema

    from flows import deployed

    for one in yaml.safe_load(FILE.read_text())["deployments"]:
        flow = getattr(deployed, one["entrypoint"].rpartition(":")[2])
        known = parameter_schema(flow.fn).properties
        for trigger in ({"parameters": one["parameters"]}, *one.get("triggers", ())):
            assert set(trigger["parameters"]) <= set(known)
