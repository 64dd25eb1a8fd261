"""Which traces can stand in a slot. In: a prompt's graded traces. Out: the usable ones, and faults.

The checks, in this order: `not_unicode`, `empty` (or why: `no_end_of_thinking`, `no_content`),
`truncated`, `contains_marker`, `contains_special_token`, `too_many_tokens`. The first that fails is
the reason.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from curation.canvases.token_counter import TokenCounter
from schemas.canvas import MARKER
from schemas.records import FinishReason, Grade, GradedTrace
from scorers.answers.extract.final_answer import extract
from scorers.answers.extract.truncation import describe_truncation

_HEAD = 64  # characters for each token of the slot, of which the tokens are counted first
_SLACK = 16  # tokens that a text cut at its head may have more than the same part within the text
_WORD = re.compile(r"\w")


class Fault(NamedTuple):
    """Why a trace or a prompt is rejected: a slug and a sentence."""

    reason: str
    detail: str


_EMPTY = {
    FinishReason.NO_END_OF_THINKING: Fault(
        "no_end_of_thinking",
        "teacher.part=after_think asks for what follows </think>, and there is no </think>: it was "
        "cut off while thinking (allow more tokens), or marks no thinking (set teacher.part=full)",
    ),
    FinishReason.NO_CONTENT: Fault(
        "no_content", "the server's reply holds null where its text should be"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usable:
    """A trace that fits a slot: `graded.text` is as it will stand there, `tokens` its length."""

    graded: GradedTrace
    tokens: int

    @property
    def index(self) -> int:
        """The sample's number within its prompt, from 0."""
        return self.graded.trace.index

    @property
    def number(self) -> int:
        """The same from 1, for messages."""
        return self.index + 1

    @property
    def correct(self) -> bool:
        """Whether its answer is right; every other grade counts as wrong."""
        return self.graded.grade is Grade.CORRECT


def screen(
    ordered: Sequence[GradedTrace],
    slot_tokens: int,
    counter: TokenCounter,
    faults: dict[int, Fault],
) -> list[Usable]:
    """The traces that can stand in a slot, stripped; the others go to `faults`."""
    sound = []
    for graded in ordered:
        text = graded.text.strip()
        if fault := _text_fault(graded, text, counter):
            faults[graded.trace.index] = fault
        else:
            sound.append(graded if text == graded.text else replace(graded, text=text))
    heads = [head_of(graded, slot_tokens) for graded in sound]
    usable = []
    for graded, head, tokens in zip(sound, heads, counter.counts(heads), strict=True):
        at_least = "" if head == graded.text else "at least "
        if at_least and tokens <= slot_tokens + _SLACK:
            at_least, tokens = "", counter.count(graded.text)
        if tokens > slot_tokens:
            detail = f"{at_least}{tokens} tokens, the slot has {slot_tokens}"
            faults[graded.trace.index] = Fault("too_many_tokens", detail)
        else:
            usable.append(Usable(graded=graded, tokens=tokens))
    return usable


def head_of(graded: GradedTrace, slot_tokens: int) -> str:
    """The part of a trace whose tokens are counted first.

    A huge text is too long by that part already, which bounds the time spent on it.
    """
    return graded.text.strip()[: _HEAD * slot_tokens]


def _text_fault(graded: GradedTrace, text: str, counter: TokenCounter) -> Fault | None:
    """Why the text can stand on no canvas, its length aside."""
    if not is_unicode(text):
        return Fault("not_unicode", "holds a lone surrogate, which UTF-8 cannot carry")
    if not _WORD.search(text):
        return _EMPTY.get(
            graded.trace.finish_reason, Fault("empty", "holds no letter and no digit")
        )
    # A text that ends with its answer is whole, even if the teacher was stopped in what followed.
    is_stopped = graded.trace.finish_reason is FinishReason.LENGTH
    if is_stopped and len(text) >= len(graded.trace.text.strip()):
        return Fault("truncated", f"the teacher was stopped by its limit: {_limit(graded)}")
    if broken := _broken_off(graded, text):
        return Fault("truncated", f"announces no answer and {broken}")
    if marker := MARKER.search(text):
        return Fault("contains_marker", f"{marker.group()!r} at character {marker.start()}")
    if special := counter.special(text):
        return Fault("contains_special_token", f"{special!r}")
    return None


def _broken_off(graded: GradedTrace, text: str) -> str | None:
    """How the text of a trace breaks off; None if it does not, or the teacher said why it stopped.

    Only the text can show it, so a correct trace, or one that announces an answer, counts as whole.
    """
    is_unknown = graded.trace.finish_reason is FinishReason.UNKNOWN
    if not is_unknown or graded.grade is Grade.CORRECT or graded.answer is not None:
        return None
    broken = describe_truncation(text)
    return broken if broken and extract(text).answer is None else None


def _limit(graded: GradedTrace) -> str:
    trace = graded.trace
    known = trace.max_tokens if trace.max_tokens is not None else trace.completion_tokens
    return "unknown" if known is None else f"{known} tokens"


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can carry the text: no lone surrogate."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False
