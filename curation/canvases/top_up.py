"""Do these traces make a canvas? In: what a prompt's samples hold so far. Out: how many more lack.

The same rules as when groups are assembled (`checks.py`, `assembly.py`), applied while the teacher
is still at hand: an empty, truncated, over-long or broken trace, and the near-copy of a sibling, do
not count. Whether an answer is right is no question here: wrong paths belong on canvases too.
"""

from collections.abc import Sequence

from curation.canvases.assembly import Rules, compared, distinct
from curation.canvases.checks import screen
from curation.canvases.token_counter import TokenCounter
from schemas.records import Grade, GradedTrace, Prompt, Trace
from scorers.answers.extract.final_answer import extract
from scorers.answers.extract.run_on import may_run_on
from scorers.similarity import matrix


class TopUp:
    """Counts the usable, distinct traces of a prompt against the P of a canvas."""

    def __init__(self, rules: Rules, counter: TokenCounter) -> None:
        self._rules, self._counter = rules, counter

    def shortfall(self, prompt: Prompt, traces: Sequence[Trace]) -> int:
        """How many more usable and distinct traces the prompt needs; 0 if it has P."""
        graded = [
            GradedTrace(
                trace=trace,
                text=_whole(trace.text),
                grade=Grade.UNPARSED,
                answer=None,
            )
            for trace in traces
        ]
        usable = compared(screen(graded, self._rules.slot_tokens, self._counter, {}), {})
        similarity_KK = matrix([each.graded.text for each in usable])
        kept = distinct(usable, similarity_KK, self._rules.similarity, {})
        return max(0, self._rules.paths - len(kept))


def _whole(text: str) -> str:
    """The text up to the end of its answer; most texts end there, and are not searched for it."""
    return text[: extract(text).end] if may_run_on(text) else text
