"""One supervised server: a thread that starts it, asks for its health, and starts it again.

In: a `Plan` and a `Pace`. Out: a URL that stays the same over restarts; `ready` once it has
answered; `error` if it never did; `failure` when its restarts are used up. The server itself runs
under `support/supervisor.py`, so that nothing outlives the process that holds this thread.
"""

import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from curation.vllm_servers import launch
from curation.vllm_servers.launch import Plan
from support.errors import PolytraceError, ShortError, UserError

OTHER_PORTS = 3
LONGEST_BACKOFF_SECONDS = 30.0
WARDEN_SECONDS = 60.0  # beyond the grace; the warden's own bounds lie below it


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How patient the supervision is, in seconds."""

    look: float = 0.5  # between two looks at the process, and at /health until it answers
    health: float = 5.0  # between two questions to a server that has answered
    answer: float = 20.0  # a reply to /health that takes longer is none
    unhealthy: float = 60.0  # without a reply until a living server is started again
    backoff: float = 1.0  # before the first restart; doubles with each
    grace: float = 10.0  # from SIGTERM to SIGKILL
    steady: float = 3600.0  # a life that lasted so long forgets the restarts before it


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """Why a life of the server ended, and the end of its log."""

    what: str
    last_words: tuple[str, ...]
    is_late: bool


class Server:
    """One server and the thread that looks after it; `say` gets a line for every restart."""

    def __init__(self, plan: Plan, pace: Pace, taken: set[int], say: Callable[[str], None]) -> None:
        self.ready = threading.Event()
        self.error: PolytraceError | None = None
        self.failure: str | None = None
        self._plan = plan
        self._pace = pace
        self._taken = taken
        self._say = say
        self._port = launch.free_port(plan.host, taken)
        self._closing = threading.Event()
        self._lock = threading.Lock()  # no process is started once `_closing` is set
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name=f"server-{plan.number}", daemon=True)

    @property
    def url(self) -> str:
        """The base of the OpenAI routes; final once the server is ready."""
        return launch.base_url(self._plan.host, self._port)

    def start(self) -> None:
        """Start the thread, which starts the server."""
        self._thread.start()

    def ask_to_end(self) -> None:
        """Let the warden end the server; returns at once."""
        self._closing.set()
        with self._lock:
            if self._process is not None:
                _tell_to_end(self._process)

    def join(self) -> None:
        """Wait until the server and all that came of it are gone."""
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._supervise()
        except Exception as error:  # a thread that ends silently would leave everybody waiting
            self.failure = f"{self._name()}: {type(error).__name__}: {error}"
            self.error = error if isinstance(error, PolytraceError) else ShortError(self.failure)

    def _supervise(self) -> None:
        """Lives of the server, until closing, the first that never answers, or one too many."""
        restarts = moves = 0
        began = time.monotonic()
        while (fault := self._live()) is not None:
            if time.monotonic() - began > self._pace.steady:
                restarts = 0
            if not self.ready.is_set():
                if _port_was_taken(fault) and moves < OTHER_PORTS:
                    moves += 1
                    self._port = launch.free_port(self._plan.host, self._taken)
                    continue
                self.error = self._explain(fault)
                return
            if restarts == self._plan.restarts:
                self.failure = (
                    f"{self._name()} {self._describe(fault)}; it has been started again "
                    f"{restarts} times in a row, all that serve.restarts allows"
                )
                self._say(self.failure)
                return
            pause = min(LONGEST_BACKOFF_SECONDS, self._pace.backoff * 2**restarts)
            restarts += 1
            self._say(f"{self._name()} {fault.what}; restart {restarts} of {self._plan.restarts}")
            self._closing.wait(pause)
            began = time.monotonic()

    def _live(self) -> _Fault | None:
        """One life, from its start until nothing is left of it; None when closing."""
        path = self._plan.log
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as log:
            begin = log.tell()
            with self._lock:
                if self._closing.is_set():
                    return None
                process = launch.start(self._plan, self._port, self._pace.grace, log)
                self._process = process
        try:
            end = self._watch(process)
        finally:
            with self._lock:
                _tell_to_end(process)
            _wait(process, self._pace.grace + WARDEN_SECONDS)
        if end is None:
            return None
        what, is_late = end
        return _Fault(what=what, last_words=launch.last_words(path, begin), is_late=is_late)

    def _watch(self, process: "subprocess.Popen[bytes]") -> tuple[str, bool] | None:
        """What ended this life and whether it was the time to start; None when closing."""
        pace = self._pace
        began = next_question = time.monotonic()
        has_answered = False
        failing_since: float | None = None
        while not self._closing.wait(pace.look):
            if (status := process.poll()) is not None:
                return _ending(status), False
            asked = time.monotonic()
            if asked < next_question:
                continue
            if launch.is_healthy(self._plan.host, self._port, pace.answer):
                has_answered, failing_since, next_question = True, None, asked + pace.health
                self.ready.set()
            elif not has_answered:
                if time.monotonic() - began > self._plan.start_seconds:
                    return f"did not answer within {self._plan.start_seconds:g} s", True
            else:
                failing_since = asked if failing_since is None else failing_since
                if time.monotonic() - failing_since > pace.unhealthy:
                    return f"lives, but its /health failed for {pace.unhealthy:g} s", False
        return None

    def _name(self) -> str:
        return f"vLLM server {self._plan.number} at {self.url}"

    def _describe(self, fault: _Fault) -> str:
        words = " | ".join(fault.last_words) or "(nothing)"
        return f"{fault.what}; its log {self._plan.log} ends: {words}"

    def _explain(self, fault: _Fault) -> PolytraceError:
        """The error for a server that never answered."""
        plan = self._plan
        if fault.is_late:
            return ShortError(
                f"serve.start_seconds: {self._name()} {self._describe(fault)}; "
                f"allow more if the model takes longer to load"
            )
        if any("No module named 'vllm'" in line for line in fault.last_words):
            return launch.no_vllm(plan.python)
        return UserError(
            f"serve: `{plan.shown(self._port)}` {self._describe(fault)}; "
            f"set serve.args or the environment so that it starts"
        )


def _port_was_taken(fault: _Fault) -> bool:
    return any("address already in use" in line.lower() for line in fault.last_words)


def _ending(status: int) -> str:
    """A warden's exit status in words: negative if it was killed itself, 128 + n for signal n."""
    number = -status if status < 0 else status - 128
    return f"was ended by signal {number}" if number > 0 else f"ended with status {status}"


def _tell_to_end(process: "subprocess.Popen[bytes]") -> None:
    """Tell the warden, not by the pipe's end alone: a process forked by this one may hold it."""
    assert process.stdin is not None
    if not process.stdin.closed:
        launch.tell(process, b"\n")
        process.stdin.close()


def _wait(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()  # the inner warden goes on
        process.wait()
