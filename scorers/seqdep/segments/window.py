"""Windows of a fixed number of tokens: the length control for steps."""

from collections.abc import Sequence

from scorers.seqdep.segments import Span, cuts, spans_between


def windows(text: str, starts_T: Sequence[int], size: int) -> list[Span]:
    """Windows of `size` tokens, the last one shorter: the length control for `steps`."""
    return spans_between(0, cuts(starts_T, 0, len(starts_T), size, even=False), len(text))
