"""`prefect.yaml` on a real server with a real worker: deployed, run, triggered, on schedule.

What a release publishes goes to a Hub on loopback.
"""

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml

from flows.deployed import RELEASED
from schemas.manifest import Manifest
from support.paths import ROOT
from tests.flows.homes import HOMES
from tests.flows.test_finetune_eval import small
from tests.servers.hub import HubServer

FILE = ROOT / "prefect.yaml"
WRONG = "hf_wrongSECRETwrongSECRETwrong"  # a token that the Hub refuses; it lies in a Secret block
SAVE = (
    "import os; from prefect.blocks.system import Secret; Secret(value=os.environ['T']).save('no')"
)


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
            "PREFECT_LOGGING_LEVEL": "INFO",  # what a run logged is looked at
            "OMP_NUM_THREADS": "1",
        }

    def start(self, *args: str, **env: str) -> subprocess.Popen[bytes]:
        """A `prefect` command in the background, its output in a file."""
        with (self.folder / f"{args[0]}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "prefect", *args],
                cwd=self.folder,
                env=self.env | env,
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

    def post(self, path: str, **body: Any) -> httpx.Response:
        """One request; asked again where the database was locked, as Prefect's client does."""
        deadline = time.monotonic() + 300
        while True:
            answer = httpx.post(f"{self.api}/{path}", json=body, timeout=300)
            if answer.status_code != 503 or time.monotonic() > deadline:
                return answer
            time.sleep(1)

    def ask(self, path: str, **body: Any) -> Any:
        """One question to the server; beside two flows on two cores it may answer late."""
        return self.post(path, **body).raise_for_status().json()

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        """The runs of a deployment whose time has come, oldest first."""
        found = self.ask(
            "flow_runs/filter",
            deployments={"name": {"any_": [deployment]}},
            flow_runs={"state": {"type": {"not_any_": ["SCHEDULED"]}}},
        )
        return sorted(found, key=lambda run: str(run["expected_start_time"]))

    def wait(self, deployment: str, seconds: float, number: int = 0) -> dict[str, Any]:
        """A run of a deployment, by its number, at its end."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            runs = self.runs(deployment)
            if len(runs) > number and runs[number]["end_time"]:
                return runs[number]
            time.sleep(1)
        log = (self.folder / "worker.log").read_text()[-4000:]
        raise AssertionError(f"{deployment} does not end: {self.runs(deployment)}\n{log}")

    def released(self, count: int) -> list[str]:
        """The corpora whose release was told, oldest first; the server writes events in batches."""
        deadline = time.monotonic() + 120
        while True:
            found = self.ask("events/filter", filter={"event": {"name": [RELEASED]}})["events"]
            if len(found) >= count or time.monotonic() > deadline:
                break
            time.sleep(1)
        return [Path(one["payload"]["run"]).name for one in reversed(found)]

    def told(self, run: dict[str, Any]) -> str:
        """What a run logged, whole: the server gets it in batches, its end with the last."""
        deadline = time.monotonic() + 120
        while True:
            logs = self.ask("logs/filter", logs={"flow_run_id": {"any_": [run["id"]]}})
            told = "\n".join(one["message"] for one in logs)
            if "Finished in state" in told or time.monotonic() > deadline:
                return told
            time.sleep(1)

    def artifacts(self) -> dict[str, dict[str, Any]]:
        """Every artifact by its key."""
        return {one["key"]: one for one in self.ask("artifacts/filter")}

    def holding(self, secret: str) -> list[Path]:
        """The files that hold a secret: the server's database, logs, runs, everything."""
        found = []
        for path in self.folder.rglob("*"):
            with suppress(FileNotFoundError):  # the server is at work, and its files come and go
                if path.is_file() and secret.encode() in path.read_bytes():
                    found.append(path)
        return found


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, hub: HubServer) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("deployed"))
    HOMES.make(made.folder / "home")
    (made.folder / "flows").mkdir()  # a place of its own; all but the entry point comes from ROOT
    shutil.copyfile(ROOT / "flows" / "deployed.py", made.folder / "flows" / "deployed.py")
    small(made.folder, nap_alone=True)  # small.yaml, the experiment
    plan = yaml.safe_load(FILE.read_text())
    by_name = {one["name"]: one for one in plan["deployments"]}
    (trigger,) = by_name["demo-worth"]["triggers"]
    trigger["parameters"]["experiment"] = "small.yaml"
    (trigger,) = by_name["publish"]["triggers"]
    trigger["enabled"], trigger["parameters"]["repo"] = True, "org/demo"  # as a user would
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
        hub_of = {
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": hub.token,
            "HF_HOME": str(made.folder / "hf"),
        }
        worker = ("worker", "start", "--pool", "polytrace", "--type", "process")
        started.append(made.start(*worker, **hub_of))
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
def test_a_release_starts_its_experiment_and_a_schedule_its_build(
    place: Place, hub: HubServer
) -> None:
    said = place.prefect("deploy", "--all")
    for name in ("build-recipe/demo", "finetune-eval-recipe/demo-worth", "build-recipe/nightly"):
        assert name in said
    form = place.ask("deployments/filter", deployments={"name": {"any_": ["demo"]}})[0]
    asked = form["parameter_openapi_schema"]["properties"]
    assert asked["recipe"]["type"] == "string" and "A bundled recipe" in str(asked["recipe"])
    options = ("-p", "limit=24", "-p", "price_per_million_tokens=2")
    place.prefect("deployment", "run", "build-recipe/demo", *options)
    built = place.wait("demo", 900)
    assert built["state_type"] == "COMPLETED"
    assert (place.folder / "runs/demo/release/README.md").exists()
    nightly = place.wait("nightly", 900)
    assert nightly["state_type"] == "COMPLETED" and nightly["auto_scheduled"]
    assert (place.folder / "runs/nightly/report.html").exists()
    worth = place.wait("demo-worth", 900)
    assert worth["state_type"] == "COMPLETED", (place.folder / "worker.log").read_text()[-4000:]
    assert worth["parameters"]["corpus"] == str(place.folder / "runs/demo")
    assert sorted(place.released(2)) == ["demo", "nightly"]
    assert len(place.runs("demo-worth")) == 1, "other corpora do not start it"
    (report,) = (place.folder / "runs").glob("small-*/report.html")
    assert "Table 3" in report.read_text()
    _check_artifacts(place, built)
    _check_published(place, hub)


def _check_artifacts(place: Place, built: dict[str, Any]) -> None:
    """What the UI shows of a build: a bar that is full, sums that hold, the way to the page."""
    shown = place.artifacts()
    assert {"demo-card", "small-experiment", "small-experiment-report"} <= set(shown)
    for name in ("demo", "nightly"):
        assert float(shown[f"{name}-progress"]["data"]) == 100
        assert "traces 144 of 144" in shown[f"{name}-progress"]["description"]
    assert shown["demo-progress"]["flow_run_id"] == built["id"]
    manifest = Manifest.load(place.folder / "runs/demo/manifest.json")
    rows = json.loads(shown["demo-funnel"]["data"])
    assert [row["stage"] for row in rows] == [
        *("prompts", "traces", "graded", "canvases", "scored", "release")
    ]
    assert rows[0]["prompts in"] == manifest.prompts.in_
    assert rows[-1]["prompts out"] == manifest.canvases
    assert rows[-1]["traces out"] == manifest.traces.kept
    for before, after in itertools.pairwise(rows):
        assert before["prompts out"] == after["prompts in"]
    numbers = {row["what"]: row["number"] for row in json.loads(shown["demo-tokens"]["data"])}
    written = numbers["tokens written by the teacher: traces"]
    assert written > numbers["… of them on released canvases"] > 0
    assert numbers["cost of what was written, at 2 a million"] == round(written * 2e-6, 4)
    assert not any("cost" in row["what"] for row in json.loads(shown["nightly-tokens"]["data"]))
    page = place.folder / "runs/demo/report.html"
    assert shown["demo-report"]["data"] == f"[{page}]({page.as_uri()})"


def _check_published(place: Place, hub: HubServer) -> None:
    """The release went to the Hub by itself; a mistake is one sentence; no token is kept."""
    published = place.wait("publish", 900)
    assert published["state_type"] == "COMPLETED", published["state"]["message"]
    repo = hub.repos["org/demo"]
    assert repo.private and "README.md" in repo.files
    address = f"{hub.url}/datasets/org/demo/tree/{repo.head}"
    assert place.artifacts()["demo-published"]["data"] == f"[{address}]({address})"
    saved = [sys.executable, "-c", SAVE]
    subprocess.run(saved, cwd=place.folder, env=place.env | {"T": WRONG}, check=True, timeout=300)
    by_hand = {"run": "runs/demo", "repo": "org/demo"}
    form = place.ask("deployments/filter", deployments={"name": {"any_": ["publish"]}})[0]
    start = f"deployments/{form['id']}/create_flow_run"
    mistaken = place.post(start, parameters=by_hand | {"token_block": WRONG})
    assert mistaken.status_code == 409, "is no block's name"
    asked = place.ask(start, parameters=by_hand | {"token_block": "no"})
    refused = place.wait("publish", 900, 1)
    assert refused["id"] == asked["id"] and refused["state_type"] == "FAILED"
    assert refused["state"]["message"] == (
        "org/demo: the hub wants a valid token; set HF_TOKEN (401: Invalid credentials in "
        "Authorization header)"
    )
    told = place.told(refused)  # Prefect's engine adds frames of its own
    assert refused["state"]["message"] in told and "/curation/" not in told
    folder = place.folder / "published"
    kept = place.post(start, parameters={"run": "runs/demo", "to": "s3://key:secret@bucket/x"})
    assert kept.status_code == 409, "the server would keep what may be a credential"
    place.ask(start, parameters={"run": "runs/demo", "to": f"file://{folder}"})
    copied = place.wait("publish", 900, 2)
    assert copied["state_type"] == "COMPLETED", copied["state"]["message"]
    assert (folder / "README.md").exists() and (folder / "polytrace.json").exists()
    for secret in (hub.token, WRONG):
        assert not place.holding(secret)


def test_it_deploys_what_the_flows_take() -> None:
    from prefect.utilities.callables import parameter_schema

    from flows import deployed

    for one in yaml.safe_load(FILE.read_text())["deployments"]:
        flow = getattr(deployed, one["entrypoint"].rpartition(":")[2])
        known = parameter_schema(flow.fn).properties
        for trigger in ({"parameters": one["parameters"]}, *one.get("triggers", ())):
            assert set(trigger["parameters"]) <= set(known)
        for name, asked in known.items():  # what the form shows
            assert asked["description"], name
            assert {"type", "anyOf"} & set(asked), name


def test_nothing_is_published_before_somebody_says_so() -> None:
    from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger

    plan = {one["name"]: one for one in yaml.safe_load(FILE.read_text())["deployments"]}
    assert not plan["publish"].get("schedules")
    (trigger,) = plan["publish"]["triggers"]
    read = DeploymentEventTrigger.model_validate(trigger)
    read.set_deployment_id(uuid4())
    assert not read.as_automation().enabled
    assert "repo" not in plan["publish"]["parameters"]
