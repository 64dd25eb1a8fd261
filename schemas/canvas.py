"""The canvas format (Eq. 5, Li et al. 2026): fixed headers, reasoning slots, a summary slot.

`B_1` is "<think 1>" and a line break, `B_j` closes path j-1 and opens path j, `B_S` closes path P
and opens the summary. The rendered text ends with `CLOSE`, which is not on the decoding canvas.
Markers are plain text. A path that contains one could not be told from the canvas around it, so
`render` refuses it.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

CLOSE = "\n</summary>"
MARKER = re.compile(r"</?(?:think [0-9]+|summary)>")


class Parsed(NamedTuple):
    """The texts of a canvas."""

    paths: tuple[str, ...]
    summary: str


def header(j: int, before: int | None = None) -> str:
    """`B_j`, the fixed text before path `j` (1-based) and behind path `before` (j - 1; 0: none)."""
    closed = j - 1 if before is None else before
    return f"\n</think {closed}>\n<think {j}>\n" if closed else f"<think {j}>\n"


def summary_header(paths: int) -> str:
    """`B_S`, the fixed text before the summary of a canvas with `paths` paths."""
    return f"\n</think {paths}>\n<summary>\n"


def render(paths: Sequence[str], summary: str) -> str:
    """The canvas text; ValueError without a path, or naming the part that holds a marker."""
    if not paths:
        raise ValueError("a canvas needs at least one path")
    _refuse_markers(paths, summary)
    body = "".join(header(j) + text for j, text in enumerate(paths, 1))
    return body + summary_header(len(paths)) + summary + CLOSE


def long_cot(paths: Sequence[str], summary: str) -> str:
    """The long-CoT form: the same texts in ordinary left-to-right form, without markers."""
    return "\n\n".join((*paths, summary))


def _refuse_markers(paths: Sequence[str], summary: str) -> None:
    for name, text in (*((f"path {j}", p) for j, p in enumerate(paths, 1)), ("summary", summary)):
        if marker := MARKER.search(text):
            raise ValueError(f"{name} contains the canvas marker {marker.group()!r}")


def parse(text: str) -> Parsed:
    """The paths and the summary of a rendered canvas.

    The exact inverse of `render`. Raises ValueError if the headers are damaged, or if a part holds
    a marker, so that no text can be parsed in two ways.
    """
    paths: list[str] = []
    start = 0
    while True:
        j = len(paths) + 1
        opening = header(j)
        if j > 1 and text.startswith(summary_header(j - 1), start):
            break
        if not text.startswith(opening, start):
            raise ValueError(f"not a canvas: {opening!r} expected at character {start}")
        start += len(opening)
        end = text.find(f"\n</think {j}>\n", start)
        if end < 0:
            raise ValueError(f"not a canvas: path {j} is not closed")
        paths.append(text[start:end])
        start = end
    start += len(summary_header(len(paths)))
    end = len(text) - len(CLOSE)
    if not text.endswith(CLOSE) or end < start:
        raise ValueError("not a canvas: the summary is not closed")
    parsed = Parsed(tuple(paths), text[start:end])
    _refuse_markers(parsed.paths, parsed.summary)
    return parsed
