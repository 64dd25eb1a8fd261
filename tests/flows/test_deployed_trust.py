"""On a real server with a real worker: whoever starts a run brings no recipe that is trusted."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from flows.trust import TRUST_INLINE
from support.paths import ROOT
from tests.flows.homes import HOMES
from tests.flows.places import Place

SECONDS = 900.0  # of a run, on a machine that does other work
PROGRAM = "#!/bin/sh\ntouch started\n"
POOL = {"name": "polytrace"}
DEPLOYMENTS = [
    {"name": "by-default", "entrypoint": "flows/deployed.py:build", "work_pool": POOL},
    {
        "name": "trusting",
        "entrypoint": "flows/deployed.py:build",
        "work_pool": {**POOL, "job_variables": {"env": {TRUST_INLINE: "1"}}},
    },
    {"name": "whole", "entrypoint": "flows/finetune.py:finetune", "work_pool": POOL},
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("trust"))
    HOMES.make(made.folder / "home")
    (made.folder / "flows").mkdir()
    for name in ("deployed.py", "finetune.py"):
        shutil.copyfile(ROOT / "flows" / name, made.folder / "flows" / name)
    write_recipe(made.folder)
    plan = {"name": "polytrace", "deployments": DEPLOYMENTS}
    (made.folder / "prefect.yaml").write_text(yaml.safe_dump(plan))
    made.env["PREFECT_WORKER_QUERY_SECONDS"] = "2"
    started = [made.start("server", "start", "--port", str(made.port))]
    try:
        wait_for_server(made)
        made.prefect("work-pool", "create", "polytrace", "--type", "process")
        made.prefect("deploy", "--all")
        started.append(made.start("worker", "start", "--pool", "polytrace", "--type", "process"))
        yield made
    finally:
        for process in reversed(started):
            os.killpg(process.pid, signal.SIGTERM)
        for process in started:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def write_recipe(folder: Path) -> None:
    program = folder / "program.sh"
    program.write_text(PROGRAM)
    program.chmod(0o700)
    (folder / "rows.jsonl").write_text('{"question": "What is 1 + 1?", "answer": "2"}\n')
    recipe = {
        "name": "served",
        "source": {"kind": "jsonl", "path": "rows.jsonl"},
        "teacher": {"kind": "openai_server", "model": "tiny/teacher"},
        "serve": {"servers": 1},
    }
    (folder / "served.yaml").write_text(yaml.safe_dump(recipe))


def wait_for_server(place: Place) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            if httpx.get(f"{place.api}/health", timeout=5).is_success:
                return
        except httpx.HTTPError:
            assert time.monotonic() < deadline, (place.folder / "server.log").read_text()
        time.sleep(0.5)


def ended(place: Place, name: str, **parameters: Any) -> str:
    """The message with which a run of a deployment fails."""
    form = place.ask("deployments/filter", deployments={"name": {"any_": [name]}})[0]
    place.ask(f"deployments/{form['id']}/create_flow_run", parameters=parameters)
    run = place.wait(name, SECONDS)
    assert run["state_type"] == "FAILED"
    return str(run["state"]["message"])


@pytest.mark.slow
def test_overrides_and_whole_recipes_are_checked_unless_the_deployment_trusts_them(
    place: Place,
) -> None:
    asked = {"recipe": "served.yaml", "overrides": ["serve.python=./program.sh"]}
    said = ended(place, "by-default", **asked)
    assert said.startswith("served.yaml is not trusted: serve.python: starts this program")
    settings = {
        "name": "inline",
        "model": {"path": "tiny/dlm", "trust_remote_code": True},
        "corpus": "runs/demo",
    }
    said = ended(place, "whole", settings=settings)
    assert "the training inline is not trusted: model.trust_remote_code" in said
    assert not (place.folder / "started").exists()
    said = ended(place, "trusting", **asked)
    assert "not trusted" not in said
    assert (place.folder / "started").exists(), "the program has been started"
