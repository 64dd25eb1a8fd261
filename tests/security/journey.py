"""A build and all that looks at it, with a key, a token and hostile names, in a network of its own.

    python -m tests.security.journey FOLDER KEY TOKEN GUARD

Starts a server on loopback that wants the key, and one that repeats it; runs the commands in
`FOLDER/home`; leaves `FOLDER/journey.json`: the servers' ports, and code, output and errors of
every command.
"""

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fcntl import ioctl
from pathlib import Path

from support.paths import ROOT
from tests.flows.test_finetune_eval import small
from tests.security.echoing import echoing
from tests.servers.loopback import Behaviour, Loopback

MODEL = "../../../outside/../model"
LABEL = "/../../outside/label"
RECIPE = """
name: journey
paths: 2
source:
  kind: jsonl
  path: {prompts}
  columns: {{prompt: question, gold: answer}}
  license: ../../outside
  label: {label}
teacher:
  kind: openai_server
  model: {model}
  endpoints: {url}
  prompt: "{{problem}} [gold 17]"
  in_flight: 8
  api_key_env: JOURNEY_KEY
groups: {{min_correct: 0}}
canvas: {{slot_tokens: 400, summary_tokens: 400}}
scorer: {{path: tiny/teacher}}
"""
COMMANDS = {
    "build": ("build", "recipe.yaml", "--out", "run"),
    "refused": ("build", "refused.yaml", "--out", "refused"),
    "verify": ("verify", "run"),
    "inspect": ("inspect", "run"),
    "report": ("report", "run"),
    "score": (
        *("score", "--model", "tiny/teacher", "--input", "run", "--limit", "2"),
        *("--out", "scores.jsonl"),
    ),
    "demo": ("build", "demo", "--limit", "24", "--out", "demo"),
    "worth": ("finetune-eval", "small.yaml", "--corpus", "demo", "--out", "worth"),
}
SERVER = """
import sys
from flows.runtime.server import own_server
from prefect.settings import get_current_settings
with own_server():
    api = get_current_settings().api
    print(api.url, api.auth_string.get_secret_value(), flush=True)
    sys.stdin.read()
"""
BUILDS = {"build", "refused", "demo"}
_IFNAME, _UP = b"lo", 0x1


def prompts() -> list[dict[str, str]]:
    """Problems whose ids and texts would lead outside, if they were paths."""
    hostile = ("../../outside", "/outside", "a\0b", "x" * 900, "..\\outside", "$(touch outside)")
    rows = [
        {"id": one, "question": f"What is {n} + {one}?", "answer": "17"}
        for n, one in enumerate(hostile)
    ]
    return rows + [{"question": f"What is {n} + {n}?", "answer": "17"} for n in range(4)]


def loopback_up() -> None:
    """A new network has its loopback down; only its owner may and needs to start it."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        ioctl(any_socket, 0x8914, struct.pack("16sH14x", _IFNAME, _UP))  # SIOCSIFFLAGS


def started(
    arguments: Sequence[str], home: Path, environment: Mapping[str, str]
) -> "subprocess.Popen[str]":
    """A command of ours."""
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> list[object]:
    """Its code, output and errors."""
    out, err = process.communicate()
    return [process.returncode, out, err]


@contextmanager
def own_server(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Address and password of the Prefect server that a command would start, for all commands."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        address, password = process.stdout.readline().split()
        yield address, password
        process.stdin.close()


def main(folder: Path, key: str, token: str, guard: str) -> None:
    """Everything, one command after the other."""
    loopback_up()
    home = folder / "home"
    home.mkdir(exist_ok=True)
    (home / "prompts.jsonl").write_text("\n".join(map(json.dumps, prompts())) + "\n")
    told: dict[str, object] = {}
    with Loopback(Behaviour(models=(MODEL,)), require_key=key) as server, echoing() as echo:
        for name, url in (("recipe", server.url), ("refused", echo)):
            facts = {"label": LABEL, "model": MODEL, "url": url}
            text = RECIPE.format(prompts=home / "prompts.jsonl", **facts)
            (home / f"{name}.yaml").write_text(text)
        small(home, nap_alone=True)
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": os.pathsep.join([guard, str(ROOT)]),
            "GUARD_LOG": str(folder / "guard.log"),
            "HOME": str(home),
            "TMPDIR": str(home),
            "PREFECT_HOME": str(home / "prefect"),
            "HF_HOME": str(home / "hf"),
            "HF_TOKEN": token,
            "JOURNEY_KEY": key,
            "OMP_NUM_THREADS": "1",
            "PREFECT_LOGGING_LEVEL": "CRITICAL",  # the rest of what our commands set
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        }
        with own_server(environment) as (api, password):
            environment |= {"PREFECT_API_URL": api, "PREFECT_API_AUTH_STRING": password}
            for stage in (BUILDS, COMMANDS.keys() - BUILDS):
                begun = {name: started(COMMANDS[name], home, environment) for name in sorted(stage)}
                told |= {name: ended(process) for name, process in begun.items()}
        told["ports"] = [server.port, int(echo.removesuffix("/v1").rpartition(":")[2])]
    (folder / "journey.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:5])
