"""Shards whose last outcome has come: each is closed once, one at a time, beside the stream.

Closing makes a shard durable elsewhere, which takes a second or more, so it runs in a thread while
samples go on coming. When too many shards wait, the stream waits for them.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from threading import Lock

from curation.sampling.limits import unsent
from curation.sampling.shard_state import Sample, ShardState
from curation.teachers import Failure
from schemas.records import Trace

MOST_FINISHED = 2  # shards that may wait to be closed; with more, no outcome is taken


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedShard:
    """A shard whose last outcome has come; `keys` are those of every sample it may want."""

    index: int
    traces: Sequence[Trace]
    failures: Sequence[Failure]
    keys: Collection[str]


Have = Callable[[int], Sequence[Trace]]
Close = Callable[[FinishedShard], None]


class Closer:
    """Closes shards by `close`, one call at a time; `closed` is told of each in the loop."""

    def __init__(self, have: Have, close: Close, closed: Callable[[ShardState], None]) -> None:
        self._have, self._close, self._closed = have, close, closed
        self._lock = Lock()
        self._waiting: list[ShardState] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, shard: ShardState) -> None:
        """Close a shard soon."""
        self._waiting.append(shard)

    def close_now(self, shard: ShardState) -> None:
        """Close a shard before this returns."""
        self._write(shard)
        self._closed(shard)

    def leave(self, index: int, sample: Sample) -> None:
        """Leave a shard as it is, because it lacks a sample that nothing is left for."""
        with self._lock:
            self._close(FinishedShard(index=index, traces=(), failures=[unsent(sample)], keys=()))

    async def relieve(self) -> None:
        """Go on with the next shard; wait where too many of them do."""
        if self._task is not None and (self._task.done() or len(self._waiting) > MOST_FINISHED):
            await self._task
            self._task = None
        if self._waiting and self._task is None:
            self._task = asyncio.create_task(self._close_next(self._waiting.pop(0)))

    async def close_all(self) -> None:
        """Close what waits, to the last."""
        while self._waiting or self._task is not None:
            if self._task is not None:
                await self._task
            self._task = None
            await self.relieve()

    async def wait(self) -> None:
        """Wait for the shard that is being closed, whatever comes of it."""
        if self._task is not None:
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.exception()  # another error ends the run; asyncio is not to print this

    async def _close_next(self, shard: ShardState) -> None:
        await asyncio.to_thread(self._write, shard)
        self._closed(shard)

    def _write(self, shard: ShardState) -> None:
        shard.journal.close()
        with self._lock:
            have = self._have(shard.index) if shard.is_spilled else ()
            finished = FinishedShard(
                index=shard.index,
                traces=shard.traces(have),
                failures=shard.failures(),
                keys=shard.keys.values(),
            )
            self._close(finished)
        shard.set_aside()
