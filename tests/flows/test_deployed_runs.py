"""How a deployed run ends: later again after an error that may pass, or when its time is over."""

import re
import shutil
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.events import EventTrigger, ResourceSpecification

from flows.runtime.deployed_run import (
    RETRIES,
    RETRY_DELAY,
    TIMEOUT,
    in_one_sentence,
    may_be_tried_again,
    retry_delay,
    seconds_allowed,
)
from flows.runtime.deployments import deploy, read_automations, run_prefect
from support.errors import PolytraceError, ShortError, UserError
from support.paths import ROOT
from tests.flows.places import WORKER, Place, served

LIGHT = '''
"""Flows that import little."""

import time
from pathlib import Path

from prefect import flow, task

from flows.deployed import ENDS, TIMEOUT
from flows.runtime.deployed_run import in_one_sentence
from support.errors import ShortError


@task
def sleep() -> None:
    time.sleep(3600)


@flow(timeout_seconds=TIMEOUT, on_failure=ENDS)
@in_one_sentence
def endless() -> str:
    sleep.submit().wait()
    return "never"


@flow
@in_one_sentence
def absent(mark: str) -> str:
    if not Path(mark).exists():
        Path(mark).touch()
        raise ShortError("the teacher does not answer")
    return "answered"
'''


def entry(name: str, **env: str) -> dict[str, Any]:
    pool = {"name": "polytrace", "job_variables": {"env": env}}
    parameters = {"mark": "mark"} if name == "absent" else {}
    entrypoint = f"flows/light.py:{name}"
    return {"name": name, "entrypoint": entrypoint, "parameters": parameters, "work_pool": pool}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with served(tmp_path_factory.mktemp("light")) as made:
        (made.folder / "flows" / "light.py").write_text(LIGHT)
        shutil.copy(ROOT / "automations.yaml", made.folder)
        once = {RETRIES: "1", RETRY_DELAY: "1"}  # which is too short, and counts as 60
        plan = [entry("absent", **once), entry("endless", **once, **{TIMEOUT: "3"})]
        (made.folder / "prefect.yaml").write_text(yaml.safe_dump({"deployments": plan}))
        made.deploy()
        made.start(*WORKER)
        yield made


def start(place: Place, name: str) -> str:
    (found,) = place.ask("deployments/filter", deployments={"name": {"any_": [name]}})
    return str(place.ask(f"deployments/{found['id']}/create_flow_run", parameters={})["id"])


@pytest.mark.slow
def test_a_run_is_given_back_and_tried_again_or_ends_when_its_time_is_over(place: Place) -> None:
    absent, endless = start(place, "absent"), start(place, "endless")
    ended = place.wait("absent", 900)
    assert ended["state_type"] == "COMPLETED" and ended["run_count"] == 2
    states = {one["name"]: one for one in place.read("flow_run_states/", flow_run_id=absent)}
    waiting = states["AwaitingRetry"]
    assert waiting["message"] == "the teacher does not answer"
    began, due = waiting["timestamp"], waiting["state_details"]["scheduled_time"]
    assert datetime.fromisoformat(due) - datetime.fromisoformat(began) > timedelta(seconds=50)
    assert not states.keys() & {"Crashed", "Failed"}
    late = place.wait("endless", 900)
    assert late["id"] == endless
    assert late["state_name"] == "TimedOut" and late["run_count"] == 1
    time.sleep(1)
    assert place.read(f"flow_runs/{endless}")["state_name"] == "TimedOut"


@pytest.mark.slow
def test_deploying_twice_changes_nothing_and_automations_can_be_left_out(place: Place) -> None:
    def automations() -> dict[str, tuple[str, bool]]:
        found = place.ask("automations/filter")
        names = {one["name"]: (one["id"], one["enabled"]) for one in found}
        assert len(names) == len(found)
        return names

    before = automations()
    assert len(before) == 3 and all(name.startswith("polytrace-") for name in before)
    place.prefect("automation", "pause", "polytrace-restart-crashed")
    place.deploy("absent")
    after = automations()
    assert {name: one[0] for name, one in after.items()} == {k: v[0] for k, v in before.items()}
    assert [name for name, one in after.items() if not one[1]] == ["polytrace-restart-crashed"]
    place.deploy("absent", "--no-restart")
    assert automations() == {}


def test_what_may_pass_is_tried_again_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    short, mistake = ShortError("no answer"), UserError("no such recipe")

    @in_one_sentence
    def fails() -> str:
        raise short

    def tried_again(error: PolytraceError) -> list[bool]:
        found = []
        for starts in ("1", "2", "3"):
            monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__RUN_COUNT", starts)  # Prefect's own
            found.append(may_be_tried_again(error))
        return found

    monkeypatch.setenv(RETRIES, "2")
    assert not any(tried_again(short)), "no worker would take it"
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "1")
    assert not any(tried_again(mistake))
    assert tried_again(short) == [True, True, False]
    state = fails()  # the third start
    assert not isinstance(state, str) and state.is_failed() and state.message == "no answer"
    monkeypatch.delenv(RETRIES)
    assert not any(tried_again(short)), "nothing asks for it"


def test_what_prefect_prints_is_shown_where_it_fails(capfd: pytest.CaptureFixture[str]) -> None:
    run_prefect(ROOT, "version")
    assert capfd.readouterr() == ("", ""), "its hundred lines say what to do next, which is done"
    with pytest.raises(PolytraceError, match="prefect deploi failed; its message is above"):
        run_prefect(ROOT, "deploi")
    assert "deploi" in capfd.readouterr().err


def test_without_a_server_or_a_plan_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"prefect\.yaml: not in .*; go to the checkout"):
        deploy(tmp_path, (), restart=True, say=print)
    with pytest.raises(UserError, match="no deployment 'x'; there are demo, "):
        deploy(ROOT, ("x",), restart=True, say=print)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("deployments: [demo", "prefect.yaml, line 1: cannot be read: "),
        ("", "prefect.yaml: deployments: must be a list"),
        ("deployments:", "prefect.yaml: deployments: must be a list"),
        ("deployments: [demo]", "prefect.yaml: deployments: must be a list"),
        ("deployments: [{entrypoint: x}]", "prefect.yaml: deployments.0.name: "),
        (
            "deployments: [{name: a, entrypoint: x, work_pool: mine}]",
            "deployments.0.work_pool.name",
        ),
    ],
)
def test_a_mistake_in_a_file_that_is_edited_is_one_sentence(
    text: str, says: str, tmp_path: Path
) -> None:
    (tmp_path / "prefect.yaml").write_text(text)
    with pytest.raises(UserError, match=re.escape(says)):
        deploy(tmp_path, (), restart=True, say=print)
    automations = tmp_path / "automations.yaml"
    automations.write_text("automations: {name: x}")
    with pytest.raises(UserError, match=r"automations\.yaml: automations: must be a list"):
        read_automations(automations)


def test_variables_of_a_deployment_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seconds_allowed() is None and retry_delay().total_seconds() == 300
    monkeypatch.setenv(RETRY_DELAY, "5")  # the process would still be ending
    monkeypatch.setenv(TIMEOUT, "two days")
    assert retry_delay().total_seconds() == 60
    with pytest.raises(UserError, match=f"{TIMEOUT}: 'two days' is no number from 0 on"):
        seconds_allowed()


def test_a_second_report_of_a_crash_finds_the_run_still_crashed() -> None:
    """It comes a third of a second after the first; a run given back meanwhile would be lost."""
    file = yaml.safe_load((ROOT / "automations.yaml").read_text())
    found = {one["name"]: one["trigger"] for one in file["automations"]}
    restart = found["polytrace-restart-crashed"]
    assert restart["posture"] == "Proactive" and restart["within"] >= 10
    assert restart["after"] == ["prefect.flow-run.Crashed"]
    assert "prefect.flow-run.Crashed" not in restart["expect"]
    assert {"prefect.flow-run.AwaitingRetry", "prefect.flow-run.Running"} <= set(restart["expect"])


def test_every_deployment_has_the_tag_that_the_automations_look_for(tmp_path: Path) -> None:
    tag = "prefect.tag.polytrace-restart"
    tagged = ResourceSpecification({"prefect.resource.role": "tag", "prefect.resource.id": tag})
    for automation in read_automations(ROOT / "automations.yaml"):
        assert isinstance(automation.trigger, EventTrigger)
        assert automation.trigger.match_related == tagged, automation.name
    for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        assert "polytrace-restart" in one["tags"], one["name"]
        env = one["work_pool"]["job_variables"]["env"]
        assert {RETRIES, RETRY_DELAY, TIMEOUT} < env.keys(), one["name"]
    wrong = tmp_path / "automations.yaml"
    wrong.write_text("automations: [{trigger: {type: event, posture: Reactive}, actions: []}]")
    with pytest.raises(UserError, match=r"^automations\.yaml: name: Field required"):
        read_automations(wrong)
