"""One build and what looks at it: nobody else is asked, no secret is kept, no file lies outside."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

from support.paths import ROOT
from tests.security.journey import COMMANDS
from tests.security.test_models import seed

KEY, TOKEN = "sk-hush/9f+27hush==", "hf_hushhushhushhushhush"
GUARD = ROOT / "tests" / "security" / "guard"
LOOPBACK = {"127.0.0.1", "::1", "localhost", None}
OWN_NETWORK = ["unshare", "--map-root-user", "--net"]


def can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*OWN_NETWORK, "true"], check=False, capture_output=True).returncode == 0


class Journey(NamedTuple):
    folder: Path
    told: dict[str, tuple[int, str, str]]
    ports: list[int]
    in_own_network: bool


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """Pickles lie in the run directory before it begins."""
    folder = tmp_path_factory.mktemp("journey")
    run = folder / "home" / "run"
    for place in (run, run / "traces", run / "release" / "data"):
        place.mkdir(parents=True, exist_ok=True)
        seed(place, folder / "canary")
    own = can_unshare()
    command = [sys.executable, "-m", "tests.security.journey", str(folder), KEY, TOKEN, str(GUARD)]
    subprocess.run([*(OWN_NETWORK if own else ()), *command], cwd=ROOT, check=True, timeout=600)
    told = json.loads((folder / "journey.json").read_text())
    return Journey(folder, told, told.pop("ports"), own)


@pytest.mark.slow
def test_every_command_ends_well(journey: Journey) -> None:
    assert journey.told.keys() == COMMANDS.keys()
    codes = {name: one[0] for name, one in journey.told.items()}
    assert codes == {name: 2 if name == "refused" else 0 for name in COMMANDS}, journey.told
    assert "10 read = " in journey.told["build"][1]
    (refusal,) = [one for one in journey.told["refused"][2].splitlines() if "polytrace: " in one]
    assert "answers 401: Bearer *** *** *** ***" in refusal


@pytest.mark.slow
def test_no_address_but_the_endpoint_and_prefects_own_is_contacted(journey: Journey) -> None:
    lines = (journey.folder / "guard.log").read_text().splitlines()
    noted = [json.loads(line)[:3] for line in lines]
    assert {host for _, host, _ in noted} <= LOOPBACK
    bound = {port for event, _, port in noted if event == "socket.bind"}
    reached = {port for event, _, port in noted if event == "socket.connect"}
    assert reached >= {*journey.ports}  # the guard saw it
    assert reached <= {*journey.ports, *bound}
    assert not [one for one in noted if one[0] in ("socket.sendto", "socket.sendmsg")]


@pytest.mark.slow
def test_no_network_is_needed(journey: Journey) -> None:
    if not journey.in_own_network:
        pytest.skip("this system gives no process a network of its own (unshare --net)")
    assert journey.told["build"][0] == 0  # where nothing but loopback exists


def test_the_guard_refuses_and_notes(tmp_path: Path) -> None:
    code = "import socket; socket.create_connection(('polytrace.invalid', 80))"
    environment = {"PYTHONPATH": str(GUARD), "GUARD_LOG": str(tmp_path / "log")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert "guard: socket.getaddrinfo polytrace.invalid" in done.stderr
    assert "polytrace.invalid" in (tmp_path / "log").read_text()


def forms(secret: str) -> Iterator[bytes]:
    """What a secret may look like."""
    yield secret.encode()
    yield quote(secret, safe="").encode()
    for before in ("", "Bearer ", "x", "xx"):  # base64 depends on what stands before
        yield base64.b64encode((before + secret).encode())[4:-4].lstrip(b"=")


def leaks(folder: Path, *secrets: str) -> list[str]:
    wanted = [form for secret in secrets for form in forms(secret)]
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if any(form in path.read_bytes() for form in wanted)]


@pytest.mark.slow
def test_no_secret_is_in_any_file_or_output(journey: Journey) -> None:
    """Run directory, report, card, Prefect's home, the hub's home, temporary files, output."""
    assert len(list((journey.folder / "home" / "prefect").rglob("*"))) > 0
    assert leaks(journey.folder, KEY, TOKEN, KEY[:12]) == []


def test_the_search_for_secrets_finds_them(tmp_path: Path) -> None:
    for number, text in enumerate((KEY, quote(KEY, safe=""), f"Bearer {KEY}")):
        shown = base64.b64encode(text.encode()).decode() if number == 2 else text
        (tmp_path / str(number)).write_text(f"before {shown} after")
    assert len(leaks(tmp_path, KEY)) == 3


@pytest.mark.slow
def test_no_file_lies_outside_whatever_names_say(journey: Journey) -> None:
    """Ids, texts, the source's label, its license and the model's name would all lead outside."""
    found = {path.name for path in journey.folder.iterdir()}
    assert found == {"home", "guard.log", "journey.json"}  # and no canary
    known = {"prompts.jsonl", "recipe.yaml", "refused.yaml", "small.yaml", "prefect", "hf"}
    known |= {"run", "refused", "demo", "worth"}
    at_home = {path.name for path in (journey.folder / "home").iterdir()}
    more = {name for name in at_home - known if not name.startswith(("scores.jsonl", "torchind"))}
    assert more <= {".cache", ".config", ".prefect"}
    named = [path for path in journey.folder.rglob("*") if "outside" in path.name]
    assert named == []
    assert not Path("/outside").exists()
