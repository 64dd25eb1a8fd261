"""Whether a prompt gets another round of samples: its traces are graded while sampling runs.

In: the traces of a prompt so far. Out: the size of the next round, or 0. Screening, grading and
comparing are those of the later stages, so that both agree on which groups stand. Each trace is
graded once: verdicts are kept by the key of the trace as long as the prompt may get a round.
"""

from collections.abc import Sequence

from curation.canvases import top_up
from curation.canvases.rules import Rules
from curation.canvases.token_counter import TokenCounter
from curation.graders import Grader, Submission, verdicts
from schemas.records import GradedTrace, Prompt, Trace


def graded(grader: Grader, submissions: Sequence[Submission]) -> list[GradedTrace]:
    """The traces with their verdicts, each text up to the end of its answer."""
    return [
        GradedTrace(trace=one.trace, text=one.trace.text[: a.end], grade=a.grade, answer=a.answer)
        for one, a in zip(submissions, verdicts(grader, submissions), strict=True)
    ]


class RoundShortfall:
    """A `Shortfall` that grades; callable in any thread, for one prompt in one thread at a time."""

    grades = True

    def __init__(self, grader: Grader, rules: Rules, counter: TokenCounter) -> None:
        assert rules.allocation is not None
        self._grader, self._rules, self._counter = grader, rules, counter
        self._last = rules.allocation.most - rules.allocation.per_round
        self._open: dict[str, dict[str, GradedTrace]] = {}  # by prompt, then by key

    def __call__(self, prompt: Prompt, traces: Sequence[Trace]) -> int:
        """The size of the next round."""
        known = self._open.setdefault(prompt.id, {})
        fresh = [Submission(prompt, trace) for trace in traces if trace.key not in known]
        known.update((one.trace.key, one) for one in graded(self._grader, fresh))
        more = top_up.next_round([known[t.key] for t in traces], self._rules, self._counter)
        if not more or len(traces) >= self._last:  # it will not be asked again
            self._open.pop(prompt.id, None)
        return more
