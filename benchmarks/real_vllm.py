"""A real vLLM server on this machine's CPU, for the tests and the benchmark that need one.

In: an interpreter that holds vLLM, and a log file. Out: the bundled teacher at a URL, as a
`support.processes.Child`, so that nothing outlives this process. It can be killed with all its
children at once.
"""

import os
import re
import signal
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from curation.vllm_servers import launch
from support.network import free_port, is_healthy
from support.paths import ROOT
from support.processes import Child

VARIABLE = "POLYTRACE_VLLM_PYTHON"
DEFAULT = ROOT / ".venv-vllm" / "bin" / "python"
MODEL, NAME = ROOT / "tiny" / "teacher", "tiny-teacher"
OPTIONS = ("--dtype", "float32", "--enforce-eager", "--max-model-len", "1024")
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; else vLLM takes most of the memory
    "VLLM_WORKER_MULTIPROC_METHOD": "fork",  # 26 s to start: its processes import nothing twice
}
MISSING = f"no vLLM at {DEFAULT.relative_to(ROOT)}: run `make test-vllm`, or set {VARIABLE}"
GRACE_SECONDS = 5.0
START_SECONDS = 300.0


def interpreter() -> Path | None:
    """The interpreter that holds vLLM; None where there is none and none was asked for.

    FileNotFoundError where the environment names one that is not there.
    """
    named = os.environ.get(VARIABLE)
    path = Path(named).absolute() if named else DEFAULT
    if path.is_file():
        return path
    if named:
        raise FileNotFoundError(f"{VARIABLE}={named}: no such file")
    return None


class ServerProcess(NamedTuple):
    """A process that no other can be taken for: its id, and when it started (clock ticks)."""

    pid: int
    started: int
    title: str

    def is_running(self) -> bool:
        """Whether it is there still; a zombie is not."""
        state = _stat(self.pid)
        return state is not None and state[0] != "Z" and int(state[19]) == self.started


def family(root: int) -> set[ServerProcess]:
    """The process `root` and all that descend from it."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        if state := _stat(int(path.name)):
            children.setdefault(int(state[1]), []).append(int(path.name))
    found: set[ServerProcess] = set()
    todo = [root]
    while todo:
        pid = todo.pop()
        todo += children.get(pid, [])
        if state := _stat(pid):
            with suppress(OSError):
                title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
                found.add(
                    ServerProcess(pid, int(state[19]), title.decode("utf-8", "replace").strip())
                )
    return found


def kill(processes: Iterable[ServerProcess]) -> None:
    """SIGKILL, to all at once."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


class RealVLLM:
    """A server that keeps its port over `kill` and `start`; a context manager that leaves none."""

    def __init__(self, python: Path, log: Path, *options: str, model: Path = MODEL) -> None:
        self._spec = launch.LaunchSpec(
            number=0,
            python=str(python),
            model=str(model),
            name=NAME,
            host="127.0.0.1",
            args=(*OPTIONS, *options),
            environment=ENVIRONMENT,
            log=log,
            restarts=0,
            start_seconds=START_SECONDS,
        )
        self._port = free_port("127.0.0.1", set())
        self._process: Child[bytes] | None = None
        self.url = launch.base_url("127.0.0.1", self._port)

    def start(self) -> None:
        """Start it and wait until it answers; RuntimeError with the tail of its log if it ends."""
        with self._spec.log.open("ab") as log:
            begin = log.tell()
            self._process = launch.start(self._spec, self._port, GRACE_SECONDS, log)
        deadline = time.monotonic() + START_SECONDS
        while not is_healthy("127.0.0.1", self._port, 5.0):
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = " | ".join(launch.log_tail(self._spec.log, begin))
                self.close()
                raise RuntimeError(f"{self._spec.shown(self._port)}: {words}")
            time.sleep(0.2)

    def kill(self) -> None:
        """SIGKILL to the server and all its children; returns when they are gone."""
        assert self._process is not None
        victims = {
            one for one in family(self._process.pid) if "support/processes.py" not in one.title
        }
        kill(victims)
        self._process.wait(60)
        assert not any(one.is_running() for one in victims)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let none of its processes run for a while: an idle vLLM polls on all cores."""
        assert self._process is not None
        processes = [
            one for one in family(self._process.pid) if "support/processes.py" not in one.title
        ]
        for one in processes:
            os.kill(one.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for one in processes:
                os.kill(one.pid, signal.SIGCONT)

    def metrics(self) -> str:
        """What it says of itself, as Prometheus text."""
        root = self.url.removesuffix("/v1")
        with urllib.request.urlopen(f"{root}/metrics", timeout=10) as reply:
            return str(reply.read().decode())

    def answered(self) -> int:
        """Samples that this life of the server has finished."""
        found = re.findall(r"^vllm:request_success_total\{.*\} (\S+)$", self.metrics(), re.M)
        return int(sum(map(float, found)))

    def close(self) -> None:
        """End it and all that came of it."""
        if self._process is not None:
            self._process.end()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on; None where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None
