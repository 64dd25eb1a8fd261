"""Which part of a reply becomes the trace: reasoning models think first and then answer."""

from typing import Literal

Part = Literal["full", "after_think"]
_END_OF_THINKING = "</think>"


def take(text: str, part: Part) -> str:
    """The part of a reply that becomes the trace.

    `after_think` is what follows the last `</think>`, stripped. A reply without one was cut off
    while thinking: nothing is left of it, and the empty trace is rejected later with that reason.
    """
    if part == "full":
        return text
    _, found, answer = text.rpartition(_END_OF_THINKING)
    return answer.strip() if found else ""
