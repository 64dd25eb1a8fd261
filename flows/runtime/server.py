"""Ends a command that runs a flow at once: on a signal, or when its Prefect server is lost.

A command that is killed with SIGKILL ends nothing any more: `_reaper.py` ends its server then.

What is committed to the run directory stays, so nothing is lost but what was in flight, and the
same command goes on from there.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from flows.runtime.commands import stop_commands
from flows.runtime.runners import DASK, RAY
from support import signals
from support.errors import ShortError

LOOK_SECONDS = 1.0
FIRST_LOOK_SECONDS = 0.02  # until there is a server
MOURNER = Path(__file__).with_name("_reaper.py")


def stop_at_once() -> None:
    """End this process as soon as SIGINT or SIGTERM asks for it.

    Prefect would first report the crash to its server, which the same Ctrl-C has ended.
    """
    signals.stop_at_once(_end_all)


@contextmanager
def own_server() -> Iterator[None]:
    """A Prefect server for this process and its workers; none where the user has one already.

    Workers in other processes of this machine are told where it is: each would start one of its
    own. When it dies, this process ends. Prefect would repeat every report to a server that is gone
    for a minute, and go on with the next; the more shards, the more hours. A server of the user's
    own is not watched: it comes back.
    """
    if get_current_settings().api.url is not None:
        yield
        return
    is_over = threading.Event()
    watch = threading.Thread(target=_watch, args=(is_over,), daemon=True)
    watch.start()
    try:
        server = SubprocessASGIServer()
        server.start()
        is_elsewhere = {DASK, RAY} & os.environ.keys()  # where this machine's loopback is not
        known = {} if is_elsewhere else {PREFECT_API_URL: server.api_url}
        with temporary_settings(known):
            yield
    finally:
        is_over.set()
        watch.join()


def _watch(is_over: threading.Event) -> None:
    dead: set[int] = set()
    known: list[int] = []
    mourner: subprocess.Popen[bytes] | None = None
    while not is_over.wait(LOOK_SECONDS if known or dead else FIRST_LOOK_SECONDS):
        processes = [server.server_process for server in _servers()]
        ended = {p.pid: p.returncode for p in processes if p is not None and p.poll() is not None}
        if again := sorted(ended.keys() & dead):  # Prefect replaces one that found its port taken
            _tell(ended[again[0]])
        dead = set(ended)
        alive = [p.pid for p in processes if p is not None and p.returncode is None]
        if alive != known:
            _dismiss(mourner)
            known, mourner = alive, _mourn(alive) if alive else None
    _dismiss(mourner)


def _mourn(servers: Sequence[int]) -> subprocess.Popen[bytes]:
    """A process that ends the servers when this one dies; Ctrl-C does not reach it."""
    command = [sys.executable, "-I", "-S", MOURNER, os.getpid(), *servers]
    return subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _dismiss(mourner: subprocess.Popen[bytes] | None) -> None:
    if mourner is not None:
        with suppress(BrokenPipeError):
            mourner.communicate(b".")


def _tell(status: int) -> None:
    """End as the server did: a signal went to both, and Prefect's own handler may sit on ours."""
    if -status in (signal.SIGINT, signal.SIGTERM):
        signals.leave(128 - status, "interrupted", _end_all)
    signals.leave(ShortError.exit_code, "its Prefect server has died", _end_all)


def _servers() -> tuple[SubprocessASGIServer, ...]:
    return tuple(SubprocessASGIServer._instances.values())


def _end_all() -> None:
    """Without a word to Prefect; the verifier's processes end when their parent does."""
    stop_commands()
    for server in _servers():
        if server.server_process is not None:
            server.server_process.kill()
