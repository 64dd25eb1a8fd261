"""The state of one prompt while it is sampled: which samples to request next.

Required samples are requested first. When all of them have come and too few are usable and
distinct, as many spare samples are requested as are missing, until there are enough or none is
left. What is requested is thus a function of the traces alone, and a run that goes on after a crash
requests the same samples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from curation.teachers import Failure, Request, Skipped
from schemas.records import Prompt, Trace


class Group:
    """One prompt, its traces so far and the samples that are still open."""

    def __init__(self, request: Request) -> None:
        self.prompt: Prompt = request.prompt
        self.keys = request.keys
        self._traces = {trace.index: trace for trace in request.have}
        self._missing = set(request.missing)
        self._pending: set[int] = set()
        self._frontier = request.wanted.required  # samples below it are wanted for certain
        self._most = request.wanted.maximum
        self.refusal: Failure | None = request.refusal  # the server rejects the prompt for good
        self.is_stopped = request.is_stopped  # nothing more may be sent: the budget is spent
        self.expect = request.expect
        self.keep = request.keep
        self._is_closed = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing is pending."""
        return not self._pending

    def ask(self) -> list[int]:
        """The samples to request now; they are pending from then on."""
        due = {index for index in self._missing if index < self._frontier}
        fresh = [] if self.refusal else sorted(due - self._pending)
        self._pending.update(fresh)
        return fresh

    def is_pending(self, index: int) -> bool:
        """Whether this sample was requested and has not come."""
        return index in self._pending

    def traces(self) -> Sequence[Trace]:
        """The traces that count, by index: those below the frontier."""
        return [self._traces[i] for i in sorted(self._traces) if i < self._frontier]

    def enter(self, trace: Trace) -> None:
        """Enter a trace that was requested."""
        self._traces[trace.index] = trace
        self._decide(trace.index)

    def fail(self, index: int, reason: str, detail: str) -> Failure:
        """Give up on one sample; another run may get it."""
        self.close()
        self._decide(index)
        return self._failure(index, reason, detail, retryable=True)

    def refuse(self, reason: str, detail: str) -> None:
        """Record that the teacher will never answer this prompt."""
        index = min(self._missing, default=0)
        self.refusal = self.refusal or self._failure(index, reason, detail, retryable=False)

    def widen(self, lacking: int) -> None:
        """Want `lacking` more samples, up to the maximum; traces that exist are not requested."""
        self._frontier = min(self._most, self._frontier + lacking)

    def may_widen(self) -> bool:
        """Whether spare samples are left, and those before them came."""
        return self._frontier < self._most and not self.refusal and not self._is_closed

    def close(self) -> None:
        """Want no more spares: there are enough, or an earlier one could not be delivered."""
        self._is_closed = True

    def release(self, indices: Sequence[int]) -> None:
        """Mark samples as not pending, though no trace came of them."""
        self._pending.difference_update(indices)

    def rest(self) -> Iterator[Failure | Skipped]:
        """Outcomes for the samples that are left: not needed, or wanted and refused or not sent."""
        for index in sorted(self._missing):
            if self.refusal and index < self._frontier:
                yield replace(self.refusal, index=index)
            elif index < self._frontier:
                yield self._failure(index, "not_sent", "the budget was spent", retryable=True)
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
