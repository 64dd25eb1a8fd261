"""The books of one prompt while it is sampled. In: a request, traces. Out: what to ask for.

Firm samples are asked for first. When all are in and too few of them are usable and distinct, spare
ones are asked for, as many as lack, until enough are there or none is left: so what is asked is a
function of the traces alone, and a run that goes on after a crash asks for the same samples.
"""

from collections.abc import Iterator, Sequence

from curation.teachers import Failure, Request, Skipped
from schemas.records import Prompt, Trace


class Group:
    """One prompt, its traces so far and the samples that are still open."""

    def __init__(self, request: Request) -> None:
        self.prompt: Prompt = request.prompt
        self._traces = {trace.index: trace for trace in request.have}
        self._missing = set(request.missing)
        self._pending: set[int] = set()
        self._frontier = request.wanted.required  # samples below it are wanted for certain
        self._most = request.wanted.maximum
        self._refusal = request.refusal
        self._is_closed = False

    @property
    def refusal(self) -> Failure | None:
        """Why the teacher will have nothing to do with this prompt, if it said so."""
        return self._refusal

    @property
    def is_idle(self) -> bool:
        """Whether nothing is pending."""
        return not self._pending

    def ask(self) -> list[int]:
        """The samples to ask for now; they are pending from then on."""
        due = {index for index in self._missing if index < self._frontier}
        fresh = [] if self._refusal else sorted(due - self._pending)
        self._pending.update(fresh)
        return fresh

    def traces(self) -> Sequence[Trace]:
        """The traces that count, by index: those below the frontier."""
        return [self._traces[i] for i in sorted(self._traces) if i < self._frontier]

    def enter(self, trace: Trace) -> None:
        """Take a trace that was asked for."""
        self._traces[trace.index] = trace
        self._decide(trace.index)

    def fail(self, index: int, reason: str, detail: str) -> Failure:
        """Give up on one sample; another run may get it."""
        self.close()
        self._decide(index)
        return self._failure(index, reason, detail, retryable=True)

    def refuse(self, reason: str, detail: str) -> None:
        """The teacher will never answer this prompt."""
        index = min(self._missing, default=0)
        self._refusal = self._refusal or self._failure(index, reason, detail, retryable=False)

    def widen(self, lacking: int) -> None:
        """Ask for `lacking` more samples, as far as there are any; those already there count."""
        self._frontier = min(self._most, self._frontier + lacking)

    def may_widen(self) -> bool:
        """Whether spare samples are left, and those before them came."""
        return self._frontier < self._most and not self._refusal and not self._is_closed

    def close(self) -> None:
        """Ask for no more spares: there are enough, or one before them could not be had."""
        self._is_closed = True

    def release(self, indices: Sequence[int]) -> None:
        """Some samples are not pending any more, though nothing came of them."""
        self._pending.difference_update(indices)

    def rest(self) -> Iterator[Failure | Skipped]:
        """Decide what is left: refused where it was wanted, else not needed."""
        for index in sorted(self._missing):
            if self._refusal and index < self._frontier:
                refusal = self._refusal
                yield self._failure(index, refusal.reason, refusal.detail, retryable=False)
            else:
                yield Skipped(prompt_id=self.prompt.id, index=index)
        self._missing.clear()

    def _decide(self, index: int) -> None:
        self._missing.discard(index)
        self._pending.discard(index)

    def _failure(self, index: int, reason: str, detail: str, *, retryable: bool) -> Failure:
        return Failure(
            prompt_id=self.prompt.id,
            index=index,
            reason=reason,
            detail=detail,
            retryable=retryable,
        )
