"""Start flows from a command: without Prefect's log, and with mistakes in one sentence."""

import os
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from flows.runtime.cluster import unreached
from support.capacity import is_out_of_memory, require_files
from support.errors import PolytraceError, StoppedError, UserError
from support.files import is_disk_fault, private
from support.redact import hide_secrets, public_address

API = "PREFECT_API_URL"
LEAST_FILES = 64  # that a process may open: a build on two cores opens 23, Prefect's server 17
ANSWER_SECONDS = 20.0  # Prefect's own client would ask a silent server for seven minutes
UNREACHED = "Failed to reach API at "  # so begins the error of Prefect's client
DATABASE_BYTES = 32 * 10**6  # a new database takes 1 MB, a build of many shards some more


@contextmanager
def prefect(run: Path, task_runner: str = "threads") -> Iterator[None]:
    """Run a flow inside: without Prefect's log, stopped at once by a signal.

    An internal fault is logged in the run. The error of a failing disk or of full memory passes,
    because `command_line.py` reports it.
    """
    require_files(LEAST_FILES)
    typer.echo("starting Prefect (about ten seconds) …", err=True)
    for name, value in {
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }.items():
        os.environ.setdefault(name, value)
    from flows.runtime.server import own_server, stopped_at_once

    try:
        with stopped_at_once():
            _check_home()
            check_server()
            with own_server(task_runner):
                yield
    except PolytraceError:
        raise
    except Exception as error:
        if is_disk_fault(error) or is_out_of_memory(error):
            raise
        if str(error).startswith(UNREACHED):
            if not _address():
                raise unreached(str(error).removeprefix(UNREACHED)) from None
            raise _unreachable() from None
        if _is_of_transport(error):
            where = f" at {address}" if (address := _address()) else ""
            raise StoppedError(
                f"the Prefect server{where} does not answer any more; what was made is kept, and "
                "the same command goes on once it does"
            ) from None
        log = run / "polytrace.log"
        with open(log, "a", encoding="utf-8", opener=private) as file:
            file.write(hide_secrets(traceback.format_exc()))
        raise PolytraceError(
            f"internal fault ({type(error).__name__}: {error}); the traceback is in {log}; "
            f"what was made is kept, and the same command goes on"
        ) from None


def _is_of_transport(error: Exception) -> bool:
    """Whether a connection of Prefect's client broke, or brought no answer."""
    from httpx import TransportError

    return isinstance(error, TransportError)


@contextmanager
def server_reached() -> Iterator[None]:
    """Use the user's server inside; UserError if it does not answer."""
    check_server()
    try:
        yield
    except Exception as error:
        if _is_of_transport(error):
            raise _unreachable() from None
        raise


def check_server() -> None:
    """UserError if the user's server is silent, also if it accepts connections; asks no other."""
    from prefect.client.orchestration import get_client
    from prefect.settings import (
        PREFECT_API_REQUEST_TIMEOUT,
        PREFECT_CLIENT_MAX_RETRIES,
        get_current_settings,
        temporary_settings,
    )

    if get_current_settings().api.url is None:
        return
    once = {PREFECT_API_REQUEST_TIMEOUT: ANSWER_SECONDS, PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(once), get_client(sync_client=True) as client:
        failure = client.api_healthcheck()
    if failure is not None and _is_of_transport(failure):
        raise _unreachable()


def _address() -> str:
    """The address of the user's server, without secrets; empty where there is none."""
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    return hide_secrets(public_address(url)) if url else ""


def _unreachable() -> UserError:
    """The error if no server answers at the address in the variable or in Prefect's profile."""
    where = _address()
    if os.environ.get(API):
        source, undo = "the variable", f"unset {API}"
    else:
        source, undo = "the Prefect profile", f"prefect config unset {API}"
    return UserError(
        f"{API}: no Prefect server answers at {where}, which {source} names; start it (prefect "
        f"server start), or take the address away ({undo}): a build then has a server of its own"
    )


def _check_home() -> None:
    """Raise StoppedError if Prefect's database cannot grow; its server would retry for minutes."""
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url is not None:
        return  # a server of the user's own
    home = next(one for one in (settings.home, *settings.home.parents) if one.exists())
    what = f"{settings.home}: Prefect keeps its database there, and"
    hint = "set PREFECT_HOME to a folder on another disk"
    if not os.access(home, os.W_OK):
        raise StoppedError(f"{what} it cannot be written to; {hint}")
    if (free := shutil.disk_usage(home).free) < DATABASE_BYTES:
        raise StoppedError(f"{what} {free // 10**6} MB are left; make room, or {hint}")
