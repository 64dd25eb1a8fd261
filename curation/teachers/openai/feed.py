"""Requests that come while sampling goes on, from any thread.

A stream that reads a `Feed` waits without polling while there are none, and never ends by itself.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from curation.teachers import Request


class NothingYetError(Exception):
    """There is no request now; there may be one later."""


class Feed:
    """Requests in the order in which they were added.

    `has_answered`: whether the server is known to take these settings, so that a refusal concerns
    its request alone.
    """

    def __init__(self, *, has_answered: bool = False) -> None:
        self.has_answered = has_answered
        self._requests: deque[Request] = deque()
        self._wake: Callable[[], object] = lambda: None

    def on_request(self, wake: Callable[[], object]) -> None:
        """Call `wake`, in the thread that adds requests, whenever some were added."""
        self._wake = wake

    def add(self, requests: Sequence[Request]) -> None:
        """Add requests; callable from any thread."""
        self._requests.extend(requests)
        with suppress(RuntimeError):  # the loop has ended, and with it the stream
            self._wake()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Request:
        """The next request; NothingYetError where there is none now."""
        if not self._requests:
            raise NothingYetError
        return self._requests.popleft()
