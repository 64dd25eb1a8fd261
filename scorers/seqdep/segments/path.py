"""The paths of a canvas and its summary, each behind its header (METHOD section 1)."""

from collections.abc import Sequence
from typing import NamedTuple

from schemas.canvas import header, summary_header
from scorers.seqdep.segments import Span


class FramedCanvas(NamedTuple):
    """A canvas text without its close, and the spans of headers and bodies, which alternate."""

    text: str
    headers: tuple[Span, ...]
    bodies: tuple[Span, ...]


def framed(paths: Sequence[str], summary: str) -> FramedCanvas:
    """The canvas text, and the spans of its P + 1 headers and bodies."""
    parts = [(header(j), path) for j, path in enumerate(paths, 1)]
    parts.append((summary_header(len(paths)), summary))
    headers, bodies, end = [], [], 0
    for head, body in parts:
        headers.append(Span(end, end := end + len(head)))
        bodies.append(Span(end, end := end + len(body)))
    return FramedCanvas("".join(head + body for head, body in parts), tuple(headers), tuple(bodies))
