"""Ends servers whose owner died without a chance to: of SIGKILL, or for want of memory.

Started by path with `-I`: it needs nothing of the project. In: the owner's id, the servers' ids,
and a pipe that the owner holds open; a byte through it means that the owner ends them itself.
"""

import contextlib
import os
import select
import signal
import sys

LOOK_SECONDS = 1.0  # a process that the owner forked may hold the pipe open: its id is looked at


def main(owner: int, servers: list[int]) -> None:
    """Wait for the owner's end or word."""
    while not select.select([0], [], [], LOOK_SECONDS)[0]:
        if os.getppid() != owner:
            break
    else:
        if os.read(0, 1):
            return
    for server in servers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server, signal.SIGTERM)


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(pid) for pid in sys.argv[2:]])
