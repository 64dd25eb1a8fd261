"""End a command at once; what is committed stays, and the same command goes on from there."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_ENDING: list[int] = []  # the thread that ends this process
_MORE: list[Callable[[], str]] = []  # what is still to be said of work that others go on with


@contextmanager
def said_when_ended(sentence: Callable[[], str]) -> Iterator[None]:
    """Print the sentence too, if it is not empty, where a signal ends this process meanwhile."""
    _MORE.append(sentence)
    try:
        yield
    finally:
        _MORE.remove(sentence)


def stop_at_once(last: Callable[[], None] = lambda: None) -> None:
    """End this process at SIGINT and SIGTERM, after a call of `last`."""

    def stop(number: int, _: object) -> None:
        exit_now(128 + number, "interrupted", last)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """End this process at SIGINT with a sentence, unless a command inside sets its own handler.

    Python's handler raises KeyboardInterrupt wherever it is, also within an import, where a module
    may take it for an error of its own.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, _: object) -> None:
        exit_now(128 + number, "interrupted", lambda: None)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is stop:
            signal.signal(signal.SIGINT, before)


def unwind_on_interrupt() -> None:
    """Have SIGINT raise KeyboardInterrupt, so that context managers and `finally` blocks run."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def unwind_on_term() -> None:
    """Have SIGTERM raise SystemExit, so that context managers and `finally` blocks run."""

    def end(number: int, _: object) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)


def exit_now(code: int, why: str, last: Callable[[], None]) -> None:
    """Print a sentence, call `last`, and end this process without waiting for threads.

    Asked again meanwhile, by a second Ctrl-C, it ends at once: supervisors end what was started.
    """
    if _ENDING:
        if _ENDING[0] == threading.get_ident():
            os._exit(code)
        return  # another thread is at it
    _ENDING.append(threading.get_ident())
    with suppress(OSError):  # not print: a signal may have interrupted a write to the same buffer
        os.write(2, f"\npolytrace: {why}; the same command goes on\n".encode())
        for sentence in filter(None, (more() for more in _MORE)):
            os.write(2, f"polytrace: {sentence}\n".encode())
    last()
    os._exit(code)
