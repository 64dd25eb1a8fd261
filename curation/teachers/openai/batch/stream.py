"""The stream of samples that come in batches: several at the server, and no sample sent twice.

Prompts are read until enough samples are under way; what is missing becomes files of requests. The
server alone keeps the record: each batch carries a hash of the sampling settings in its metadata,
and the names of its requests hold the samples' keys. So a run that begins lists the batches of its
settings, takes what they delivered, and waits for those that still run. Nothing of this depends on
a file of ours that could be lost. As for other servers, `Group` decides which samples are wanted.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from http import HTTPStatus

from curation.teachers import Request, SampleOutcome, Shortfall
from curation.teachers.openai.batch.api import BatchApi, BatchState
from curation.teachers.openai.batch.known import (
    FIELDS,
    SETTINGS,
    KnownBatches,
    LiveBatch,
    next_over,
)
from curation.teachers.openai.batch.lines import LineResult, custom_id
from curation.teachers.openai.batch.request_queue import RequestQueue
from curation.teachers.openai.client import PROMPT_FAULTS, SERVER_FAULTS, ending
from curation.teachers.openai.endpoints import say
from curation.teachers.openai.group import Group
from curation.teachers.openai.inbox import Work
from curation.teachers.openai.request_form import RequestForm, adapted
from curation.teachers.openai.wire import BadReplyError, ServerSampling, choices_of
from support.errors import ShortError, UserError

BATCHES = 4  # over which the samples in flight are spread
ATTEMPTS = 3  # batches in which a request may fail, until it is given up in this run
MOST_REFUSED = 8  # prompts of a batch refused and none answered: perhaps the recipe is refused
_LIMITS = ("token_limit_exceeded", "request_limit_exceeded")  # what waits at a server is bounded


class BatchStream:
    """One run of sampling by batches; only one `run` each. `in_flight` is in samples."""

    def __init__(
        self,
        sampling: ServerSampling,
        api: BatchApi,
        *,
        grouped: bool,
        in_flight: int,
        form: RequestForm,
    ) -> None:
        self._sampling, self._api = sampling, api
        self._in_flight, self._form = in_flight, form
        self._most = max(1, in_flight // BATCHES)  # samples of one batch
        self._queue = RequestQueue(sampling, grouped=grouped)
        self._known = KnownBatches(form)
        self._live = self._known.live
        self._ready: deque[tuple[Work, LineResult]] = deque()  # delivered by batches of before
        self._is_read = self._is_known = self._is_full = False
        self._has_answered = False
        self._shortfall: Shortfall = lambda prompt, traces: 0

    async def run(
        self, requests: Iterable[Request], shortfall: Shortfall
    ) -> AsyncGenerator[SampleOutcome, None]:
        """Every outcome; raises what ends the run early."""
        self._shortfall = shortfall
        reading = iter(requests)
        try:
            while True:
                async for outcome in self._fill(reading):
                    yield outcome
                if self._queue and not self._is_full:
                    async for outcome in self._submit():
                        yield outcome
                elif self._awaited():
                    async for outcome in self._finish(await self._next_over()):
                        yield outcome
                else:
                    return
        finally:
            self._known.close()

    def note(self) -> str:
        """What goes on, for the progress bar."""
        if not self._awaited():
            return ""
        states = [live.state for live in self._awaited()]
        done, total = sum(one.done for one in states), sum(one.total for one in states)
        return f"{len(states)} batches at the server, {done} of {total} requests done"

    def left_behind(self) -> str:
        """A sentence on the batches that go on at the server when this process ends; or ""."""
        count = len(self._awaited())
        if not count:
            return ""
        what = "1 batch goes" if count == 1 else f"{count} batches go"
        return f"{what} on at {self._api.url}; the same command fetches what came of it"

    def _awaited(self) -> list[LiveBatch]:
        """The batches at the server that samples are expected of."""
        return [live for live in tuple(self._live.values()) if live.waiting]

    def _has_room(self) -> bool:
        """Whether one more request may be read."""
        under_way = self._queue.samples + sum(live.samples for live in self._live.values())
        return self._queue.samples < self._most and under_way < self._in_flight

    async def _fill(self, reading: Iterator[Request]) -> AsyncIterator[SampleOutcome]:
        """Read requests while there is room; deliver what earlier batches have."""
        while True:
            while self._ready:
                work, result = self._ready.popleft()
                async for outcome in self._enter(work, result):
                    yield outcome
            if self._is_read or not self._has_room():
                return
            request = next(reading, None)
            if request is None:
                self._is_read = True
                continue
            self._has_answered |= any(map(self._sampling.has_made, request.have))
            if request.missing:
                group = Group(request)
                if not await self._ask(group):
                    async for outcome in self._settle(group):
                        yield outcome

    async def _ask(self, group: Group) -> bool:
        """Make work of the samples that the group wants now; False if it wants none."""
        wanted = set(group.ask())
        if not wanted:
            return False
        if not self._is_known:  # the first sample that is missing
            self._is_known = True
            await self._known.look_up(self._api, self._sampling.settings)
            self._form = self._known.form
        for work, source in self._known.find(group, wanted):
            if isinstance(source, LiveBatch):
                source.wait_for(work)
            else:
                self._ready.append((work, source))
        self._queue.put(group, sorted(wanted))
        return True

    async def _submit(self) -> AsyncIterator[SampleOutcome]:
        """Make a batch of what waits, as much as one may hold."""
        file = self._queue.take(self._most, self._form)
        for work in file.dropped:
            async for outcome in self._drop(work):
                yield outcome
        if not file.works:
            return
        metadata = {SETTINGS: self._sampling.settings, FIELDS: self._form.text()}
        state = await self._api.submit(file.data, self._queue.path, metadata)
        if state.metadata.get(SETTINGS) != self._sampling.settings:
            await self._api.cancel(state.id)
            raise UserError(
                f"teacher.kind: {self._api.url} keeps no metadata of batches, by which a build "
                f"finds them again; its batch was cancelled; take the teacher openai_server"
            )
        live = self._live[state.id] = LiveBatch(state=state, form=self._form)
        for work in file.works:
            live.wait_for(work)
        say(f"batch {state.id} is submitted: {len(file.works)} requests")

    async def _next_over(self) -> LiveBatch:
        """Wait until a batch is over."""
        live = await next_over(self._api, self._awaited())
        del self._live[live.state.id]
        self._is_full = False
        say(f"batch {live.state.id} is {live.state.status}")
        return live

    async def _finish(self, live: LiveBatch) -> AsyncIterator[SampleOutcome]:
        """Every outcome of a batch that is over."""
        state = live.state
        if state.status == "failed":
            self._fail(live)
            return
        results = await self._api.results(state)
        refused: list[tuple[Work, LineResult]] = []
        answers = 0
        try:
            for work in live.waiting:
                result = results.result(custom_id(work.group.keys[work.indices[0]], work.indices))
                result = result or LineResult(status=0, message="the server says nothing of it")
                if result.status not in PROMPT_FAULTS:
                    answers += result.status == HTTPStatus.OK
                    async for outcome in self._enter(work, result, state):
                        yield outcome
                elif not self._is_form_refused(work, result, live.form):
                    refused.append((work, result))
        finally:
            if not self._known.keep(state.id, results):
                results.close()
        self._check_refused(state, refused, is_answered=bool(answers))
        for work, result in refused:
            work.group.refuse(result.reason, result.text())
            async for outcome in self._drop(work):
                yield outcome

    def _check_refused(
        self, state: BatchState, refused: list[tuple[Work, LineResult]], *, is_answered: bool
    ) -> None:
        """UserError where a batch shows that not its prompts are refused but the recipe."""
        unclear = [(work.group, result) for work, result in refused if not result.is_too_long]
        prompts = len({id(group) for group, _ in unclear})
        if is_answered or not unclear or (self._has_answered and prompts < MOST_REFUSED):
            return
        why = unclear[0][1].text()
        raise UserError(f"teacher: the server has taken no request of batch {state.id}: {why}")

    def _is_form_refused(self, work: Work, result: LineResult, sent: RequestForm) -> bool:
        """Whether the fields of a request were refused; it is queued again with others then."""
        self._form = adapted(
            self._form,
            result.status,
            result.message,
            temperature=self._sampling.temperature,
            top_p=self._sampling.top_p,
        )
        if self._form == sent:
            return False
        self._queue.put(work.group, work.pending(), work.attempts)
        return True

    def _fail(self, live: LiveBatch) -> None:
        """A batch that the server did not begin: queued again where there is only too much now."""
        state, error = live.state, self._api.clean(live.state.error)
        if state.error_code not in _LIMITS:
            raise UserError(
                f"teacher: the server failed batch {state.id} before it ran: {error}; mend "
                f"that and run the same command again: other batches go on at the server"
            )
        if not self._awaited():
            raise ShortError(
                f"teacher.in_flight: the server takes no batch of {live.samples} samples now: "
                f"{error}; set teacher.in_flight lower (a batch holds a quarter of it), or "
                f"run the same command later"
            )
        self._is_full = True  # until another batch is over
        for work in live.waiting:
            self._queue.put(work.group, work.pending(), work.attempts)

    async def _enter(
        self, work: Work, result: LineResult, state: BatchState | None = None
    ) -> AsyncIterator[SampleOutcome]:
        """The outcomes of one request; `state` is of its batch, None where that was over before."""
        group, message = work.group, result.message
        if result.status == HTTPStatus.OK:
            try:
                for choice in choices_of(result.body, len(work.indices), self._sampling.part):
                    index = work.indices[choice.number]
                    if group.is_pending(index):
                        trace = self._sampling.trace(group.prompt, index, choice)
                        group.enter(trace)
                        self._has_answered = True
                        yield trace
                message = "the reply lacks a sample"
            except BadReplyError as error:
                message = str(error)
        elif result.status and result.status not in SERVER_FAULTS | {429}:
            raise ending(result.status, f"a request of a batch was answered {result.text()}")
        rest = work.pending()
        reason = "server_error"
        if state is not None and state.status in ("expired", "cancelled") and not result.status:
            reason = f"batch_{state.status}"
        if rest and (reason != "server_error" or work.attempts + 1 >= ATTEMPTS):
            for index in rest:
                yield group.fail(index, reason, message)
        elif rest:
            self._queue.put(group, rest, work.attempts + 1)
        if group.is_idle:
            async for outcome in self._settle(group):
                yield outcome

    async def _drop(self, work: Work) -> AsyncIterator[SampleOutcome]:
        """Ask no more for the samples of a refused prompt."""
        work.group.release(work.indices)
        if work.group.is_idle:
            async for outcome in self._settle(work.group):
                yield outcome

    async def _settle(self, group: Group) -> AsyncIterator[SampleOutcome]:
        """All requested samples have come: request spare ones if needed, or finish the group."""
        while group.may_widen():
            lacking = await asyncio.to_thread(self._shortfall, group.prompt, group.traces())
            if lacking <= 0:
                group.close()
                break
            group.widen(lacking)
            if await self._ask(group):
                return
        for outcome in group.rest():
            yield outcome
