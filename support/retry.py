"""Call a server again while its faults pass: how often, after which waits, and what is said."""

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import TypeVar

from support.errors import PolytraceError, StoppedError

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before a call is made again; clients have tried again by themselves before."""

GOES_ON = "; the same command goes on"
Answer = TypeVar("Answer")
Say = Callable[[str], None]


def retry(
    attempt: Callable[[], Answer],
    explain: Callable[[Exception], PolytraceError],
    *,
    say: Say | None = None,
    asked: Callable[[Exception], float | None] = lambda error: None,
) -> Answer:
    """What `attempt` gives; it is called again while faults pass, and must bear that.

    `explain` makes an error of a client one of ours: a StoppedError passes, any other does not.
    `asked` says how many seconds the server wants us to wait, which may be longer than our waits.
    What is of ours already is raised at once.
    """
    for wait in (*WAITS, None):
        try:
            return attempt()
        except PolytraceError:
            raise
        except Exception as error:  # clients raise dozens of kinds
            explained = explain(error)
            if wait is None or not isinstance(explained, StoppedError):
                raise explained from None
            seconds = max(wait, asked(error) or 0)
            if say is not None:
                why = str(explained).removesuffix(GOES_ON)
                say(f"{why}; trying again in {seconds:.0f} s")
            time.sleep(seconds)
    raise AssertionError("unreachable")


def retry_after(header: str | None) -> float | None:
    """Seconds of a Retry-After header: a number or a date (RFC 9110); None where it is neither."""
    try:
        seconds = float(header or "")
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header or "").timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return seconds if isfinite(seconds) else None
