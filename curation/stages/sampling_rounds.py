"""Whether a prompt gets another round of samples: its traces are graded while sampling runs.

In: the traces of a prompt so far. Out: the size of the next round, or 0. Screening, grading and
comparing are those of the later stages, so that both agree on which groups stand. Each trace is
graded once: verdicts are kept by the key of the trace as long as the prompt may get a round.
"""

from collections.abc import Sequence

from curation.canvases import top_up
from curation.canvases.rules import Rules
from curation.canvases.token_counter import TokenCounter
from curation.graders import (
    Grader,
    GradesAtOnce,
    Submission,
    Waits,
    verdicts,
    verdicts_at_once,
)
from curation.teachers import AT_A_TIME
from schemas.records import GradedTrace, Prompt, Trace
from scorers.answers.grade import Answer


def graded(grader: Grader, submissions: Sequence[Submission]) -> list[GradedTrace]:
    """The traces with their verdicts, each text up to the end of its answer."""
    return _joined(submissions, verdicts(grader, submissions))


def _joined(submissions: Sequence[Submission], answers: Sequence[Answer]) -> list[GradedTrace]:
    return [
        GradedTrace(trace=one.trace, text=one.trace.text[: a.end], grade=a.grade, answer=a.answer)
        for one, a in zip(submissions, answers, strict=True)
    ]


class RoundShortfall:
    """A `Shortfall` that grades; callable in any thread, for one prompt in one thread at a time."""

    grades = True

    def __init__(self, grader: Grader, rules: Rules, counter: TokenCounter) -> None:
        assert rules.allocation is not None
        self._grader, self._rules, self._counter = grader, rules, counter
        self.most_at_a_time = grader.most_at_a_time if isinstance(grader, Waits) else AT_A_TIME
        # Looked at once: to look for the methods of a protocol takes long.
        self._at_once = grader if isinstance(grader, GradesAtOnce) else None
        self._last = rules.allocation.most - rules.allocation.per_round
        self._open: dict[str, dict[str, GradedTrace]] = {}  # by prompt, then by key

    def __call__(self, prompt: Prompt, traces: Sequence[Trace]) -> int:
        """The size of the next round."""
        return self._next_round(prompt, traces, graded(self._grader, self._fresh(prompt, traces)))

    def at_once(self, prompt: Prompt, traces: Sequence[Trace]) -> int | None:
        """The same; None where the grader would wait for a process or a server."""
        if self._at_once is None:
            return None
        fresh = self._fresh(prompt, traces)
        answers = verdicts_at_once(self._at_once, fresh)
        return (
            None if answers is None else self._next_round(prompt, traces, _joined(fresh, answers))
        )

    def _fresh(self, prompt: Prompt, traces: Sequence[Trace]) -> list[Submission]:
        """The traces that are not graded yet."""
        known = self._open.get(prompt.id, {})
        return [Submission(prompt, trace) for trace in traces if trace.key not in known]

    def _next_round(
        self, prompt: Prompt, traces: Sequence[Trace], fresh: Sequence[GradedTrace]
    ) -> int:
        known = self._open.setdefault(prompt.id, {})
        known.update((one.trace.key, one) for one in fresh)
        more = top_up.next_round([known[t.key] for t in traces], self._rules, self._counter)
        if not more or len(traces) >= self._last:  # it will not be asked again
            self._open.pop(prompt.id, None)
        return more
