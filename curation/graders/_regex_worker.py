"""The process in which patterns are matched; started by `regex.py`, never imported by it.

In: JSON lines `[pattern, is_first, text]`. Out: JSON lines `[answer]`: what the group of the last
match holds (of the first, where `is_first`), or the whole match of a pattern without a group; null
where nothing matches. Matches of no text are passed over. A question may use `argv[1]` seconds of
processor time; then the kernel kills the process (SIGPROF), because Python's matching cannot be
interrupted in another way.
"""

import json
import os
import re
import resource
import signal
import sys
from contextlib import suppress


def main(seconds: float) -> None:
    """Answer questions until the input ends."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _send("ready")
    while line := sys.stdin.buffer.readline():
        pattern, is_first, text = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        found = None
        for match in re.finditer(pattern, text):  # compiled once: `re` keeps patterns
            if not match[0]:  # a pattern such as "[0-9]*$" also matches behind what it finds
                continue
            found = match[1] if match.re.groups else match[0]
            if is_first:
                break
        signal.setitimer(signal.ITIMER_PROF, 0)
        _send([found])


def _send(reply: object) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()
        return
    os._exit(0)


if __name__ == "__main__":
    main(float(sys.argv[1]))
