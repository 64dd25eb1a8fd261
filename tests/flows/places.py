"""A directory with a Prefect server, a worker and deployments, as a user has it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from flows.deployed import RELEASED
from support.paths import ROOT
from tests.flows.homes import HOMES

WORKER = ("worker", "start", "--pool", "polytrace", "--type", "process")


class Place:
    """A directory where a server, a worker and a user are at work."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []
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
        with (self.folder / f"{args[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "prefect", *args],
                cwd=self.folder,
                env=self.env | env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def end(self) -> None:
        """End all that was started here, the last first."""
        for process in reversed(self.started):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)

    def prefect(self, *args: str) -> str:
        """A `prefect` command, run to its end; what it printed."""
        return self._run("prefect", "--no-prompt", *args)

    def deploy(self, *args: str) -> str:
        """`polytrace deploy`, run to its end; what it printed."""
        return self._run("flows.cli", "deploy", *args)

    def _run(self, module: str, *args: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", module, *args],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

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

    def read(self, path: str, **query: str) -> Any:
        """What the server says about one thing."""
        answer = httpx.get(f"{self.api}/{path}", params=query, timeout=300)
        return answer.raise_for_status().json()

    def slots(self, deployment: str) -> int:
        """How many runs of a deployment with a limit hold a place now."""
        (found,) = self.ask("deployments/filter", deployments={"name": {"any_": [deployment]}})
        return int(found["global_concurrency_limit"]["active_slots"])

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


@contextmanager
def served(folder: Path) -> Iterator[Place]:
    """A place whose server answers; what was started in it ends with it."""
    made = Place(folder)
    HOMES.make(folder / "home")
    (folder / "flows").mkdir()  # a place of its own; all but the entry point comes from ROOT
    shutil.copyfile(ROOT / "flows" / "deployed.py", folder / "flows" / "deployed.py")
    made.start("server", "start", "--port", str(made.port))
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                if httpx.get(f"{made.api}/health", timeout=5).is_success:
                    break
            except httpx.HTTPError:
                assert time.monotonic() < deadline, (folder / "server.log").read_text()
            time.sleep(0.5)
        yield made
    finally:
        made.end()
