"""Call a server again after a temporary fault: how often, and after which waits."""

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
    as_our_error: Callable[[Exception], PolytraceError],
    *,
    say: Say | None = None,
    requested_wait: Callable[[Exception], float | None] = lambda error: None,
) -> Answer:
    """The result of `attempt`, which is called again after a temporary fault.

    `as_our_error` turns an error of a client into one of ours; a StoppedError is temporary, any
    other is raised. `say` gets a sentence before each wait. `requested_wait` returns the seconds
    that the server asks us to wait; they count where they are longer than ours. A PolytraceError
    that `attempt` raises is raised at once.
    """
    for wait in (*WAITS, None):
        try:
            return attempt()
        except PolytraceError:
            raise
        except Exception as error:  # clients raise dozens of kinds
            ours = as_our_error(error)
            if wait is None or not isinstance(ours, StoppedError):
                raise ours from None
            seconds = max(wait, requested_wait(error) or 0)
            if say is not None:
                why = str(ours).removesuffix(GOES_ON)
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
