"""The sampling service: one long-lived loop over all shards of a build.

Shards of prompts and a teacher come in. Every shard is closed once, with all its traces in order,
as soon as its last outcome has come. Samples that exist (those of `have`, and those in
the shard's journal) are never requested again; new ones are journaled as they come.
`shard_state.py` keeps the state of one shard, `limits.py` says what may still be asked for, and
`closing.py` closes shards.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from curation.sampling.closing import Close, Closer, FinishedShard, Have
from curation.sampling.committing import committing
from curation.sampling.journal import Journal
from curation.sampling.limits import Limits
from curation.sampling.shard_state import Sample, Shard, ShardState, open_shard_state
from curation.sampling.spending import Allowance
from curation.teachers import (
    Failure,
    Request,
    SampleOutcome,
    Shortfall,
    Teacher,
    recorded_samples,
    sample_budget,
)
from schemas.records import Prompt, Trace
from schemas.samples import Rounds

__all__ = ["Close", "FinishedShard", "Have", "Progress", "Report", "Shard", "no_shortfall", "run"]

YIELD_SECONDS = 0.05  # longest that outcomes are taken before the other tasks get a turn
THREADS = 2  # of the default executor: closing shards, and what teachers hand to threads
HELD_CHARACTERS = 64_000_000  # of traces in memory; beyond it the largest open shard spills


class Progress(NamedTuple):
    """Where a run stands; counts are of samples, over the shards opened so far.

    `wanted` is the sum of `done`, `failures` and what is still open; spare samples count from when
    they come. `reused` of the `done` traces were there before the run; `short` of the failures may
    be delivered by another run.
    """

    shards: int = 0  # closed
    wanted: int = 0
    done: int = 0
    reused: int = 0
    failures: int = 0
    short: int = 0
    completion_tokens: int = 0  # of new traces
    damaged: int = 0  # journal lines that could not be read


Report = Callable[[Progress], None]


def no_shortfall(prompt: Prompt, traces: Sequence[Trace]) -> int:
    """Any traces will do: no spare sample is ever asked for."""
    return 0


def run(
    teacher: Teacher,
    shards: Iterable[Shard],
    *,
    samples: int | Rounds,
    folder: Path,
    have: Have,
    close: Close,
    shortfall: Shortfall = no_shortfall,
    allowance: Allowance | None = None,
    progress: Report | None = None,
) -> Progress:
    """Sample every shard, `samples` a prompt, and close each as its last outcome arrives.

    `shards` is read as the teacher asks for requests (in the loop's thread), so that memory holds
    only the shards in flight. `have` gives a shard's traces that exist outside its own journal.
    `close` makes a shard durable, one call at a time, from any thread; only after it has returned,
    and with no retryable failure, is the shard's journal in `folder` set aside. `shortfall` says
    how many spare samples a prompt needs. Once `allowance` is spent, no further sample is asked for
    (what is asked for is taken), and shards that lack samples are handed to `close` with retryable
    failures. `progress` is called with every outcome and about twice a second; what it raises ends
    the run.

    Whatever ends the run early, an error of the teacher too, what has come is committed first. A
    sample that the teacher leaves out becomes a retryable Failure `not_delivered`; a second outcome
    for a sample is ignored. Raises ValueError for a prompt id that comes twice and for a trace
    under a wrong key, DamagedError for two journals of one shard. Callable from any thread that
    runs no event loop.
    """
    report = progress or (lambda progress: None)
    paid = None if teacher.is_record else allowance
    service = _Service(teacher, samples, folder, have, close, report, Limits(paid))
    # A full collection over all that is imported halts every connection for a third of a second.
    gc.freeze()
    try:
        return asyncio.run(service.run(shards, shortfall))
    finally:
        gc.unfreeze()


@dataclass(eq=False)
class _Service:
    """The shards in flight; enters every outcome into the state of its shard."""

    teacher: Teacher
    samples: int | Rounds
    folder: Path
    have: Have
    close: Close
    report: Report
    limits: Limits

    def __post_init__(self) -> None:
        self._counts = dict.fromkeys(Progress._fields, 0)
        self._in_rounds = isinstance(self.samples, Rounds)
        self._open: dict[int, ShardState] = {}
        self._held = 0  # characters of traces in memory
        self._missing: dict[Sample, ShardState] = {}
        self._last_yield = time.monotonic()
        self._closer = Closer(self.have, self.close, self._closed)

    async def run(self, shards: Iterable[Shard], shortfall: Shortfall) -> Progress:
        """See the function `run`."""
        # Few threads: each keeps memory of its own, and what they do takes turns anyway.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
        shards = iter(shards)
        try:
            async with committing(self._journals, self._tick):
                await self._sample(self._requests(shards), shortfall)
                if self.limits.is_spent():
                    await self._sample(self._requests(shards, free=True), shortfall)
                await self._closer.close_all()
                self.report(self._progress)
        finally:
            await self._closer.wait()  # a shard that is being closed is closed to the end
            self._release()
        return self._progress

    async def _sample(self, requests: Iterator[Request], shortfall: Shortfall) -> None:
        """Take every outcome of the teacher; what it leaves out has failed."""
        async with AsyncExitStack() as stack:
            outcomes = self.teacher.sample(requests, self.limits.shortfall(shortfall))
            if (aclose := getattr(outcomes, "aclose", None)) is not None:
                stack.push_async_callback(aclose)
            async for outcome in outcomes:
                self._take(outcome)
                await self._relieve()
        self._give_up()
        for _ in requests:  # what the teacher did not even ask for is short too
            self._give_up()
            await self._relieve()

    def _requests(self, shards: Iterator[Shard], *, free: bool = False) -> Iterator[Request]:
        """Every prompt in order, shard by shard, also those with nothing missing.

        It ends when the budget is spent. Then it is called for the rest of the shards, `free`, and
        gives those that lack none but spare samples and recorded ones. They are closed where no
        spare sample is needed.
        """
        while free or not self.limits.is_spent():
            if (shard := next(shards, None)) is None:
                return
            open_shard, requests = self._opened(shard)
            if free and (lacking := next((one for one in requests if one.lacks_required), None)):
                self._closer.leave(open_shard.index, (lacking.prompt.id, min(lacking.missing)))
                continue
            self._enter(open_shard)
            if not open_shard.missing:  # a teacher may skip many such shards in one go
                self._closer.close_now(open_shard)
            for request in requests:
                if not (self.limits.is_spent() and request.lacks_required):
                    yield request

    def _opened(self, shard: Shard) -> tuple[ShardState, list[Request]]:
        """The state of a shard, and its requests, made while all of its traces are in memory."""
        wanted = [sample_budget(self.teacher, prompt, self.samples) for prompt in shard.prompts]
        have = self.have(shard.index)
        open_shard = open_shard_state(shard, wanted, self.teacher, self.folder, have)
        recorded = recorded_samples(self.teacher)
        requests = [
            self.limits.request(
                open_shard.request(
                    prompt,
                    position,
                    number,
                    recorded=recorded(prompt),
                    in_rounds=self._in_rounds,
                )
            )
            for position, (prompt, number) in enumerate(zip(shard.prompts, wanted, strict=True))
        ]
        return open_shard, requests

    def _take(self, outcome: SampleOutcome) -> None:
        """Enter an outcome; one for a sample that is not missing is ignored."""
        sample = (outcome.prompt_id, outcome.index)
        open_shard = self._missing.get(sample)
        if open_shard is None:
            return
        outcome = self.limits.outcome(outcome)
        open_shard.enter(outcome)
        del self._missing[sample]
        more = int(sample in open_shard.spares)
        if isinstance(outcome, Trace):
            tokens = outcome.completion_tokens or 0
            self._held += len(outcome.text)
            self._count(wanted=more, done=1, completion_tokens=tokens)
            if more and self._in_rounds:
                self.limits.check_round(outcome)
        elif isinstance(outcome, Failure):
            self._count(wanted=more, failures=1, short=int(outcome.retryable))
        if not open_shard.missing:
            self._closer.add(open_shard)
        self.report(self._progress)

    def _give_up(self) -> None:
        """Turn all that is still missing into failures."""
        for prompt_id, index in tuple(self._missing):
            self._take(
                Failure(
                    prompt_id=prompt_id,
                    index=index,
                    reason="not_delivered",
                    detail="the teacher ended without an outcome for this sample",
                    retryable=True,
                )
            )

    async def _relieve(self) -> None:
        """Close every shard whose last outcome has come; spill when too much is in memory."""
        now = time.monotonic()
        if now - self._last_yield > YIELD_SECONDS:  # a teacher may never wait
            await asyncio.sleep(0)
            self._last_yield = now
        await self._closer.relieve()
        if self._held > HELD_CHARACTERS:
            growing = [open_shard for open_shard in self._open.values() if open_shard.missing]
            if len(growing) > 1 and not self.teacher.is_record:
                largest = max(growing, key=lambda open_shard: open_shard.held)
                self._held -= largest.held
                largest.spill()

    def _journals(self) -> list[Journal]:
        return [open_shard.journal for open_shard in self._open.values()]

    def _release(self) -> None:
        """Commit and close the journals of all shards that are still open."""
        with ExitStack() as stack:
            for journal in self._journals():
                stack.callback(journal.close)

    def _tick(self) -> None:
        self.limits.look()
        self.report(self._progress)

    def _enter(self, open_shard: ShardState) -> None:
        if open_shard.index in self._open or not open_shard.missing.isdisjoint(self._missing):
            index = open_shard.index
            raise ValueError(f"shard {index}: the shard or one of its prompts comes twice")
        self._open[open_shard.index] = open_shard
        self._missing.update(dict.fromkeys(open_shard.missing, open_shard))
        self._held += open_shard.held
        self._count(
            wanted=len(open_shard.keys) - len(open_shard.spares),
            done=open_shard.reused,
            reused=open_shard.reused,
            failures=len(open_shard.failures()),
            damaged=open_shard.damaged,
        )

    def _closed(self, open_shard: ShardState) -> None:
        del self._open[open_shard.index]
        self._held -= open_shard.held
        self._count(shards=1)

    @property
    def _progress(self) -> Progress:
        """Where the run stands now."""
        return Progress(**self._counts)

    def _count(self, **more: int) -> None:
        for name, value in more.items():
            self._counts[name] += value
