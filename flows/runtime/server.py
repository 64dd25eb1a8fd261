"""Prefect's own server for a command that runs a flow, and how such a command ends at once.

It ends on a signal, or when its server dies. What is committed to the run directory stays, so that
only unfinished work is lost, and the same command goes on from there.
"""

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_urlsafe

import prefect
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_CLIENT_CUSTOM_HEADERS,
    get_current_settings,
    temporary_settings,
)

from flows.runtime.cluster import own_host
from flows.runtime.commands import stop_commands
from support import signals
from support.errors import ShortError, StoppedError
from support.network import free_port, is_healthy
from support.processes import DEVNULL, Child

HOST = "127.0.0.1"
STARTS = 3  # another process may take the port before the server does
GRACE_SECONDS = 5.0
LOOK_SECONDS = 1.0
START_LOOK_SECONDS = 0.1
_RUNNING: list[Child[bytes]] = []


@contextmanager
def stopped_at_once() -> Iterator[None]:
    """End this process as soon as SIGINT or SIGTERM asks for it.

    While a flow runs, Prefect has its own handler for SIGTERM, which would report the crash and
    wait for running tasks. So a thread watches which signals arrive.
    """
    signals.stop_at_once(_end_all)
    ours = signal.getsignal(signal.SIGTERM)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def look() -> None:
        while number := os.read(reading, 1):
            if number[0] == signal.SIGTERM and signal.getsignal(signal.SIGTERM) is not ours:
                signals.exit_now(128 + signal.SIGTERM, "interrupted", _end_all)

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)
        watch.join()
        os.close(reading)


@contextmanager
def own_server(task_runner: str = "threads") -> Iterator[None]:
    """A Prefect server for this process and its workers; none where the user has one already.

    It asks for a password, and listens on loopback; where the environment names a cluster for the
    task runner, at the address of this machine that the cluster's workers reach. They are handed
    both: without an address, each worker would start a server of its own, and one that is killed
    would leave it behind. When the server dies, this process ends, because Prefect would retry each
    of its many reports for a minute. A server of the user's is not watched, because it may come
    back. Raises StoppedError if the server does not start.
    """
    if get_current_settings().api.url is not None:
        yield
        return
    host = own_host(task_runner) or HOST
    _ask_no_proxy(host)
    password = f"polytrace:{token_urlsafe(32)}"
    server, port = _start(host, password)
    atexit.register(server.end)  # after Prefect's own handlers, which send the last reports
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/api"
    is_over = threading.Event()
    watch = threading.Thread(target=_watch, args=(server, is_over), daemon=True)
    watch.start()
    try:
        ours = {PREFECT_API_URL: address, PREFECT_API_AUTH_STRING: password}
        others = {PREFECT_CLIENT_CUSTOM_HEADERS}  # of the user's, perhaps another `Authorization`
        with temporary_settings(ours, restore_defaults=others):
            yield
    finally:
        is_over.set()
        watch.join()


def _ask_no_proxy(host: str) -> None:
    """Let no HTTP proxy of the environment stand between this process and its server.

    It would be shown the password, and seldom reaches the address.
    """
    for name in [name for name in ("no_proxy", "NO_PROXY") if name in os.environ] or ["NO_PROXY"]:
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), host)))


def _start(host: str, password: str) -> tuple[Child[bytes], int]:
    """The server, once it answers, and its port."""
    # Its own services ask it as a client does.
    secrets = ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING")
    settings = get_current_settings()
    deadline = time.monotonic() + settings.server.ephemeral.startup_timeout_seconds
    taken: set[int] = set()
    for _ in range(STARTS):
        port = free_port(host, taken)
        server = Child[bytes](
            (
                *(sys.executable, "-m", "uvicorn"),
                *("--factory", "prefect.server.api.server:create_app"),
                *("--app-dir", str(Path(prefect.__file__).parents[1])),
                *("--host", host, "--port", str(port), "--log-level", "error", "--lifespan", "on"),
            ),
            grace=GRACE_SECONDS,
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,  # two servers that make one new database print a traceback, and recover
            env={
                **os.environ,
                **settings.to_environment_variables(exclude_unset=True),
                "PREFECT_UI_ENABLED": "0",
                "PREFECT__SERVER_EPHEMERAL": "1",
                "PREFECT__SERVER_FINAL": "1",
                "PREFECT_CLIENT_CUSTOM_HEADERS": "{}",
                **dict.fromkeys(secrets, password),
            },
        )
        _RUNNING[:] = [server]
        while server.poll() is None and time.monotonic() < deadline:
            if is_healthy(host, port, 5.0, "/api/health"):
                return server, port
            time.sleep(START_LOOK_SECONDS)
        server.end()
    raise StoppedError("Prefect's own server did not start; `prefect server start` shows why")


def _watch(server: Child[bytes], is_over: threading.Event) -> None:
    while not is_over.wait(LOOK_SECONDS):
        if (status := server.poll()) is None:
            continue
        if -status in (signal.SIGINT, signal.SIGTERM):
            signals.exit_now(128 - status, "interrupted", _end_all)
        signals.exit_now(ShortError.exit_code, "its Prefect server has died", _end_all)


def _end_all() -> None:
    """End commands and server without Prefect; the verifier's processes end with this one."""
    stop_commands()
    for server in _RUNNING:
        server.kill()
