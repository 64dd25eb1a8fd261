"""Which part of a reply becomes the trace: reasoning models think first and then answer."""

from typing import Literal, NamedTuple

from schemas.records import END_OF_THINKING, FinishReason

ReplyPart = Literal["full", "after_think", "answer"]


class TraceText(NamedTuple):
    """The text of a trace, and why it ends there."""

    text: str
    finish_reason: FinishReason


def take(text: str, part: ReplyPart, finish_reason: FinishReason) -> TraceText:
    """The part of a reply that becomes the trace.

    `after_think` is the text after the last `</think>`, stripped. A reply without one, whose
    teacher was cut off while thinking or marks no thinking, gives an empty text and a finish reason
    that says so. `answer` is the same, but the whole reply where no thinking is marked.
    """
    if part == "full" or (part == "answer" and END_OF_THINKING not in text):
        return TraceText(text, finish_reason)
    if END_OF_THINKING not in text:
        return TraceText("", FinishReason.NO_END_OF_THINKING)
    return TraceText(text.rpartition(END_OF_THINKING)[2].strip(), finish_reason)
