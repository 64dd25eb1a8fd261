"""The cluster that the environment names: its address, and whether anything answers there."""

import json
import os
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from schemas.trust.addresses import Address
from support.errors import UserError, first_line
from support.redact import public_address

DASK = "POLYTRACE_DASK"  # the address of a Dask scheduler, or the .json file that holds it
RAY = "POLYTRACE_RAY"  # the address of a Ray head
CONNECT_SECONDS = 3.0
FILE_SECONDS = 120.0  # a scheduler that is started beside the build writes its file meanwhile
WORKER_SECONDS = 300.0  # what a node may need to start its first worker
LOOK_SECONDS = 0.5
_CLUSTERS = {"dask": (DASK, "Dask scheduler"), "ray": (RAY, "Ray head")}


def address_of(task_runner: str) -> str | None:
    """The address of the cluster, if the environment names one.

    Raises OSError or ValueError if a scheduler's file is named and cannot be read.
    """
    given = os.environ.get(_CLUSTERS[task_runner][0])
    if not given or not _is_file(task_runner):
        return given or None
    held = json.loads(Path(given).read_text(encoding="utf-8"))
    if not isinstance(held, dict) or not isinstance(held.get("address"), str):
        raise ValueError("the file holds no address")
    return str(held["address"])


def check_address(task_runner: str) -> None:
    """Raise UserError if nothing listens at the address of the cluster that a recipe asks for.

    Dask would retry for ten seconds, and Ray for minutes. Only a scheduler's file is waited for: it
    may be missing, or be that of an earlier scheduler, while the scheduler starts.
    """
    if not _is_asked_for(task_runner):
        return
    deadline = time.monotonic() + (FILE_SECONDS if _is_file(task_runner) else 0)
    while True:
        try:
            _connect(address_of(task_runner) or "")
            return
        except (OSError, ValueError, OverflowError) as error:
            if time.monotonic() >= deadline:
                raise absent(task_runner, error) from None
        time.sleep(LOOK_SECONDS)


def own_host(task_runner: str) -> str | None:
    """The address of this machine on its way to the cluster; None without a cluster that answers.

    Workers on other nodes reach this machine there, if the cluster is not named by a loopback
    address. A cluster that the environment names for another task runner is none.
    """
    if not _is_asked_for(task_runner):
        return None
    with suppress(OSError, ValueError, OverflowError):
        return _connect(address_of(task_runner) or "")
    return None


def check_reach(server: str, workers: Iterable[str]) -> None:
    """Raise UserError if Dask workers on other machines were to report to a server on loopback."""
    url = urlsplit(server)
    if not Address(url.scheme, url.hostname or "", None).is_loopback:
        return
    for worker in workers:
        where = worker.rpartition("://")[2].rpartition(":")[0].strip("[]")
        if _is_address(where) and not _is_here(where):
            raise UserError(
                f"{_named('dask')[0]}: its worker at {where} is on another machine, and cannot "
                f"reach the Prefect server at {public_address(server)}; name the scheduler by its "
                "address in the workers' network, or set PREFECT_API_URL to a server that all "
                "machines reach"
            )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_here(host: str) -> bool:
    """Whether an IP address is one of this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def unreached(address: str) -> UserError:
    """The error where the command's own Prefect server is not reached, most often by workers."""
    return UserError(
        f"the Prefect server of this command is not reached at {address}; if workers of a cluster "
        "ask it, name the cluster by an address of its network, let them reach that port, and keep "
        "their HTTP proxy from it (NO_PROXY); or set PREFECT_API_URL to a server that all of them "
        "reach; what was made is kept"
    )


def absent(task_runner: str, error: Exception) -> UserError:
    """The error for a cluster that does not answer; no password of its address is shown."""
    _, what = _CLUSTERS[task_runner]
    named, is_whole = _named(task_runner)
    # The reason may repeat the address, so it is left out if a part of the address is hidden.
    reason = first_line(error) if is_whole else type(error).__name__
    return UserError(f"{named}: no {what} answers there ({reason})")


def idle() -> UserError:
    """The error for a Dask scheduler without workers, which would let a build wait for ever."""
    return UserError(
        f"{_named('dask')[0]}: no worker has come to this Dask scheduler within "
        f"{WORKER_SECONDS:.0f} s; start `dask worker` on the nodes, and look at what it prints"
    )


def _is_asked_for(task_runner: str) -> bool:
    """Whether the environment names a cluster for this task runner."""
    return task_runner in _CLUSTERS and bool(os.environ.get(_CLUSTERS[task_runner][0]))


def _is_file(task_runner: str) -> bool:
    return task_runner == "dask" and os.environ[DASK].endswith(".json")


def _named(task_runner: str) -> tuple[str, bool]:
    """The variable and its value as it may be shown, and whether nothing of it is hidden."""
    variable, _ = _CLUSTERS[task_runner]
    given = os.environ[variable]
    shown = given if _is_file(task_runner) else public_address(given)
    return f"{variable}={shown}", shown == given


def _connect(address: str) -> str:
    """Connect to a cluster, and say from which address of this machine."""
    place = address.rpartition("://")[2].partition("/")[0].rpartition("@")[2]
    host, _, port = place.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS) as connection:
        return str(connection.getsockname()[0])
