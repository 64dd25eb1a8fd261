"""How a vLLM server is started and reached: its command line, port, address, health and last words.

In: what a recipe's `serve` says. Out: a `Plan` for `server.py`, and the few facts about vLLM that
the supervision needs. Nothing here starts a thread or keeps state.
"""

import ctypes
import http.client
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import BinaryIO

from support.errors import UserError
from support.paths import ROOT
from support.text import one_line, shorten

WARDEN = ROOT / "support" / "supervisor.py"
MODULE = "vllm.entrypoints.openai.api_server"
LOWEST_PORT = 20_000
PORT_TRIES = 200
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
USUAL_EPHEMERAL = 32_768
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
TAIL_BYTES = 1 << 18
TAIL_LINES = 3
CAUSES = 2
ANSWER_SECONDS = 60.0  # that an interpreter has to say whether it holds vLLM
LINE_CHARACTERS = 400
# "(EngineCore pid=7) ERROR 11-23 09:16:32 [core.py:1510] ValueError: …", or without what precedes.
_CAUSE = re.compile(r"(?:\([^)]*\) )?(?:ERROR [^\]]*\] )?((?:\w+\.)*\w*(?:Error|Exception): .*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One server; `environment` is what it gets besides this process's own."""

    number: int
    python: str
    model: str
    name: str
    host: str
    args: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    restarts: int
    start_seconds: float

    def command(self, port: int) -> tuple[str, ...]:
        """The server's command line."""
        return (
            *(self.python, "-m", MODULE, "--model", self.model, "--served-model-name", self.name),
            *("--host", self.host, "--port", str(port), *self.args),
        )

    def shown(self, port: int) -> str:
        """The command line as a shell takes it, with what stands in the environment for it."""
        more = (f"{name}={value}" for name, value in sorted(self.environment.items()))
        return shlex.join([*more, *self.command(port)])


def check_vllm(python: str) -> None:
    """UserError where an interpreter says that it has no vLLM, which is not imported.

    An interpreter that fails to answer is not judged here: the start of the server shows why.
    """
    question = f"from importlib.util import find_spec; print(find_spec({MODULE.split('.')[0]!r}))"
    with suppress(OSError, subprocess.TimeoutExpired):
        answer = subprocess.run(
            (python, "-c", question),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=_environment(python),
            timeout=ANSWER_SECONDS,
            check=False,
        )
        if answer.returncode == 0 and answer.stdout.strip() == b"None":
            raise no_vllm(python)


def no_vllm(python: str) -> UserError:
    """The error for an interpreter without vLLM."""
    return UserError(
        f"serve.python: {python} has no vLLM; run `{python} -m pip install vllm` "
        f"or name the interpreter of the environment that holds it"
    )


def _environment(python: str) -> dict[str, str]:
    """The environment of a server that this interpreter runs."""
    environment = dict(os.environ)
    # As in an activated environment: the engine calls its compilers and tools by name.
    tools = str(Path(python).parent)
    environment["PATH"] = os.pathsep.join([tools, os.environ.get("PATH", os.defpath)])
    environment["PYTHONSAFEPATH"] = "1"  # else `-m` imports from the folder one happens to be in
    return environment


def start(plan: Plan, port: int, grace: float, log: BinaryIO) -> "subprocess.Popen[bytes]":
    """The warden that runs the server until its input, whose other end is here alone, closes."""
    warden = (sys.executable, "-I", "-S", str(WARDEN), "outer", str(os.getpid()), str(grace))
    process = subprocess.Popen(
        warden,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C reaches the parent alone
        env={**_environment(plan.python), **plan.environment},
        bufsize=0,
    )
    tell(process, json.dumps(plan.command(port)).encode() + b"\n")
    return process


def tell(process: "subprocess.Popen[bytes]", word: bytes) -> None:
    """Write to a warden; one that is gone already shows it by its status."""
    assert process.stdin is not None
    data = memoryview(word)
    with suppress(BrokenPipeError):
        while data:
            data = data[process.stdin.write(data) or 0 :]


def dialled(host: str) -> str:
    """The address at which a server bound to `host` is reached from this machine."""
    return EVERYWHERE.get(host, host)


def base_url(host: str, port: int) -> str:
    """The base of a server's OpenAI routes."""
    reached = dialled(host)
    return f"http://{f'[{reached}]' if ':' in reached else reached}:{port}/v1"


def free_port(host: str, taken: set[int]) -> int:
    """A port that nobody listens on and that is not in `taken`, to which it is added.

    Not from the range that the kernel hands to clients: while a server is restarted a client may
    get its port, and one that keeps dialling it may even be connected to itself.
    """
    try:
        highest = int(EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        highest = USUAL_EPHEMERAL
    reason = "no port is free"
    for _ in range(PORT_TRIES):
        port = SystemRandom().randrange(LOWEST_PORT, max(highest, LOWEST_PORT + 1000))
        if port in taken:
            continue
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(address)
        except socket.gaierror as error:
            raise UserError(f"serve.host: {host!r}: {error.strerror}") from None
        except OSError as error:
            reason = error.strerror or str(error)
            continue
        taken.add(port)
        return port
    raise UserError(f"serve.host: cannot listen at {host!r}: {reason}")


def is_healthy(host: str, port: int, timeout: float) -> bool:
    """Whether GET /health gets a 200 within `timeout` seconds; no proxy is asked."""
    connection = http.client.HTTPConnection(dialled(host), port, timeout=timeout)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def last_words(log: Path, begin: int) -> tuple[str, ...]:
    """What the log says since byte `begin`: the first causes that it names, then its last lines."""
    with log.open("rb") as file:
        file.seek(max(begin, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    lines = [one_line(line) for line in text.splitlines() if line.strip()]
    end = lines[-TAIL_LINES:]
    found = (match[1] for line in lines if (match := _CAUSE.match(line)))
    causes = [cause for cause in dict.fromkeys(found) if not any(cause in line for line in end)]
    return tuple(shorten(line, LINE_CHARACTERS) for line in (*causes[:CAUSES], *end))


def visible_gpus(
    environment: Mapping[str, str] = os.environ, *, otherwise: Callable[[], int] | None = None
) -> tuple[str, ...]:
    """The GPUs that a server may use, as CUDA_VISIBLE_DEVICES names them; CUDA stays untouched.

    `otherwise` counts those of a machine without NVIDIA's driver (default: torch, which is slow to
    import).
    """
    if (chosen := environment.get("CUDA_VISIBLE_DEVICES")) is not None:
        names = [name.strip() for name in chosen.split(",")]
        # CUDA reads the list up to the first name that is none.
        bad = (i for i, name in enumerate(names) if not name or name.startswith("-"))
        return tuple(names[: next(bad, len(names))])
    return tuple(map(str, range(_gpus(otherwise or _gpus_of_torch))))


def _gpus(otherwise: Callable[[], int]) -> int:
    """GPUs of this machine: from the driver, since this interpreter's torch may be a CPU build."""
    try:
        driver = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return otherwise()
    count = ctypes.c_uint(0)
    if driver.nvmlInit_v2() or driver.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return 0
    driver.nvmlShutdown()
    return count.value


def _gpus_of_torch() -> int:
    from torch import cuda

    return cuda.device_count()
