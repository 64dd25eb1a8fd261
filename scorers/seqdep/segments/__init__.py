"""Segments of a text, one file a level: the paths of a canvas, reasoning steps, windows of tokens.

In: a text and, for every token of its one tokenisation, the character with which the token begins
(`starts_T`, non-decreasing). Out: adjacent character spans without a gap; joined, they give the
text. Pieces are never tokenised separately (METHOD section 2).
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple


class Span(NamedTuple):
    """Characters `start` to `end` (exclusive) of a text."""

    start: int
    end: int


def token_slice(starts_T: Sequence[int], span: Span) -> slice:
    """The tokens whose first character lies in `span`."""
    return slice(bisect_left(starts_T, span.start), bisect_left(starts_T, span.end))


def cuts(starts_T: Sequence[int], first: int, stop: int, size: int, *, even: bool) -> list[int]:
    """The characters at which tokens `first` to `stop` are cut into pieces of up to `size` tokens.

    A cut is only at a token that begins a new character, so a piece may be longer if it is a single
    character. `even`: pieces of nearly equal length, else all but the last have `size` tokens.
    """
    if size < 1:
        raise ValueError(f"a segment has at least 1 token, not {size}")
    places = []
    while stop - first > size:
        pieces = -((first - stop) // size)
        cut = first + (-((first - stop) // pieces) if even else size)
        while cut > first and starts_T[cut] == starts_T[cut - 1]:
            cut -= 1
        if cut == first:  # one character is longer than the whole piece
            cut = bisect_left(starts_T, starts_T[first] + 1, first, stop)
        if cut >= stop:
            break
        places.append(starts_T[cut])
        first = cut
    return places


def spans_between(start: int, cuts: Iterable[int], end: int) -> list[Span]:
    """The spans between the cuts from `start` to `end`, without empty ones."""
    return [Span(a, b) for a, b in pairwise((start, *cuts, end)) if a < b]
