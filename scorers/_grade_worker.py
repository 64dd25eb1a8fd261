"""The process in which math-verify runs; started by `grade_pool.py`, never imported by it.

In: JSON lines `[answer, gold]`. Out: JSON lines `[verdict, text]`: verdict is null where nothing
could be parsed, text is what was read as the answer. Ends at end of input.

A question may use `argv[1]` seconds of processor time; then the kernel kills the process (SIGPROF),
inside C code too. Processor time, because a busy machine must not change a verdict. The parent's
wall-clock limit is the backstop. Nothing of the project is imported, so that it runs from anywhere.
"""

import json
import logging
import os
import resource
import select
import signal
import sys
from functools import lru_cache
from typing import Any, NoReturn

MEMORY_BYTES = 4 << 30  # of address space; a tower of powers fills a machine within its time limit
PARENT_CHECK_SECONDS = 5.0


def main(seconds: float, parent: int) -> None:
    """Answer questions until the input ends or the process `parent` is gone."""
    # Whatever a library prints must not reach the protocol.
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit_memory()
    _check("2", "2")  # builds the parser's tables before the clock runs
    _send(replies, "ready")
    while line := _next_line(parent):
        answer, gold = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            reply = _check(answer, gold)
        except MemoryError:
            os._exit(1)
        except Exception:  # the verifier's own faults: no verdict, and the next question follows
            reply = (None, None)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _send(replies, reply)


def _check(answer: str, gold: str) -> tuple[bool | None, str | None]:
    """math-verify's verdict and what it read; its own timers are off (they are only alarms)."""
    from math_verify import verify

    read, expected = _parse(answer), _parse(gold)
    text = str(read[-1]) if read else None
    if not read or not expected:
        return None, text
    return bool(verify(expected, read, timeout_seconds=None)), text


@lru_cache(maxsize=256)
def _parse(text: str) -> list[Any]:
    """All readings of `text`, the last as a string; [] for none. Golds repeat, hence the cache."""
    from math_verify import parse

    return list(parse(text, parsing_timeout=None))


def _limit_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    # Some systems do not offer this limit; the time limit holds there all the same.
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    except (ValueError, OSError):
        return


def _next_line(parent: int) -> bytes:
    """The next line of input; b"" when it ended, or when the parent was killed.

    A process forked by the parent may hold the pipe's other end open: then input never ends.
    """
    while not select.select([sys.stdin], [], [], PARENT_CHECK_SECONDS)[0]:
        if os.getppid() != parent:
            return b""
    return sys.stdin.buffer.readline()


def _send(replies: Any, reply: object) -> None:
    try:
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
    except BrokenPipeError:
        _leave()


def _leave() -> NoReturn:
    os._exit(0)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
