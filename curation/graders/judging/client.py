"""One conversation with a judge's server, whichever thread asks.

Questions come from any thread, many at a time. A thread of its own runs the client of the teacher
`openai_server`, so that all questions share its connections, its limit of requests in flight and
its patience. Every reply is kept before it is handed out, and no vote is asked for twice.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import aclosing, suppress
from dataclasses import replace
from hashlib import blake2b
from threading import Lock, Thread
from typing import NamedTuple

from curation.sampling.replies import Replies
from curation.sampling.service import no_shortfall
from curation.sampling.spending import BudgetSpentError
from curation.teachers import Failure, Request, SampleBudget, SampleOutcome
from curation.teachers.openai.feed import Feed
from curation.teachers.openai_server import OpenAIServer
from schemas.records import FinishReason, Prompt, Trace
from support.errors import ShortError


class Vote(NamedTuple):
    """One of several replies to a question, by its number."""

    question: str
    number: int


class _Open(NamedTuple):
    """A vote that was asked for: the key under which it is kept, and who waits for it."""

    key: str
    reply: Future[Trace]


class JudgeClient:
    """Asks `teacher` for votes; safe to use from several threads."""

    def __init__(self, teacher: OpenAIServer) -> None:
        self._teacher = teacher
        teacher.place = "grader.teacher"
        self._replies: Replies | None = None
        self._lock = Lock()
        self._open: dict[tuple[str, int], _Open] = {}  # by prompt id and number of the vote
        self._thread: Thread | None = None
        self._feed = Feed()
        self._stop: Callable[[], object] = lambda: None
        self._error: BaseException | None = None
        # A hash of all settings; a reply under it says that the server has answered before.
        self.settings = teacher.key(_prompt(""), 0)

    def keep(self, replies: Replies) -> None:
        """Look for earlier replies in `replies`, and add new ones."""
        self._replies = replies

    def reach(self) -> None:
        """Ask the server whether it is well; ShortError or UserError where it is not."""
        asyncio.run(self._teacher.reach())

    def ask(self, votes: Collection[Vote]) -> dict[Vote, Trace]:
        """The reply to every vote; a refused one has the finish reason `refused`.

        Raises ShortError where a reply could not be had, BudgetSpentError where nothing is left for
        it: everything that came is kept.
        """
        kept = self._kept
        prompts = {vote.question: _prompt(vote.question) for vote in votes}
        keys = {vote: self._teacher.key(prompts[vote.question], vote.number) for vote in votes}
        replies = kept.find(set(keys.values()))
        missing = {vote: key for vote, key in keys.items() if key not in replies}
        replies_of: dict[Vote, Future[Trace]] = {}
        if missing:
            with self._lock:
                replies |= kept.find(set(missing.values()))  # what came meanwhile
                missing = {vote: key for vote, key in missing.items() if key not in replies}
                replies_of = self._request(missing, prompts)
        wait(replies_of.values())
        return {
            vote: replies[key] if key in replies else replies_of[vote].result()
            for vote, key in keys.items()
        }

    def close(self) -> None:
        """End the conversation; asking again starts another."""
        with self._lock:
            thread, stop = self._thread, self._stop
        if thread is None:
            return
        with suppress(RuntimeError):  # it has ended by itself
            stop()
        thread.join()
        with self._lock:
            self._thread, self._error = None, None

    @property
    def _kept(self) -> Replies:
        assert self._replies is not None, "keep() comes first"
        return self._replies

    def _request(
        self, votes: Mapping[Vote, str], prompts: Mapping[str, Prompt]
    ) -> dict[Vote, Future[Trace]]:
        """Ask for votes (with their keys) that nobody has asked for yet; call with the lock."""
        if not votes:
            return {}
        if self._error is not None:
            raise self._error
        if (allowance := self._kept.allowance) is not None and allowance.is_spent:
            raise BudgetSpentError(allowance.sentence())
        if self._thread is None:
            self._start()
        futures: dict[Vote, Future[Trace]] = {}
        fresh: dict[str, list[int]] = {}
        for vote, key in votes.items():
            sample = (prompts[vote.question].id, vote.number)
            if sample not in self._open:
                self._open[sample] = _Open(key, Future())
                fresh.setdefault(vote.question, []).append(vote.number)
            futures[vote] = self._open[sample].reply
        self._feed.add([self._question(prompts[text], n) for text, n in fresh.items()])
        return futures

    def _question(self, prompt: Prompt, numbers: Sequence[int]) -> Request:
        most, allowance = max(numbers) + 1, self._kept.allowance
        request = Request(
            prompt=prompt,
            shard=0,
            position=0,
            wanted=SampleBudget(most, most),
            missing=tuple(numbers),
            keys=tuple(self._teacher.key(prompt, number) for number in range(most)),
        )
        if allowance is None:
            return request
        return replace(
            request, is_stopped=lambda: allowance.is_spent, expect=allowance.expect_reply
        )

    def _start(self) -> None:
        has_answered = bool(self._kept.find({self.settings}))
        self._feed = Feed(has_answered=has_answered)
        started: Future[Callable[[], object]] = Future()
        self._thread = Thread(target=self._run, args=(self._feed, started), daemon=True)
        self._thread.start()
        self._stop = started.result()

    def _run(self, feed: Feed, started: "Future[Callable[[], object]]") -> None:
        """The thread: whoever still waits in the end gets what has ended it."""
        error: BaseException = ShortError("grader: ended before every verdict was given")
        try:
            asyncio.run(self._converse(feed, started))
        except asyncio.CancelledError:  # by `close`
            pass
        except BaseException as fault:
            error = fault
            if not started.done():
                started.set_exception(fault)
        finally:
            with self._lock:
                self._error = error
                waiting, self._open = list(self._open.values()), {}
            for vote in waiting:
                vote.reply.set_exception(error)

    async def _converse(self, feed: Feed, started: "Future[Callable[[], object]]") -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        started.set_result(lambda: loop.call_soon_threadsafe(task.cancel))
        arrived: list[SampleOutcome] = []
        keeper: asyncio.Task[None] | None = None
        try:
            outcomes = self._teacher.sample(feed, no_shortfall)
            async with aclosing(outcomes) as stream:  # type: ignore[type-var]
                async for outcome in stream:
                    arrived.append(outcome)
                    if keeper is None or keeper.done():
                        keeper = asyncio.create_task(self._keep(arrived, feed))
                        keeper.add_done_callback(_or_cancel(task))
        finally:
            if keeper is not None:
                await asyncio.wait([keeper])
                keeper.result()

    async def _keep(self, arrived: list[SampleOutcome], feed: Feed) -> None:
        """Keep and hand out what has arrived; a disk is slow, so that takes a thread."""
        while arrived:
            batch = arrived.copy()
            arrived.clear()
            await asyncio.to_thread(self._hand_out, batch, feed)

    def _hand_out(self, outcomes: Sequence[SampleOutcome], feed: Feed) -> None:
        with self._lock:
            votes = [self._open[one.prompt_id, one.index] for one in outcomes]
        replies = [self._reply(one, v.key) for one, v in zip(outcomes, votes, strict=True)]
        kept = [reply for reply in replies if isinstance(reply, Trace)]
        answers = [reply for reply in kept if reply.finish_reason is not FinishReason.REFUSED]
        if answers and not feed.has_answered:
            feed.has_answered = True
            kept.append(
                replace(
                    answers[0],
                    prompt_id="",
                    key=self.settings,
                    max_tokens=None,
                    prompt_tokens=None,
                    completion_tokens=None,
                )
            )
        try:
            self._kept.add(kept)
        except Exception as error:  # a full disk: nothing is handed out that is not kept
            replies = [error] * len(votes)
        with self._lock:
            for one in outcomes:
                del self._open[one.prompt_id, one.index]
        for vote, reply in zip(votes, replies, strict=True):
            if isinstance(reply, Trace):
                vote.reply.set_result(reply)
            else:
                vote.reply.set_exception(reply)

    def _reply(self, outcome: SampleOutcome, key: str) -> Trace | Exception:
        """What is handed out for an outcome."""
        if isinstance(outcome, Trace):
            return outcome
        assert isinstance(outcome, Failure), "every vote is wanted"
        allowance = self._kept.allowance
        if outcome.retryable and allowance is not None and allowance.is_spent:
            return BudgetSpentError(allowance.sentence())
        if outcome.retryable:
            return ShortError(
                f"grader: a verdict could not be had ({outcome.reason}: {outcome.detail}); "
                "everything else is kept; run the same command again to get the rest"
            )
        return Trace(
            prompt_id=outcome.prompt_id,
            index=outcome.index,
            key=key,
            text=f"{outcome.reason}: {outcome.detail}",
            teacher=self._teacher.name,
            revision=self._teacher.revision,
            temperature=None,
            top_p=None,
            max_tokens=None,
            seed=None,
            hint=None,
            finish_reason=FinishReason.REFUSED,
            prompt_tokens=None,
            completion_tokens=None,
        )


def _or_cancel(task: "asyncio.Task[None]") -> Callable[["asyncio.Task[None]"], None]:
    """What ends `task` where another one, when it is done, has failed: nobody may wait for ever."""

    def done(other: "asyncio.Task[None]") -> None:
        if not other.cancelled() and other.exception() is not None:
            task.cancel()

    return done


def _prompt(question: str) -> Prompt:
    """A question as a prompt."""
    return Prompt(id=question_id(question), text=question, gold="", source="", row=0, license="")


def question_id(question: str) -> str:
    """The id of a question: that of its text, whichever trace it is about."""
    return blake2b(question.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
