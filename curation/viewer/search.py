"""Search a release for a text, row group by row group, in the order of the release.

In: a text, and which rows count. Out: what was found so far, after each row group, so that a page
can show it at once and stop the search. At most one row group is in memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curation.release.reader import ReleaseReader
from curation.release.rows import readable
from support.display.text import one_line
from support.errors import UserError

LONGEST = 1000  # characters of a text that is searched for
AROUND = 60  # characters shown before and after what was found
_COLUMNS = ("id", "prompt", "summary", "paths.list.element.text")


@dataclass(frozen=True, slots=True)
class TextHit:
    """A row that holds the text: its number, where it stands there, and the words around it."""

    number: int
    where: str
    excerpt: str


class Searched(NamedTuple):
    """What was found in the row groups up to row `end` that were not yielded before."""

    end: int
    found: list[TextHit]


def search(
    corpus: ReleaseReader, text: str, after: int = 0, among: NDArray[np.bool_] | None = None
) -> Iterator[Searched]:
    """Rows from number `after` on whose prompt, paths or summary hold `text`, in any case.

    A text also matches an id that begins with it. `among` says which rows count; row groups
    without any are not read. UserError where the text is empty or too long.
    """
    if not text.strip():
        raise UserError("the search: type at least one character")
    if len(text) > LONGEST or any("\ud800" <= char <= "\udfff" for char in text):
        raise UserError(f"the search: at most {LONGEST:,} characters of valid Unicode")
    start = 0
    for path in corpus.files:
        with readable(path) as file:
            for group in range(file.num_row_groups):
                end = start + file.metadata.row_group(group).num_rows
                counts = np.arange(start, end) >= after
                if among is not None:
                    counts &= among[start:end]
                found: list[TextHit] = []
                if counts.any():
                    data = file.read_row_group(group, columns=list(_COLUMNS))
                    hits = np.flatnonzero(_holds(data, text) & counts)
                    rows = data.take(pa.array(hits)).to_pylist()
                    found = [
                        TextHit(start + int(hit), *_excerpt(row, text))
                        for hit, row in zip(hits, rows, strict=True)
                    ]
                if end > after:
                    yield Searched(end, found)
                start = end


def _holds(data: pa.Table, text: str) -> NDArray[np.bool_]:
    found = _truth(pc.starts_with(data.column("id"), pattern=text))
    for name in ("prompt", "summary"):
        found |= _truth(pc.match_substring(data.column(name), pattern=text, ignore_case=True))
    start = 0
    for chunk in data.column("paths").chunks:
        texts = chunk.flatten().field("text")
        hits = _truth(pc.match_substring(texts, pattern=text, ignore_case=True))
        parents = np.asarray(pc.list_parent_indices(chunk), np.int64)
        found[start + parents[hits]] = True
        start += len(chunk)
    return found


def _truth(column: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    """Truth values, false for null; a copy that may be written to."""
    return np.array(pc.fill_null(column, False).to_numpy(zero_copy_only=False), np.bool_)


def _excerpt(row: dict[str, object], text: str) -> tuple[str, str]:
    """Where a row holds the text, and the words around it."""
    paths = row["paths"]
    assert isinstance(paths, list)
    places = [("prompt", row["prompt"])]
    places += [(f"path {n}", path["text"]) for n, path in enumerate(paths, 1) if path]
    for where, content in [*places, ("summary", row["summary"])]:
        if not isinstance(content, str):
            continue
        # Lower case may be longer than the text was (İ); then the excerpt begins a little late.
        at = content.lower().find(text.lower())
        if at >= 0:
            begin, end = max(0, at - AROUND), at + len(text) + AROUND
            words = one_line(content[begin:end])
            return where, f"{'… ' if begin else ''}{words}{' …' if end < len(content) else ''}"
    return "id", one_line(str(row["id"]))
