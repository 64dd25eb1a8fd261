"""Reasoning steps: paragraph, then sentence, then a cap on tokens (METHOD section 2)."""

import re
from collections.abc import Iterable, Iterator, Sequence

from scorers.seqdep.segments import Span, cuts, spans_between, token_slice

# The end of a sentence: terminators and closing quotes before white space (so that "3.5" is whole
# and the blank belongs to the next sentence, as in " Next"), or an East Asian full stop.
# Possessive, and begun only at the start of a run: linear in any text.
_SENTENCE = re.compile(
    r"(?<![.!?\u2026])[.!?\u2026]++[\"')\]}\u201d\u2019\u00bb*]*+(?=\s)"
    r"|[\u3002\uff01\uff1f]++[\u201d\u2019\u300d\u300f\uff09]*+"
)
# "1." before its sentence; a line "60." is a step of its own.
_LABEL = re.compile(r"\s*(?:\d{1,3}|[A-Za-z])\.")


def steps(text: str, starts_T: Sequence[int], cap: int) -> list[Span]:
    """Reasoning steps: the text's lines, then sentences, then at most `cap` tokens each.

    White space alone is never a step, and a numbered label ("1.") stays with its sentence. A piece
    over the cap is cut into parts of nearly equal length. Raises ValueError for a cap below 1.
    """
    spans = _joined(text, _sentences(text))
    return [part for span in spans for part in _capped(span, starts_T, cap)]


def _sentences(text: str) -> Iterator[Span]:
    end = 0
    for line in text.splitlines(keepends=True):
        start, end = end, end + len(line)
        ends = [match.end() for match in _SENTENCE.finditer(text, start, end)]
        yield from spans_between(start, ends, end)


def _joined(text: str, spans: Iterable[Span]) -> Iterator[Span]:
    """Blank pieces join the piece before them; blank openings and labels the piece after them."""
    step: Span | None = None
    for span in spans:
        if step is None:
            step = span
        elif not text[slice(*span)].strip() or _opens(text, step):
            step = Span(step.start, span.end)
        else:
            yield step
            step = span
    if step is not None:
        yield step


def _opens(text: str, span: Span) -> bool:
    """Whether a piece is blank or a label. Both are short, unless blank: `isspace` stops early."""
    piece = text[span.start : span.end]
    return piece.isspace() or _LABEL.fullmatch(piece) is not None


def _capped(span: Span, starts_T: Sequence[int], cap: int) -> list[Span]:
    tokens = token_slice(starts_T, span)
    return spans_between(
        span.start, cuts(starts_T, tokens.start, tokens.stop, cap, even=True), span.end
    )
