"""The process between a build and a server: it sees to it that no server is ever left behind.

Started by path with `-I`: it needs nothing of the project. In: through a pipe that the parent holds
open, a command as one line of JSON (not as arguments: who kills by the server's name means the
server). Out: the command's exit status, after every process that came of the command is gone. It
ends them when the command exits, when another byte comes through the pipe, when the pipe closes or
the parent's id changes (the parent ended, by whatever signal), or on SIGTERM.

Two stand in a row: `outer` starts `inner`, `inner` starts the command. Each is a child subreaper,
so processes that lose their parent come to it, from sessions of their own too. Whichever of the two
is killed with SIGKILL, the other one cleans up; if both are at once, the kernel kills the command
itself (PR_SET_PDEATHSIG). Outside Linux the command's process group is all that is seen.
"""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
LEFTOVER_SECONDS = 3.0  # at most, for what outlived the command to end by itself after SIGTERM
KILL_SECONDS = 20.0  # a process that waits for a device dies later than it was killed
PARENT_CHECK_SECONDS = 1.0
PROCESSES = Path("/proc")
CANNOT_START = 127


class Warden:
    """Runs one command and ends everything that came of it."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._child = 0
        self._status: int | None = None
        self._is_told = False
        self._events, wakeup = os.pipe()
        os.set_blocking(self._events, False)
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._tell)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the parent's thread may have blocked some
        _prctl(PR_SET_CHILD_SUBREAPER, 1)

    def run(
        self, command: Sequence[str], word: bytes | None, death_signal: int, grace: float
    ) -> int:
        """The command's exit status, 128 + n for signal n; nothing is left of it afterwards.

        It gets `word` through a pipe that stays open, or no input at all. `death_signal` is what
        the kernel sends it if this process is killed, `grace` the seconds it has after SIGTERM.
        """
        me = os.getpid()

        def prepare() -> None:
            _prctl(PR_SET_PDEATHSIG, death_signal)
            if os.getppid() != me:  # killed before the kernel knew
                os._exit(CANNOT_START)

        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if word is None else subprocess.PIPE,
                start_new_session=True,
                preexec_fn=prepare,
                bufsize=0,
            )
        except OSError as error:
            print(f"cannot start {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
            return CANNOT_START
        self._child = process.pid
        if word is not None and process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.write(word)
        while self._status is None and not self._is_told:
            self._look()
        self._end(grace)
        status = -signal.SIGKILL if self._status is None else self._status
        return 128 - status if status < 0 else status

    def _look(self) -> None:
        """Wait for the next event, and note what it was."""
        ready, _, _ = select.select([0, self._events], [], [], PARENT_CHECK_SECONDS)
        # A process forked by the parent may hold the pipe open: hence the parent's id as well.
        if 0 in ready or os.getppid() != self._parent:
            self._is_told = True
        self._reap()

    def _tell(self, *_: object) -> None:
        self._is_told = True

    def _end(self, grace: float) -> None:
        if self._status is None:
            _send([self._child], signal.SIGTERM)
            self._wait(lambda: self._status is not None, grace)
        if left := self._left():
            _send(left, signal.SIGTERM)
            self._wait(lambda: not self._left(), min(grace, LEFTOVER_SECONDS))
        deadline = time.monotonic() + KILL_SECONDS
        while (left := self._left()) and time.monotonic() < deadline:  # they may still fork
            _send(left, signal.SIGKILL)
            self._pause()

    def _left(self) -> list[int]:
        """Processes that came of the command and live; a group (negative) where /proc is not."""
        self._reap()
        if PROCESSES.joinpath("self", "stat").exists():
            return descendants(os.getpid())
        try:
            os.killpg(self._child, 0)
        except OSError:
            return []
        return [-self._child]

    def _wait(self, is_over: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not is_over() and time.monotonic() < deadline:
            self._pause()

    def _pause(self) -> None:
        """Until a child ends, a tenth of a second at most."""
        select.select([self._events], [], [], 0.1)
        self._reap()

    def _reap(self) -> None:
        """Take the status of every child that ended, of adopted ones too."""
        with suppress(BlockingIOError):
            os.read(self._events, 1 << 12)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._child:
                self._status = os.waitstatus_to_exitcode(status)


def descendants(root: int) -> list[int]:
    """Ids of the processes below `root` that are no zombies, from /proc."""
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
    found: list[int] = []
    waiting = [root]
    while waiting:
        for pid, is_dead in children.pop(waiting.pop(), ()):
            waiting.append(pid)
            if not is_dead:
                found.append(pid)
    return found


def _send(pids: Sequence[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:  # it ended meanwhile, or became somebody else's
            continue


def _load_prctl() -> Callable[[int, int], object]:
    if sys.platform != "linux":
        return lambda option, value: None
    library = ctypes.CDLL(None, use_errno=True)
    return lambda option, value: library.prctl(
        option, *(ctypes.c_ulong(n) for n in (value, 0, 0, 0))
    )


_prctl = _load_prctl()  # loaded before any fork


def first_line(descriptor: int) -> bytes:
    """What comes through a pipe up to the first line feed; what follows is left in it."""
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := os.read(descriptor, 1)):
            break
        line += byte
    return line


def main(role: str, parent: str, grace: str) -> int:
    """Run as `outer` (which starts an `inner`) or as `inner` (which starts the command)."""
    warden = Warden(int(parent))
    seconds = float(grace)
    line = first_line(0)
    if not line.endswith(b"\n"):
        return CANNOT_START  # the parent ended
    if role == "inner":
        return warden.run(json.loads(line), None, signal.SIGKILL, seconds)
    inner = (sys.executable, "-I", "-S", __file__, "inner", str(os.getpid()), grace)
    # SIGTERM lets the inner one clean up if this one is killed.
    return warden.run(inner, line, signal.SIGTERM, seconds + LEFTOVER_SECONDS + KILL_SECONDS)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
