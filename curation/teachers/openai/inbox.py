"""Replies that have come and wait to be processed.

The next request is sent before the last reply is processed: when hundreds of replies come at once,
the server would otherwise wait for graders. A reply waits until no other has come for two
milliseconds, but for a tenth of a second at most. Its traces are in the journal before that.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from curation.teachers.openai.group import Group
from schemas.records import Trace

AT_ONCE = 8  # replies looked at between two turns of the connections
CALM_SECONDS = 0.002
LATE_SECONDS = 0.1
MANY_SAMPLES = 1024  # waiting: then they are looked at, calm or not


@dataclass(slots=True, kw_only=True)
class Work:
    """One HTTP request for some samples of a prompt, and how it fared so far."""

    group: Group
    indices: tuple[int, ...]
    attempts: int = 0
    since: float | None = None  # when it failed first

    def pending(self) -> list[int]:
        """The samples of it that have not come."""
        return [index for index in self.indices if self.group.is_pending(index)]


class Inbox:
    """Replies in the order in which they came; `samples` counts the traces in them."""

    def __init__(self) -> None:
        self.samples = 0
        self._replies: deque[tuple[Work, Sequence[Trace], float]] = deque()

    def __bool__(self) -> bool:
        return bool(self._replies)

    def put(self, work: Work, samples: Sequence[Trace]) -> None:
        """Take a reply."""
        self._replies.append((work, samples, time.monotonic()))
        self.samples += len(samples)

    def take(self, *, everything: bool) -> Iterator[tuple[Work, Sequence[Trace]]]:
        """The replies to look at now, a few at a time; or all there are."""
        if self.rest() and not everything:
            return
        for _ in range(len(self._replies) if everything else min(len(self._replies), AT_ONCE)):
            work, samples, _ = self._replies.popleft()
            self.samples -= len(samples)
            yield work, samples

    def rest(self) -> float:
        """Seconds to leave to the connections; 0 when replies are to be looked at."""
        if not self._replies or self.samples > MANY_SAMPLES:
            return 0.0
        now = time.monotonic()
        is_calm = now - self._replies[-1][2] > CALM_SECONDS
        is_late = now - self._replies[0][2] > LATE_SECONDS
        return 0.0 if is_calm or is_late else CALM_SECONDS
