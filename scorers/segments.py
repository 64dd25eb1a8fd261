"""Cut a text into segments: reasoning steps, or windows of a fixed number of tokens.

In: a text and, for every token of its one tokenisation, the character with which the token begins
(`starts_T`, non-decreasing). Out: character spans that follow one another without a gap, so joining
the pieces gives the text back. No text is ever re-tokenised piece by piece (METHOD section 2).
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

# The end of a sentence: terminators and closing quotes before white space (so that "3.5" is whole
# and the blank belongs to the next sentence, as in " Next"), or an East Asian full stop.
# Possessive, and begun only at the start of a run: linear in the text, whatever it holds.
_SENTENCE = re.compile(
    r"(?<![.!?\u2026])[.!?\u2026]++[\"')\]}\u201d\u2019\u00bb*]*+(?=\s)"
    r"|[\u3002\uff01\uff1f]++[\u201d\u2019\u300d\u300f\uff09]*+"
)
# "1." before its sentence; a line "60." is a step of its own.
_LABEL = re.compile(r"\s*(?:\d{1,3}|[A-Za-z])\.")


class Span(NamedTuple):
    """Characters `start` to `end` (exclusive) of a text."""

    start: int
    end: int


def steps(text: str, starts_T: Sequence[int], cap: int) -> list[Span]:
    """Reasoning steps: paragraphs and lines, then sentences, then at most `cap` tokens each.

    White space alone is never a step, and a numbered label ("1.") stays with its sentence. A piece
    over the cap is cut into parts of nearly equal length. Raises ValueError for a cap below 1.
    """
    spans = _joined(text, (s for line in _lines(text) for s in _sentences(text, line)))
    return [part for span in spans for part in _capped(span, starts_T, cap)]


def windows(text: str, starts_T: Sequence[int], size: int) -> list[Span]:
    """Windows of `size` tokens, the last one shorter: the length control for `steps`."""
    return _spans(0, _cuts(starts_T, 0, len(starts_T), size, even=False), len(text))


def token_slice(starts_T: Sequence[int], span: Span) -> slice:
    """The tokens whose first character lies in `span`."""
    return slice(bisect_left(starts_T, span.start), bisect_left(starts_T, span.end))


def _lines(text: str) -> Iterator[Span]:
    at = 0
    for line in text.splitlines(keepends=True):
        yield Span(at, at := at + len(line))


def _sentences(text: str, line: Span) -> list[Span]:
    ends = [found.end() for found in _SENTENCE.finditer(text, *line)]
    return _spans(line.start, ends, line.end)


def _joined(text: str, spans: Iterable[Span]) -> Iterator[Span]:
    """Blank pieces join the piece before them; blank openings and labels the piece after them."""
    held: Span | None = None
    for span in spans:
        piece = text[span.start : span.end]
        if held is None:
            held = span
        elif not piece.strip() or _opens(text, held):
            held = Span(held.start, span.end)
        else:
            yield held
            held = span
    if held is not None:
        yield held


def _opens(text: str, span: Span) -> bool:
    """Whether a piece is blank or a label. Both are short, unless blank: `isspace` stops early."""
    piece = text[span.start : span.end]
    return piece.isspace() or _LABEL.fullmatch(piece) is not None


def _capped(span: Span, starts_T: Sequence[int], cap: int) -> list[Span]:
    tokens = token_slice(starts_T, span)
    return _spans(span.start, _cuts(starts_T, tokens.start, tokens.stop, cap, even=True), span.end)


def _cuts(starts_T: Sequence[int], first: int, stop: int, size: int, *, even: bool) -> list[int]:
    """Where tokens `first` to `stop` are cut into pieces of at most `size` tokens, in characters.

    A cut falls where a token begins with a character of its own. A single character of more than
    `size` tokens stays whole: its piece is the only one that may be longer.
    """
    if size < 1:
        raise ValueError(f"a segment has at least 1 token, not {size}")
    cuts = []
    while stop - first > size:
        pieces = -((first - stop) // size)
        cut = first + (-((first - stop) // pieces) if even else size)
        while cut > first and starts_T[cut] == starts_T[cut - 1]:
            cut -= 1
        if cut == first:  # one character is longer than the whole piece
            cut = bisect_left(starts_T, starts_T[first] + 1, first, stop)
        if cut >= stop:
            break
        cuts.append(starts_T[cut])
        first = cut
    return cuts


def _spans(start: int, cuts: Iterable[int], end: int) -> list[Span]:
    """The spans between the cuts from `start` to `end`, without empty ones."""
    return [Span(a, b) for a, b in pairwise((start, *cuts, end)) if a < b]
