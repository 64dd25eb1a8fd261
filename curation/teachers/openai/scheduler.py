"""The stream of samples: many requests in flight, and no sample requested twice.

Requests are read only as there is room for them; outcomes are yielded as they come. Failures of a
server are not charged to prompts: what it could not answer while it was down is sent again. A
request that fails while its server answers others is sent again a bounded number of times. `Group`
alone decides which samples are requested, and a trace is only made of a reply.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from curation.teachers import Request, SampleOutcome, Shortfall, at_once, most_at_a_time
from curation.teachers.openai.client import (
    PROMPT_FAULTS,
    BusyError,
    RejectedError,
    UnavailableError,
    ending,
    is_too_long,
)
from curation.teachers.openai.endpoint import BreakerState, Endpoint
from curation.teachers.openai.endpoints import EndpointPool
from curation.teachers.openai.feed import Feed, NothingYetError
from curation.teachers.openai.group import Group
from curation.teachers.openai.inbox import Inbox, Work
from curation.teachers.openai.wire import BadReplyError, ServerSampling, choices
from schemas.records import Trace
from support.errors import UserError

ATTEMPTS = 5  # failures charged to one request, until it may be given up
LONGEST_PAUSE = 30.0
LONG_CHARACTERS = 20_000  # of a prompt's traces; longer ones are judged in a thread
MOST_JUDGING = 4  # groups to be judged for each thread that may; no more requests are read then
MOST_WAITING = 2048  # samples that wait to be taken; no more are requested then
MOST_REFUSED = 8  # prompts refused and no later request answered: perhaps the recipe is refused


class _Refusal(NamedTuple):
    """Work that the server refused at the time `at`, and its message."""

    work: Work
    message: str
    at: float


class Stream:
    """One run of sampling at an endpoint pool; only one `run` each.

    `give_up` is for how many seconds a request must have failed, besides `ATTEMPTS` times.
    """

    def __init__(
        self, sampling: ServerSampling, pool: EndpointPool, *, grouped: bool, give_up: float
    ) -> None:
        self._sampling, self._pool, self._grouped = sampling, pool, grouped
        self._give_up = give_up
        self._path = "/chat/completions" if sampling.api == "chat" else "/completions"
        self._ready: deque[Work] = deque()
        self._inbox = Inbox()
        self._outcomes: deque[SampleOutcome] = deque()
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests: Iterator[Request] = iter(())
        self._shortfall: Shortfall = lambda prompt, traces: 0
        self._is_read = False
        self._open = 0  # groups that are not decided yet
        self._judging = 0  # groups of these whose traces are judged in a thread
        self._judges = ThreadPoolExecutor()
        self._most_judging = 0
        self._later = 0  # works that are sent again after a pause
        self._has_answered = False
        self._refused: list[_Refusal] = []
        self._error: BaseException | None = None

    async def run(
        self, requests: Iterable[Request], shortfall: Shortfall
    ) -> AsyncGenerator[SampleOutcome, None]:
        """Every outcome; raises what ends the run early."""
        self._requests, self._shortfall = iter(requests), shortfall
        threads = most_at_a_time(shortfall)  # none starts before it is needed
        self._judges, self._most_judging = ThreadPoolExecutor(threads), MOST_JUDGING * threads
        if isinstance(requests, Feed):
            loop = asyncio.get_running_loop()
            requests.on_request(lambda: loop.call_soon_threadsafe(self._pump))
            self._has_answered = requests.has_answered
        self._pool.on_change = self._pump
        try:
            self._pump()
            while self._outcomes or self._open or not self._is_read:
                error = self._error or self._pool.fatal
                for work, traces in self._inbox.take(everything=error is not None):
                    self._deliver(work, traces)
                while self._outcomes:
                    yield self._outcomes.popleft()
                if error is not None:
                    raise error
                self._news.clear()
                self._pump()  # what was taken made room
                if self._inbox:
                    await asyncio.sleep(self._inbox.rest())
                elif not self._outcomes and (self._open or not self._is_read):
                    await self._news.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            try:
                await asyncio.gather(*self._tasks, return_exceptions=True)
                # What is being judged is judged to the end: graders are closed after the run.
                await asyncio.to_thread(self._judges.shutdown, cancel_futures=True)
            finally:
                await self._pool.close()

    def _pump(self) -> None:
        """Send as much as there is room for; called whenever something changed."""
        try:
            self._fill()
            rest = not self._is_in_doubt and (self._ready or self._later)
            if self._refused and not (self._tasks or rest):
                if self._has_answered and not self._is_in_doubt:
                    self._settle_refused(time.monotonic())
                else:  # and there are no others
                    self._error = self._error or self._refuses_all()
        except Exception as error:  # of the requests' iterator: the run must end with it
            self._error = error
        is_over = self._is_read and not self._open
        if self._inbox or self._outcomes or self._error or self._pool.fatal or is_over:
            self._news.set()

    @property
    def _is_full(self) -> bool:
        return len(self._outcomes) + self._inbox.samples >= MOST_WAITING

    @property
    def _is_in_doubt(self) -> bool:
        """Whether the server seems to refuse everything; the requests in flight will show."""
        return len({id(one.work.group) for one in self._refused}) >= MOST_REFUSED

    def _fill(self) -> None:
        while not (self._error or self._pool.fatal or self._is_in_doubt):
            while self._ready and self._ready[0].group.is_stopped():
                self._drop(self._ready.popleft())
            if self._is_full:
                return
            endpoint = self._pool.pick()
            if self._pool.is_open and endpoint is None:
                return
            work = self._next()
            if work is None:
                return
            if endpoint is None:  # the pool is opened for the first request, not before
                self._ready.appendleft(work)
                self._pool.open()
                return
            endpoint.begin(len(work.indices))
            self._start(self._perform(work, endpoint))

    def _next(self) -> Work | None:
        """The next work: first what is to be sent again, then new requests."""
        while True:
            while self._ready:
                work = self._ready.popleft()
                if not (work.group.refusal or work.group.is_stopped()):
                    return work
                self._drop(work)
            if self._is_read or self._is_full or self._judging >= self._most_judging:
                return None
            try:
                request = next(self._requests)
            except NothingYetError:
                return None
            except StopIteration:
                self._is_read = True
                continue
            self._has_answered |= any(map(self._sampling.has_made, request.have))
            if request.missing:
                self._open += 1
                group = Group(request)
                if not self._ask(group):
                    self._settle(group)

    def _start(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            error = task.exception()  # in any case: asyncio prints one that nobody has looked at
            self._error = self._error or error
            self._pump()

    async def _perform(self, work: Work, endpoint: Endpoint) -> None:
        """One request and what comes of it."""
        began, is_trial = time.monotonic(), endpoint.state is BreakerState.TRIAL
        prompt, form, is_vllm = work.group.prompt, endpoint.form, endpoint.is_vllm
        try:
            body = self._sampling.body(prompt, work.indices, is_vllm=is_vllm, form=form)
            most = self._sampling.most_reply(len(work.indices), len(body))
            reply = await endpoint.connection.post(self._path, body, most)
            samples = choices(reply, len(work.indices), self._sampling.part)
        except BusyError as busy:
            pause = endpoint.rest(busy.seconds, sent=began)
            asyncio.get_running_loop().call_later(pause, self._pump)
            self._ready.append(work)
        except BadReplyError as bad:
            error = UnavailableError(endpoint.connection.clean(str(bad)))
            endpoint.fail(error)
            self._again(work, error, charged=is_trial or endpoint.last_success > began)
        except UnavailableError as error:
            endpoint.fail(error)
            others_succeeded = endpoint.last_success > began
            self._again(work, error, charged=is_trial or others_succeeded)
        except RejectedError as error:
            endpoint.succeed()
            if endpoint.adapt(error, self._sampling) == form:
                self._reject(work, endpoint, error)
            else:  # the request's fields were refused: the next one has others
                self._ready.appendleft(work)
        except TypeError as error:  # a lone surrogate, which no JSON carries; nothing was sent
            endpoint.not_tried()
            self._refuse(work, "prompt_not_encodable", f"not UTF-8: {error}")
        else:
            endpoint.succeed(len(samples))
            self._has_answered = True
            self._settle_refused(began)
            traces = [
                self._sampling.trace(prompt, work.indices[choice.number], choice)
                for choice in samples
            ]
            for choice in samples:
                written = self._sampling.max_tokens if choice.tokens is None else choice.tokens
                work.group.expect(choice.prompt_tokens or 0, written)
            self._inbox.put(work, traces)
            work.group.keep(traces)
        finally:
            endpoint.in_flight -= len(work.indices)

    def _deliver(self, work: Work, traces: Sequence[Trace]) -> None:
        """Yield the traces of a reply; samples that it left out are requested again."""
        for trace in traces:
            work.group.enter(trace)
            self._outcomes.append(trace)
        delivered = {trace.index for trace in traces}
        if rest := [index for index in work.indices if index not in delivered]:
            batches = self._sampling.batches(work.group.prompt, rest)  # a seed is the first's alone
            self._ready.extend(replace(work, indices=indices) for indices in batches)
        elif work.group.is_idle:
            self._settle(work.group)

    def _again(self, work: Work, error: UnavailableError, *, charged: bool) -> None:
        """Send a request once more, or give it up.

        It is sent later where the request itself seems to be at fault, which is `charged` to it.
        """
        now = time.monotonic()
        work.since = work.since if work.since is not None else now
        work.attempts += charged
        if work.attempts >= ATTEMPTS and now - work.since >= self._give_up:
            for index in work.indices:
                self._outcomes.append(work.group.fail(index, error.reason, str(error)))
            if work.group.is_idle:
                self._settle(work.group)
        elif charged:
            self._later += 1
            pause = min(LONGEST_PAUSE, 0.25 * 2**work.attempts, self._give_up / 4)
            asyncio.get_running_loop().call_later(pause, self._return, work)
        else:
            self._ready.append(work)

    def _return(self, work: Work) -> None:
        self._later -= 1
        self._ready.append(work)
        self._pump()

    def _reject(self, work: Work, endpoint: Endpoint, error: RejectedError) -> None:
        """Handle a reply that refuses this prompt, or the recipe."""
        if error.status not in PROMPT_FAULTS:
            message = f"{endpoint.url} answers {error.status}: {error}"
            self._error = ending(error.status, message)
        elif is_too_long(error.status, str(error)):
            self._refuse(work, "context_length", str(error))
        else:  # perhaps not this prompt is refused but the recipe: wait for the next answer
            message = f"HTTP {error.status}: {error}"
            self._refused.append(_Refusal(work, message, time.monotonic()))

    def _settle_refused(self, sent: float) -> None:
        """A request sent at the time `sent` was answered: earlier refusals concern their prompts.

        The answer says nothing of refusals that came after its request was sent.
        """
        refused, self._refused = self._refused, []
        for refusal in refused:
            if refusal.at <= sent:
                self._refuse(refusal.work, "refused_by_server", refusal.message)
            else:
                self._refused.append(refusal)

    def _refuses_all(self) -> UserError:
        so_far = "" if self._has_answered else " so far"
        message = self._refused[0].message
        return UserError(f"teacher: the server has taken no request{so_far}: {message}")

    def _refuse(self, work: Work, reason: str, detail: str) -> None:
        work.group.refuse(reason, detail)
        self._drop(work)

    def _drop(self, work: Work) -> None:
        work.group.release(work.indices)
        if work.group.is_idle:
            self._settle(work.group)

    def _ask(self, group: Group) -> bool:
        """Make work of the samples that the group wants now; False if it wants none."""
        fresh = group.ask()
        if not fresh:
            return False
        batches = self._sampling.batches(group.prompt, fresh) if self._grouped else None
        for indices in batches or [(index,) for index in fresh]:
            self._ready.append(Work(group=group, indices=indices))
        return True

    def _settle(self, group: Group) -> None:
        """All requested samples have come: request spare ones if needed, or finish the group."""
        while group.may_widen():
            traces = group.traces()
            is_long = sum(len(trace.text) for trace in traces) > LONG_CHARACTERS
            # A thread for so little would cost more than it frees: it takes turns with this one.
            lacking = None if is_long else at_once(self._shortfall, group.prompt, traces)
            if lacking is None:
                self._judging += 1
                self._start(self._judge(group))
                return
            if self._widen(group, lacking):
                return
        self._outcomes.extend(group.rest())
        self._open -= 1

    async def _judge(self, group: Group) -> None:
        """`_settle` in a thread: long texts and waiting graders would block every connection."""
        judged = self._judges.submit(self._shortfall, group.prompt, group.traces())
        lacking = await asyncio.wrap_future(judged)
        self._judging -= 1
        if not self._widen(group, lacking):
            self._settle(group)

    def _widen(self, group: Group, lacking: int) -> bool:
        """Request as many samples as are missing; False where there is nothing to request."""
        if lacking <= 0:
            group.close()
            return False
        group.widen(lacking)
        return self._ask(group)
