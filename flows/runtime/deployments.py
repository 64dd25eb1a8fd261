"""Make the deployments that `prefect.yaml` describes, with all that belongs to them.

`prefect deploy` does most of it. Added are the work pool, the refusal of unknown parameters, and
the automations of `automations.yaml`, which restart crashed runs.
"""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from pydantic import ValidationError

from support.errors import PolytraceError, UserError, first_line
from support.processes import DEVNULL, PIPE, STDOUT, Child

PLAN = "prefect.yaml"
AUTOMATIONS = "automations.yaml"
Say = Callable[[str], None]


def deploy(folder: Path, names: Sequence[str], *, restart: bool, say: Say) -> None:
    """Make or update the deployments of a folder; doing it twice changes nothing.

    Args:
        folder: Holds `prefect.yaml` and `automations.yaml`.
        names: The deployments; all if empty.
        restart: Make the automations; if not, those of an earlier call are deleted.
        say: Told what was done.
    """
    known = {one["name"]: one for one in read_plan(folder / PLAN)}
    if unknown := sorted(set(names) - set(known)):
        raise UserError(f"{PLAN}: no deployment {unknown[0]!r}; there are {', '.join(known)}")
    if get_current_settings().api.url is None:
        raise UserError(
            "PREFECT_API_URL: not set; start a server (prefect server start) and name it: "
            "export PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    chosen = [known[name] for name in names or known]
    automations = read_automations(folder / AUTOMATIONS)
    with get_client(sync_client=True) as client:
        _make_pools(client, folder, {one["work_pool"]["name"] for one in chosen})
        run_prefect(folder, "deploy", *(word for one in chosen for word in ("--name", one["name"])))
        for one in chosen:
            say(f"{_refuse_unknown_parameters(client, one)}: deployed")
        for automation in automations:
            _set(client, automation, wanted=restart)
            say(f"{automation.name}: {'set' if restart else 'left out'}")


def read_automations(file: Path) -> list[AutomationCore]:
    """The automations in a file of the format that `prefect automation create` reads."""
    try:
        return [AutomationCore.model_validate(one) for one in _read(file, "automations")]
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{file.name}: {where}: {first['msg']}") from None


def read_plan(file: Path) -> list[dict[str, Any]]:
    """The deployments in a `prefect.yaml`; UserError for one that lacks what is needed here."""
    entries = _read(file, "deployments")
    for number, one in enumerate(entries):
        pool = one.get("work_pool")
        needed = {
            "name": one.get("name"),
            "entrypoint": one.get("entrypoint"),
            "work_pool.name": pool.get("name") if isinstance(pool, dict) else None,
        }
        for key, value in needed.items():
            if not isinstance(value, str) or not value:
                raise UserError(f"{file.name}: deployments.{number}.{key}: give it as text")
    return entries


def _read(file: Path, key: str) -> list[dict[str, Any]]:
    """The list of mappings under a key of a YAML file; UserError where there is none."""
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        where = file.parent.resolve()
        raise UserError(f"{file.name}: not in {where}; go to the checkout") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or first_line(error)
        raise UserError(f"{file.name}{line}: cannot be read: {problem}") from None
    entries = data.get(key) if isinstance(data, dict) else None
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise UserError(f"{file.name}: {key}: must be a list of mappings")
    return entries


def run_prefect(folder: Path, *words: str) -> None:
    """A `prefect` command; what it says goes to standard error, and only where it fails."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", *words]
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    streams = {"stdin": DEVNULL, "stdout": PIPE, "stderr": STDOUT}
    with Child[bytes](
        command, grace=5.0, cwd=folder, env=os.environ | settings, **streams
    ) as child:
        said, _ = child.communicate()
    if child.returncode:
        sys.stderr.write(said.decode(errors="replace"))
        raise PolytraceError(f"prefect {words[0]} failed; its message is above")


def _make_pools(client: SyncPrefectClient, folder: Path, names: Iterable[str]) -> None:
    for name in sorted(names):
        if not _has_pool(client, name):
            try:
                run_prefect(folder, "work-pool", "create", name, "--type", "process")
            except PolytraceError:
                if not _has_pool(client, name):  # a worker that began meanwhile has made it
                    raise


def _has_pool(client: SyncPrefectClient, name: str) -> bool:
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        return False
    return True


def _refuse_unknown_parameters(client: SyncPrefectClient, wanted: dict[str, Any]) -> str:
    """Close the schema of a deployment's parameters, which Prefect leaves open; its full name."""
    named = DeploymentFilter(name=DeploymentFilterName(any_=[wanted["name"]]))
    for found in client.read_deployments(deployment_filter=named):
        if found.entrypoint == wanted["entrypoint"]:
            schema = {**(found.parameter_openapi_schema or {}), "additionalProperties": False}
            client.update_deployment(found.id, DeploymentUpdate(parameter_openapi_schema=schema))
            return f"{client.read_flow(found.flow_id).name}/{found.name}"
    raise PolytraceError(f"prefect deploy made no {wanted['name']}")


def _set(client: SyncPrefectClient, automation: AutomationCore, *, wanted: bool) -> None:
    """Have one automation of this name, or none; one that the user paused stays paused."""
    found = client.read_automations_by_name(automation.name)
    for surplus in found[1:] if wanted else found:
        client.delete_automation(surplus.id)
    if found and wanted:
        kept = automation.model_copy(update={"enabled": found[0].enabled})
        client.update_automation(found[0].id, kept)
    elif wanted:
        client.create_automation(automation)
