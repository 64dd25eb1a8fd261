"""One supervised server: a thread that starts it, checks its health, and starts it again.

The server's URL stays the same over restarts. `ready` is set once it has answered; `error` is why
it never did; `failure` says that its restarts are used up. The server is a
`support.processes.Child`, so that it ends with the process that holds this thread.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from curation.vllm_servers import launch
from curation.vllm_servers.launch import LaunchSpec
from support.errors import PolytraceError, ShortError, UserError
from support.files import private
from support.network import free_port, is_healthy
from support.processes import Child

OTHER_PORTS = 3
LONGEST_BACKOFF_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthTimeouts:
    """How patient the supervision is, in seconds."""

    look: float = 0.5  # between two looks at the process, and at /health until it answers
    health: float = 5.0  # between two questions to a server that has answered
    answer: float = 20.0  # a reply to /health that takes longer is none
    unhealthy: float = 60.0  # without a reply until a living server is started again
    backoff: float = 1.0  # before the first restart; doubles with each
    grace: float = 10.0  # from SIGTERM to SIGKILL
    steady: float = 3600.0  # a life that lasted so long forgets the restarts before it


class _Fault(NamedTuple):
    """Why the server ended, whether it did not answer in time, and the end of its log."""

    what: str
    is_late: bool
    log_tail: tuple[str, ...]


class Server:
    """One server and the thread that supervises it; `say` gets a line for every restart."""

    def __init__(
        self,
        spec: LaunchSpec,
        timeouts: HealthTimeouts,
        taken: set[int],
        say: Callable[[str], None],
    ) -> None:
        self.ready = threading.Event()
        self.error: PolytraceError | None = None
        self.failure: str | None = None
        self._spec = spec
        self._timeouts = timeouts
        self._taken = taken
        self._say = say
        self._port = free_port(spec.host, taken, "serve.host")
        self._closing = threading.Event()
        self._lock = threading.Lock()  # no process is started once `_closing` is set
        self._process: Child[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name=f"server-{spec.number}", daemon=True)

    @property
    def url(self) -> str:
        """The base of the OpenAI routes; final once the server is ready."""
        return launch.base_url(self._spec.host, self._port)

    def start(self) -> None:
        """Start the thread, which starts the server."""
        self._thread.start()

    def ask_to_end(self) -> None:
        """Ask the server to end; returns at once."""
        self._closing.set()
        with self._lock:
            if self._process is not None:
                self._process.terminate()

    def join(self) -> None:
        """Wait until the server and all of its processes have ended."""
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._supervise()
        except Exception as error:  # if the thread ended silently, the build would wait for ever
            self.failure = f"{self._name()}: {type(error).__name__}: {error}"
            self.error = error if isinstance(error, PolytraceError) else ShortError(self.failure)

    def _supervise(self) -> None:
        """Run the server again and again: until it is closed, or fails for good."""
        restarts = moves = 0
        began = time.monotonic()
        while (fault := self._live()) is not None:
            if time.monotonic() - began > self._timeouts.steady:
                restarts = 0
            if not self.ready.is_set():
                if _port_was_taken(fault) and moves < OTHER_PORTS:
                    moves += 1
                    self._port = free_port(self._spec.host, self._taken, "serve.host")
                    continue
                self.error = self._explain(fault)
                return
            if restarts == self._spec.restarts:
                self.failure = (
                    f"{self._name()} {self._describe(fault)}; it has been started again "
                    f"{restarts} times in a row, all that serve.restarts allows"
                )
                self._say(self.failure)
                return
            pause = min(LONGEST_BACKOFF_SECONDS, self._timeouts.backoff * 2**restarts)
            restarts += 1
            self._say(f"{self._name()} {fault.what}; restart {restarts} of {self._spec.restarts}")
            self._closing.wait(pause)
            began = time.monotonic()

    def _live(self) -> _Fault | None:
        """Start the server and wait for its end; why it ended, None when closing."""
        path = self._spec.log
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(path, "ab", opener=private) as log:
            begin = log.tell()
            with self._lock:
                if self._closing.is_set():
                    return None
                process = launch.start(self._spec, self._port, self._timeouts.grace, log)
                self._process = process
        try:
            end = self._watch(process)
        finally:
            process.end()
        return None if end is None else _Fault(*end, launch.log_tail(path, begin))

    def _watch(self, process: Child[bytes]) -> tuple[str, bool] | None:
        """Why the server has to end, and whether it did not answer in time; None when closing."""
        timeouts = self._timeouts
        began = next_question = time.monotonic()
        has_answered = False
        failing_since: float | None = None
        while not self._closing.wait(timeouts.look):
            if (status := process.poll()) is not None:
                return _ending(status), False
            now = time.monotonic()
            if now < next_question:
                continue
            if is_healthy(self._spec.host, self._port, timeouts.answer):
                has_answered, failing_since, next_question = True, None, now + timeouts.health
                self.ready.set()
            elif not has_answered:
                if time.monotonic() - began > self._spec.start_seconds:
                    return f"did not answer within {self._spec.start_seconds:g} s", True
            else:
                failing_since = now if failing_since is None else failing_since
                if time.monotonic() - failing_since > timeouts.unhealthy:
                    return f"lives, but its /health failed for {timeouts.unhealthy:g} s", False
        return None

    def _name(self) -> str:
        return f"vLLM server {self._spec.number} at {self.url}"

    def _describe(self, fault: _Fault) -> str:
        words = " | ".join(fault.log_tail) or "(nothing)"
        return f"{fault.what}; its log {self._spec.log} ends: {words}"

    def _explain(self, fault: _Fault) -> PolytraceError:
        """The error for a server that never answered."""
        spec = self._spec
        if fault.is_late:
            return ShortError(
                f"serve.start_seconds: {self._name()} {self._describe(fault)}; "
                f"allow more if the model takes longer to load"
            )
        if any("No module named 'vllm'" in line for line in fault.log_tail):
            return launch.no_vllm(spec.python)
        return UserError(
            f"serve: `{spec.shown(self._port)}` {self._describe(fault)}; "
            f"set serve.args or the environment so that it starts"
        )


def _port_was_taken(fault: _Fault) -> bool:
    return any("address already in use" in line.lower() for line in fault.log_tail)


def _ending(status: int) -> str:
    """An exit status in words."""
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
