"""Export formats, one file each: what the trainers of other projects read.

In: a row of a release. Out: the lines that the project's own loader reads, or the reason why this
row cannot be written for it. Nothing is cut and nothing is escaped: a text that holds a marker of
the format is refused, because the project could not tell it from the structure around it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from schemas.records import Released

Line = Mapping[str, object]


class RowRefusal(NamedTuple):
    """Why a row cannot be written in a format: a slug, and a sentence about the row."""

    reason: str
    detail: str


def nothing_beside(splits: Sequence[str]) -> Mapping[str, str]:
    """No further files."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFormat:
    """How rows are written for one project.

    `lines` gives the lines of a row, at least one, or a refusal. With a `schema` they become
    Parquet, else JSON Lines. `validation` is the name of the file of validation rows, as the
    project's loader expects it. `beside` gives further text files by name, for the names of the
    files that were written.
    """

    lines: Callable[[Released], Sequence[Line] | RowRefusal]
    schema: pa.Schema | None = None
    validation: str = "validation"
    beside: Callable[[Sequence[str]], Mapping[str, str]] = nothing_beside

    @property
    def suffix(self) -> str:
        """The end of the files' names."""
        return ".jsonl" if self.schema is None else ".parquet"
