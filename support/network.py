"""Addresses of servers on this machine: a free port, and whether a server answers."""

import http.client
import socket
from pathlib import Path
from random import SystemRandom

from support.errors import UserError

LOWEST_PORT = 20_000
PORT_TRIES = 200
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
USUAL_EPHEMERAL = 32_768
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def dialled(host: str) -> str:
    """The address at which a server bound to `host` is reached from this machine."""
    return EVERYWHERE.get(host, host)


def free_port(host: str, taken: set[int], field: str = "host") -> int:
    """A port that nobody listens on and that is not in `taken`, to which it is added.

    It is outside of the range that the kernel gives to clients: else a client could get the port
    while the server restarts, or one that keeps connecting to it could connect to itself. Raises
    UserError where no server can listen at `host`; `field` is the setting that holds the host.
    """
    try:
        highest = int(EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        highest = USUAL_EPHEMERAL
    reason = "no port is free"
    for _ in range(PORT_TRIES):
        port = SystemRandom().randrange(LOWEST_PORT, max(highest, LOWEST_PORT + 1000))
        if port in taken:
            continue
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(address)
        except socket.gaierror as error:
            raise UserError(f"{field}: {host!r}: {error.strerror}") from None
        except OSError as error:
            reason = error.strerror or str(error)
            continue
        taken.add(port)
        return port
    raise UserError(f"{field}: cannot listen at {host!r}: {reason}")


def is_healthy(host: str, port: int, timeout: float, path: str = "/health") -> bool:
    """Whether a GET of `path` is answered by 200 within `timeout` seconds; no proxy is used."""
    connection = http.client.HTTPConnection(dialled(host), port, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
