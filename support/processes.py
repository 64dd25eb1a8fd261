"""Child processes that end with this process, together with everything that they started.

A `Child` is a `subprocess.Popen` of a supervisor: this file, started by path with `-I -S`, so that
it needs nothing of the project. The supervisor runs the command, and exits as it did once no
process that came of it is left. It ends them when the command exits, on SIGTERM, and when the
process that started it is gone, by whatever signal: first SIGTERM, after `grace` seconds SIGKILL.

The supervisor is a child subreaper: processes that lose their parent come to it, from sessions of
their own too (torch gives one to each worker). If the supervisor itself is killed, the kernel kills
the command (PR_SET_PDEATHSIG), and `end` finds the others by a mark in their environment. Outside
Linux only the command and its process group are ended.
"""

import ctypes
import json
import math
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, TimeoutExpired
from typing import Any, AnyStr

__all__ = ["DEVNULL", "PIPE", "STDOUT", "Child", "TimeoutExpired", "output"]

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
ORPHAN_SECONDS = 2.0  # of grace, at most, once the process that started it is gone
KILL_SECONDS = 20.0  # a process that waits for a device dies later than it was killed
LOOK_SECONDS = 1.0
PROCESSES = Path("/proc")
MARK = "POLYTRACE_CHILD"
CANNOT_START = 127


class Child(subprocess.Popen[AnyStr]):
    """A command under its supervisor, in a session of its own; a context manager that ends it.

    `pid` is the supervisor's; `returncode` is the command's, negative where a signal ended it, and
    127 where it cannot be started (standard error says why). `terminate` asks the command to end
    and returns at once. `options` are those of Popen. It ends when its last reference is dropped.
    """

    def __init__(self, command: Sequence[str], *, grace: float, **options: Any) -> None:
        self.grace = grace
        reading, writing = os.pipe()
        self._control = os.fdopen(writing, "wb", buffering=0)
        words = (sys.executable, "-I", "-S", __file__, reading, os.getpid(), grace)
        self._mark = os.urandom(16).hex()
        environment = options.pop("env", None)
        try:
            super().__init__(
                [str(word) for word in words],
                start_new_session=True,
                pass_fds=(reading,),
                env={**(os.environ if environment is None else environment), MARK: self._mark},
                **options,
            )
        finally:
            os.close(reading)
        # Not as arguments: else `pkill COMMAND` would find the supervisor, too.
        with suppress(BrokenPipeError):
            self._control.write(json.dumps(list(command)).encode() + b"\n")

    def __del__(self) -> None:
        self._control.close()
        super().__del__()

    def end(self) -> None:
        """Ask it to end, kill it after the grace, and wait until it is gone."""
        self.terminate()
        try:
            self.wait(self.grace + KILL_SECONDS + LOOK_SECONDS)
        except TimeoutExpired:
            self.kill()
            self.wait()
        self._control.close()
        if self.returncode == -signal.SIGKILL:  # perhaps the supervisor was killed
            with suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)
            self._kill_marked()

    def kill(self) -> None:
        """Send SIGKILL to the command and its group."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _kill_marked(self) -> None:
        mark = f"{MARK}={self._mark}".encode()
        for file in PROCESSES.glob("[0-9]*/environ"):
            with suppress(OSError):  # it ended meanwhile, or belongs to another user
                if mark in file.read_bytes().split(b"\0"):
                    os.kill(int(file.parent.name), signal.SIGKILL)

    def __exit__(self, *error: Any) -> None:
        self.end()
        super().__exit__(*error)


def output(
    command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Run a command that ends within so many seconds; its exit status and standard output.

    Raises TimeoutExpired.
    """
    streams: dict[str, Any] = {"stdin": DEVNULL, "stdout": PIPE, "stderr": DEVNULL}
    with Child[bytes](command, grace=0.0, env=environment, **streams) as child:
        printed, _ = child.communicate(timeout=seconds)
    return child.returncode, printed


class _Supervisor:
    """Runs one command, and ends all processes that it started."""

    def __init__(self, control: int, parent: int, grace: float) -> None:
        self._control: list[int] = [control]
        self._parent = parent
        self._grace = grace
        self._child = 0
        self._status: int | None = None
        self._deadline = math.inf  # of what is left to end by itself; finite once it was asked to
        self._events, wakeup = os.pipe()
        os.set_blocking(self._events, False)
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self._allow(self._grace))
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the parent's thread may have blocked some
        _prctl(PR_SET_CHILD_SUBREAPER, 1)

    def run(self, command: Sequence[str]) -> int:
        """The command's exit status, -n for signal n; nothing is left of it afterwards."""
        me = os.getpid()

        def prepare() -> None:  # no thread but this one: what it locks is free in the child
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != me:  # killed before the kernel knew
                os._exit(CANNOT_START)

        try:
            process = subprocess.Popen(command, preexec_fn=prepare)  # kept: `del` would reap it
        except OSError as error:
            print(f"cannot start {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
            return CANNOT_START
        self._child = process.pid
        empty = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # else a reader would not see the end of the command's output
            os.dup2(empty, stream)
        while self._status is None and self._deadline == math.inf:
            self._look(LOOK_SECONDS)
        self._end()
        return -signal.SIGKILL if self._status is None else self._status

    def _end(self) -> None:
        self._allow(self._grace)
        if self._status is None:
            _send([self._child], signal.SIGTERM)
            self._wait(lambda: self._status is not None)
        if left := self._left():
            _send(left, signal.SIGTERM)
            self._wait(lambda: not self._left())
        deadline = time.monotonic() + KILL_SECONDS
        while (left := self._left()) and time.monotonic() < deadline:  # they may still fork
            _send(left, signal.SIGKILL)
            self._look(0.1)

    def _allow(self, seconds: float) -> None:
        """Let what runs live so long at most; an earlier deadline stays."""
        self._deadline = min(self._deadline, time.monotonic() + seconds)

    def _left(self) -> list[int]:
        """The living processes of the command: itself and all that it started."""
        self._reap()
        if PROCESSES.joinpath("self", "stat").exists():
            return _descendants(os.getpid())
        return [self._child] if self._status is None else []

    def _wait(self, is_over: Callable[[], bool]) -> None:
        while not is_over() and time.monotonic() < self._deadline:
            self._look(0.1)

    def _look(self, seconds: float) -> None:
        """Wait for the next event, so long at most, and note what it was."""
        ready, _, _ = select.select([*self._control, self._events], [], [], seconds)
        is_closed = not set(self._control).isdisjoint(ready)
        if is_closed:
            self._control = []
        # A process that the parent forked may hold the pipe open.
        if is_closed or os.getppid() != self._parent:
            self._allow(min(self._grace, ORPHAN_SECONDS))
        self._reap()

    def _reap(self) -> None:
        """Take the status of every child that ended, of adopted ones too."""
        with suppress(BlockingIOError):
            os.read(self._events, 1 << 12)
        with suppress(ChildProcessError):  # there is no child any more
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._child:
                    self._status = os.waitstatus_to_exitcode(ended[1])


def _descendants(root: int) -> list[int]:
    """Ids of the processes below `root` that are not zombies, from /proc."""
    children: dict[int, list[tuple[int, bool]]] = {}
    for entry in PROCESSES.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = entry.joinpath("stat").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        # pid (name) state ppid …; the name may hold anything, parentheses too.
        state, parent, *_ = stat[stat.rindex(b")") + 1 :].split()
        children.setdefault(int(parent), []).append((int(entry.name), state in (b"Z", b"X")))
    living: list[int] = []
    waiting = [root]
    while waiting:
        for pid, is_dead in children.pop(waiting.pop(), ()):
            waiting.append(pid)
            if not is_dead:
                living.append(pid)
    return living


def _send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with suppress(OSError):  # it ended meanwhile, or changed its user
            os.kill(pid, number)


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork


def _prctl(option: int, value: int) -> None:
    if _LIBC is not None:
        _LIBC.prctl(option, *(ctypes.c_ulong(number) for number in (value, 0, 0, 0)))


def _main(control: int, parent: int, grace: float) -> int:
    supervisor = _Supervisor(control, parent, grace)
    with os.fdopen(control, "rb", buffering=0, closefd=False) as words:
        line = words.readline()  # the pipe's other end stays open as long as the parent lives
    if not line.endswith(b"\n"):
        return CANNOT_START  # the parent ended
    status = supervisor.run(json.loads(line))
    if status < 0:  # end as the command did
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(_main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
