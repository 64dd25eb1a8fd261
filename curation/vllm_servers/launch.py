"""How a vLLM server is started and reached: its command line, its address, the tail of its log.

The facts about vLLM that `server.py` needs. Nothing here starts a thread or keeps state.
"""

import ctypes
import os
import re
import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from support.display.text import one_line, shorten
from support.errors import UserError
from support.network import dialled
from support.processes import DEVNULL, STDOUT, Child, TimeoutExpired, output

MODULE = "vllm.entrypoints.openai.api_server"
TAIL_BYTES = 1 << 18
TAIL_LINES = 3
CAUSES = 2
ANSWER_SECONDS = 60.0  # that an interpreter has to say whether it holds vLLM
LINE_CHARACTERS = 400
# "(EngineCore pid=7) ERROR 11-23 09:16:32 [core.py:1510] ValueError: …", or without what precedes.
_CAUSE = re.compile(r"(?:\([^)]*\) )?(?:ERROR [^\]]*\] )?((?:\w+\.)*\w*(?:Error|Exception): .*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
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
        """The command line for a shell, with the environment variables that are set for it."""
        more = (f"{name}={value}" for name, value in sorted(self.environment.items()))
        return shlex.join([*more, *self.command(port)])


def check_vllm(python: str) -> None:
    """UserError where an interpreter says that it has no vLLM, which is not imported.

    An interpreter that fails to answer is not judged here: the start of the server shows why.
    """
    question = f"from importlib.util import find_spec; print(find_spec({MODULE.split('.')[0]!r}))"
    with suppress(OSError, TimeoutExpired):
        status, printed = output((python, "-c", question), ANSWER_SECONDS, _environment(python))
        if status == 0 and printed.strip() == b"None":
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


def start(spec: LaunchSpec, port: int, grace: float, log: BinaryIO) -> Child[bytes]:
    """The server, with `grace` seconds from SIGTERM to SIGKILL; its output goes to `log`."""
    return Child(
        spec.command(port),
        grace=grace,
        stdin=DEVNULL,
        stdout=log,
        stderr=STDOUT,
        env={**_environment(spec.python), **spec.environment},
    )


def base_url(host: str, port: int) -> str:
    """The base of a server's OpenAI routes."""
    reached = dialled(host)
    return f"http://{f'[{reached}]' if ':' in reached else reached}:{port}/v1"


def log_tail(log: Path, begin: int) -> tuple[str, ...]:
    """Lines of the log from byte `begin` on: the first errors in it, then its last lines."""
    with log.open("rb") as file:
        file.seek(max(begin, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    lines = [one_line(line) for line in text.splitlines() if line.strip()]
    end = lines[-TAIL_LINES:]
    errors = (match[1] for line in lines if (match := _CAUSE.match(line)))
    causes = [cause for cause in dict.fromkeys(errors) if not any(cause in line for line in end)]
    return tuple(shorten(line, LINE_CHARACTERS) for line in (*causes[:CAUSES], *end))


def visible_gpus(
    environment: Mapping[str, str] = os.environ, *, otherwise: Callable[[], int] | None = None
) -> tuple[str, ...]:
    """The GPUs that a server may use, named as in CUDA_VISIBLE_DEVICES; CUDA is not initialised.

    `otherwise` counts the GPUs of a machine without NVIDIA's driver (default: torch, which is slow
    to import).
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
