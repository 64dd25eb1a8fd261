"""Run Python programs that nobody has read, in processes of their own.

A program (a guest) has namespaces of its own (users, processes, files, network) and a seccomp
filter: it sees Python's library and an empty working directory in memory, no network, no process of
ours, no variable of our environment. Time, memory, disk, processes and output are limited. When it
ends, the kernel ends everything that it started. Needs Linux with user namespaces, or bubblewrap
or nsjail; `isolation.py` finds out which of them works here.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from support.processes import DEVNULL, PIPE, Child

ROOT = Path(__file__).parents[2]
HOST = (
    "import sys; sys.path.insert(0, sys.argv.pop()); "
    "from support.sandbox import _host; sys.path.pop(0); _host.main()"
)
# Sets and dictionaries have the same order in every process, so that a program does the same.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
TRIES = 3


class Guest(NamedTuple):
    """A program's text, what it reads from standard input, and modules that it may import.

    `modules` are pairs of a dotted name and a text.
    """

    text: str
    input: str = ""
    modules: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of each guest; `cpu_seconds` and `memory_bytes` of each of its processes."""

    cpu_seconds: float
    memory_bytes: int
    wall_seconds: float
    disk_bytes: int = 16 << 20
    output_bytes: int = 4 << 20
    processes: int = 8


class Isolation(NamedTuple):
    """What a guest is started in: namespaces that the host makes, or a command.

    `command` starts Python in it; `{disk}` stands for the bytes of its /tmp. `lacks` names what is
    not enforced.
    """

    name: str = "user namespaces and seccomp"
    command: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    is_weak: bool = False


NAMESPACES = Isolation()


class Ran(NamedTuple):
    """How a guest ended: exit status (-n for signal n), processor time, why it was ended early.

    `cut` is "time" (wall-clock), "output", "host" (it could not be run), or empty. `output` is
    its standard output; bytes that are no UTF-8 are escaped as surrogates.
    """

    status: int
    cpu_seconds: float
    cut: str
    output: str


class SandboxError(Exception):
    """The sandbox cannot be made on this machine."""


class Sandbox:
    """One process that starts guests; safe to use from several threads, one run at a time."""

    def __init__(self, isolation: Isolation = NAMESPACES) -> None:
        self._isolation = isolation
        self._lock = Lock()
        self._host: Child[bytes] | None = None

    def run(self, guests: Sequence[Guest], limits: Limits) -> list[Ran]:
        """Run one guest, or two that are linked by a socket (their descriptor 3).

        All end when the first one has ended. A guest is not told what the other one was given.
        Raises SandboxError where there is no sandbox.
        """
        payloads = [json.dumps(guest._asdict()).encode() for guest in guests]
        request = {"limits": asdict(limits), "lengths": [len(payload) for payload in payloads]}
        head = json.dumps(request).encode()
        data = b"".join((len(head).to_bytes(4, "big"), head, *reversed(payloads)))
        with self._lock:
            for _ in range(TRIES):
                try:
                    return self._ask(data)
                except (OSError, EOFError):
                    self._end()
        return [Ran(-9, 0.0, "host", "")] * len(guests)

    def close(self) -> None:
        """End the process; the next run starts it anew."""
        with self._lock:
            self._end()

    def _started(self) -> Child[bytes]:
        if self._host is None:
            if sys.platform != "linux" and not self._isolation.command:
                raise SandboxError("namespaces need Linux")
            how = json.dumps([self._isolation.command, self._isolation.is_weak])
            command = [sys.executable, "-s", "-P", "-S", "-c", HOST, how, str(ROOT)]
            streams = {"stdin": PIPE, "stdout": PIPE, "stderr": DEVNULL}
            self._host = Child[bytes](command, grace=0.0, env=ENVIRONMENT, bufsize=0, **streams)
            assert self._host.stdout is not None
            line = b""
            while not line.endswith(b"\n"):
                if not (byte := self._host.stdout.read(1)):
                    break
                line += byte
            fault = json.loads(line) if line else "its process cannot be started"
            if fault:
                self._end()
                raise SandboxError(fault)
        return self._host

    def _ask(self, data: bytes) -> list[Ran]:
        host = self._started()
        assert host.stdin is not None
        view = memoryview(data)
        while view:
            view = view[host.stdin.write(view) :]
        reply = json.loads(_exactly(host, int.from_bytes(_exactly(host, 4), "big")))
        return [Ran(one["status"], one["cpu"], one["cut"], one["output"]) for one in reply]

    def _end(self) -> None:
        if self._host is not None:
            self._host.__exit__(None, None, None)
            self._host = None


def _exactly(host: Child[bytes], count: int) -> bytes:
    assert host.stdout is not None
    parts = bytearray()
    while len(parts) < count:
        part = host.stdout.read(count - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)
