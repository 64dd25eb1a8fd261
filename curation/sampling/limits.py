"""What a teacher may still be asked for: the end of a budget, and the end of each round.

A budget that is spent ends sampling: no more requests are read, and no prompt gets spare samples
but those that exist. Its prompts are not said to have enough: what they lack is a failure that
another run, with a larger budget, makes good.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from curation.sampling.shard_state import Sample
from curation.sampling.spending import SPENT, Allowance, BudgetSpentError
from curation.teachers import (
    Failure,
    Request,
    SampleOutcome,
    Shortfall,
    Skipped,
    at_once,
    is_slow,
    most_at_a_time,
)
from schemas.records import Prompt, Trace
from support.errors import UserError


class Limits:
    """The limits of one run of sampling; without an `allowance` there is no budget."""

    def __init__(self, allowance: Allowance | None) -> None:
        self._allowance = allowance
        self._spares: dict[str, int] = {}  # traces of prompts that came with spare ones
        self._cut: set[str] = set()  # prompts that lack spare samples which nothing is left for
        self._has_asked = False  # whether the teacher has ever asked what a prompt lacks

    def is_spent(self) -> bool:
        """Whether nothing more may be asked for."""
        return self._allowance is not None and self._allowance.is_spent

    def look(self) -> None:
        """See whether the time of the budget is over."""
        if self._allowance is not None:
            self._allowance.look()

    def request(self, request: Request) -> Request:
        """The request with the budget's end in it."""
        if self._allowance is None:
            return request
        if len(request.have) > request.wanted.required:
            self._spares[request.prompt.id] = len(request.have)
        return replace(request, is_stopped=self.is_spent, expect=self._allowance.expect)

    def shortfall(self, shortfall: Shortfall) -> Shortfall:
        """The same, but when the budget is spent no prompt lacks a trace that does not exist."""

        def affordable(prompt: Prompt, traces: Sequence[Trace]) -> int:
            return self._affordable(prompt, traces, shortfall) or 0

        def known(prompt: Prompt, traces: Sequence[Trace]) -> int | None:
            return self._affordable(prompt, traces, partial(at_once, shortfall))

        affordable.grades = is_slow(shortfall)  # type: ignore[attr-defined]
        affordable.at_once = known  # type: ignore[attr-defined]
        affordable.most_at_a_time = most_at_a_time(shortfall)  # type: ignore[attr-defined]
        return affordable

    def _affordable(
        self,
        prompt: Prompt,
        traces: Sequence[Trace],
        ask: Callable[[Prompt, Sequence[Trace]], int | None],
    ) -> int | None:
        """What `ask` says, as far as the budget reaches."""
        self._has_asked = True
        try:
            lacking = ask(prompt, traces)
        except BudgetSpentError:  # a judge was to say what it lacks
            self._cut.add(prompt.id)
            return 0
        if not lacking or not self.is_spent():
            return lacking
        # Spare samples that exist cost nothing again. Half a round of them is none: whoever goes on
        # from there would draw other samples than a run that was never stopped.
        if self._spares.get(prompt.id, 0) - len(traces) >= lacking:
            return lacking
        self._cut.add(prompt.id)
        return 0

    def outcome(self, outcome: SampleOutcome) -> SampleOutcome:
        """The outcome of a missing sample as it is to be entered; traces are counted."""
        if isinstance(outcome, Trace) and self._allowance is not None:
            self._allowance.add(outcome)
        if isinstance(outcome, Skipped) and outcome.prompt_id in self._cut:
            return unsent((outcome.prompt_id, outcome.index))  # needed, but nothing is left for it
        return outcome

    def check_round(self, spare: Trace) -> None:
        """UserError for a sample beyond the first round, drawn without asking who needs one."""
        if not self._has_asked:
            raise UserError(
                f"samples: the teacher {spare.teacher} does not draw in rounds, because it asks no "
                "shortfall; set samples to a number, or write its `sample` as in "
                "examples/own_teacher.py"
            )


def unsent(sample: Sample) -> Failure:
    """The outcome of a sample that another run, with a larger budget, asks for."""
    prompt_id, index = sample
    detail = "the budget was spent before this sample was asked for"
    return Failure(prompt_id=prompt_id, index=index, reason=SPENT, detail=detail, retryable=True)
