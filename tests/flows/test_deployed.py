"""`prefect.yaml` on a real server with a real worker: deployed, run, triggered, on schedule.

What a release publishes goes to a Hub on loopback.
"""

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import yaml

from schemas.manifest import Manifest
from support.paths import ROOT
from tests.flows.places import WORKER, Place, served
from tests.flows.test_finetune_eval import small
from tests.servers.hub import HubServer

FILE = ROOT / "prefect.yaml"
WRONG = "hf_wrongSECRETwrongSECRETwrong"  # a token that the Hub refuses; it lies in a Secret block
SAVE = (
    "import os; from prefect.blocks.system import Secret; Secret(value=os.environ['T']).save('no')"
)


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, hub: HubServer) -> Iterator[Place]:
    with served(tmp_path_factory.mktemp("deployed")) as made:
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
        shutil.copy(ROOT / "automations.yaml", made.folder)
        hub_of = {
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": hub.token,
            "HF_HOME": str(made.folder / "hf"),
        }
        made.start(*WORKER, **hub_of)
        yield made


@pytest.mark.slow
def test_a_release_starts_its_experiment_and_a_schedule_its_build(
    place: Place, hub: HubServer
) -> None:
    said = place.deploy()
    for name in ("build-recipe/demo", "finetune-eval-recipe/demo-worth", "build-recipe/nightly"):
        assert name in said
    form = place.ask("deployments/filter", deployments={"name": {"any_": ["demo"]}})[0]
    offered, path = form["parameter_openapi_schema"]["properties"]["recipe"]["anyOf"]
    assert {"demo", "own", "gsm8k_vllm"} <= set(offered["enum"]) and "pattern" in path
    start = f"deployments/{form['id']}/create_flow_run"
    for wrong in ({"recipie": "demo"}, {"recipe": "demoo"}, {"limit": 0}):
        refused = place.post(start, parameters=wrong)
        assert refused.status_code == 409 and next(iter(wrong)) in refused.text
    assert not place.runs("demo"), "none of them became a run"
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


def test_a_recipe_is_chosen_from_the_bundled_ones_or_named_by_a_path() -> None:
    from prefect.utilities.callables import parameter_schema
    from prefect.utilities.schema_tools.validation import is_valid

    from flows import deployed

    for flow, key, name in (
        (deployed.build, "recipe", "demo"),
        (deployed.finetune_eval, "experiment", "tiny"),
    ):
        schema = parameter_schema(flow.fn).model_dump()
        assert schema["properties"][key]["default"] == name
        assert all(is_valid({key: one}, schema) for one in (name, "mine/own.yaml", "/data/a.yml"))
        assert not any(is_valid({key: one}, schema) for one in (f"{name}o", "", None, 3))


def test_nothing_is_published_before_somebody_says_so() -> None:
    from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger

    plan = {one["name"]: one for one in yaml.safe_load(FILE.read_text())["deployments"]}
    assert not plan["publish"].get("schedules")
    (trigger,) = plan["publish"]["triggers"]
    read = DeploymentEventTrigger.model_validate(trigger)
    read.set_deployment_id(uuid4())
    assert not read.as_automation().enabled
    assert "repo" not in plan["publish"]["parameters"]
