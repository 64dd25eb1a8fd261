"""Checks before Prefect starts that the cluster answers whose address the environment names."""

import os
import socket

from support.errors import UserError, first_line
from support.redact import public_address

DASK = "POLYTRACE_DASK"  # the address of a Dask scheduler
RAY = "POLYTRACE_RAY"  # the address of a Ray head
CONNECT_SECONDS = 3.0
_CLUSTERS = {"dask": (DASK, "Dask scheduler"), "ray": (RAY, "Ray head")}


def check_address(task_runner: str) -> None:
    """Raise UserError if nothing listens at the address of the cluster that a recipe asks for.

    Dask would retry for ten seconds, and Ray for minutes.
    """
    variable, _ = _CLUSTERS.get(task_runner, ("", ""))
    if not (address := os.environ.get(variable)):
        return
    place = address.rpartition("://")[2].partition("/")[0].rpartition("@")[2]
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise absent(task_runner, error) from None


def absent(task_runner: str, error: Exception) -> UserError:
    """The error for a cluster that does not answer; no password of its address is shown."""
    variable, what = _CLUSTERS[task_runner]
    address = os.environ[variable]
    shown, name = public_address(address), type(error).__name__
    # The reason may repeat the address, so it is left out if a part of the address is hidden.
    reason = first_line(error) if shown == address else name
    return UserError(f"{variable}={shown}: no {what} answers there ({reason})")
