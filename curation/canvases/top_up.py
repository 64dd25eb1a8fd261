"""How many more traces a prompt needs for a canvas, while its teacher can still be asked.

The rules are those of assembling (`checks.py`, `assembly.py`): an empty, truncated, over-long or
broken trace, and the near-copy of a sibling, do not count. Where a recipe names a number of
samples, answers are not graded, because wrong paths belong on canvases too; in rounds they are.
"""

from collections.abc import Sequence

from curation.canvases.assembly import compared, distinct
from curation.canvases.checks import screen
from curation.canvases.rules import Rules
from curation.canvases.token_counter import TokenCounter
from schemas.records import Grade, GradedTrace, Trace
from scorers.answers.extract.final_answer import extract
from scorers.answers.extract.run_on import may_run_on
from scorers.similarity import matrix


def missing_traces(traces: Sequence[Trace], rules: Rules, counter: TokenCounter) -> int:
    """How many more usable and distinct traces a prompt with `traces` needs; 0 if it has P."""
    graded = [
        GradedTrace(trace=t, text=_up_to_answer(t.text), grade=Grade.UNPARSED, answer=None)
        for t in traces
    ]
    usable = compared(screen(graded, rules.slot_tokens, counter, {}), {})
    similarity_KK = matrix([each.graded.text for each in usable])
    kept = distinct(usable, similarity_KK, rules.similarity, {})
    return max(0, rules.paths - len(kept))


def next_round(traces: Sequence[GradedTrace], rules: Rules, counter: TokenCounter) -> int:
    """How many samples the next round of a prompt has; 0 where it gets no more.

    `traces` are all that came, graded. The answer is that of assembling them: `stop_reason`.
    """
    allocation = rules.allocation
    assert allocation is not None and allocation.rounds
    usable = compared(screen(traces, rules.slot_tokens, counter, {}), {})
    similarity_KK = matrix([each.graded.text for each in usable])
    kept = distinct(usable, similarity_KK, rules.similarity, {})
    reason = allocation.stop_reason(len(traces), [usable[k].correct for k in kept])
    return 0 if reason else allocation.per_round


def _up_to_answer(text: str) -> str:
    """The text up to the end of its answer; only texts that may run on are searched for it."""
    return text[: extract(text).end] if may_run_on(text) else text
