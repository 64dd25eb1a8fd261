"""Imported by every Python process below: writes down every address, and refuses all but loopback.

Audit hooks are told by the interpreter itself, whatever library asks. `GUARD_LOG` names the file.
"""

import json
import os
import sys
from typing import Any

LOOPBACK = ("127.0.0.1", "::1", "localhost")
LOG = os.environ.get("GUARD_LOG")


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what would leave this process, and let it reach no other machine."""
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host, port = arguments[0], None
    elif event in ("socket.connect", "socket.sendto", "socket.bind", "socket.sendmsg"):
        address = arguments[1] if len(arguments) > 1 else None
        if not isinstance(address, tuple):  # of this machine alone: a path, or none
            return
        host, port = address[0], address[1]
    else:
        return
    name = host.decode() if isinstance(host, bytes) else host
    note(event, name, port)
    if event != "socket.bind" and name not in LOOPBACK and name is not None:
        raise PermissionError(f"guard: {event} {name}")


def note(event: str, host: object, port: object) -> None:
    """A line in the log, as a whole."""
    assert LOG is not None
    line = json.dumps([event, host, port, os.getpid(), sys.argv[:3]]) + "\n"
    handle = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, line.encode())
    os.close(handle)


if LOG is not None:
    sys.addaudithook(hook)
