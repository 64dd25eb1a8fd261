"""A run's or a dataset's released rows: where each lies, and how to read as few as are needed.

In: a run directory, or a folder of a released dataset. Out: places of rows, columns of row groups,
and whole rows. No more than a row group and a hundred rows are held in memory.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from curation.release.rows import readable
from curation.release.writer import data_path
from schemas import arrow, former
from schemas.manifest import MANIFEST_FILE, RELEASE_FOLDER, Manifest
from support.errors import UserError

ROWS_AT_ONCE = 100  # whole rows in memory


class RowLocation(NamedTuple):
    """A released row: its number from 0, its file, its row group, and its offset in that."""

    number: int
    path: Path
    group: int
    offset: int


class ReleaseReader:
    """What is looked at: `files` of released rows, train first; a dataset alone has no manifest.

    UserError or DamagedError where `where` is no complete run, no dataset's folder and no file of
    one.
    """

    def __init__(self, where: Path) -> None:
        if not where.exists():
            raise UserError(f"{where}: no such run directory")
        self.where = where
        self.manifest: Manifest | None = None
        self.files = _dataset(where) if not (where / MANIFEST_FILE).exists() else ()
        if not self.files:
            self.manifest = Manifest.load(where / MANIFEST_FILE)
            self.files = tuple(
                data_path(where / RELEASE_FOLDER, file) for file in self.manifest.release
            )
        self.groups: list[RowLocation] = []  # where every row group begins
        total = 0
        for path in self.files:
            with readable(path) as file:
                names = set(file.schema_arrow.names)
                sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
            if self.manifest is None:
                _require_columns(path, {former.TODAY.get(name, name) for name in names})
            for group, size in enumerate(sizes):
                self.groups.append(RowLocation(total, path, group, 0))
                total += size
        self._rows = total

    def __len__(self) -> int:
        return self._rows

    def places(self, numbers: Iterable[int]) -> tuple[RowLocation, ...]:
        """Where the rows of these numbers lie."""
        starts = [start.number for start in self.groups]
        found = ((n, self.groups[bisect_right(starts, n) - 1]) for n in numbers)
        return tuple(g._replace(number=n, offset=n - g.number) for n, g in found)


def _dataset(where: Path) -> tuple[Path, ...]:
    """Parquet files of a dataset: `data/*.parquet` as released, or whatever lies there."""
    if where.is_file():
        return (where,) if where.suffix == ".parquet" else ()
    return tuple(sorted([*where.glob("*.parquet"), *(where / "data").glob("*.parquet")]))


def _require_columns(path: Path, names: set[str]) -> None:
    if lacking := [name for name in arrow.RELEASE.names if name not in names]:
        raise UserError(
            f"{path}: has no column {lacking[0]!r}, so polytrace did not release it; "
            f"give a run directory or its release folder"
        )


def rows(places: Sequence[RowLocation]) -> Iterator[tuple[RowLocation, pa.Table]]:
    """Every place with its row, a table of one row; each row group is read once a hundred rows."""
    for start in range(0, len(places), ROWS_AT_ONCE):
        chunk = places[start : start + ROWS_AT_ONCE]
        found: dict[int, pa.Table] = {}
        for (path, group), here in groupby(sorted(chunk), key=lambda place: place[1:3]):
            wanted = list(here)
            with readable(path) as file:
                data = arrow.under_todays_names(file.read_row_group(group))
                data = data.take([place.offset for place in wanted])
            found |= {place.number: data.slice(at, 1) for at, place in enumerate(wanted)}
        yield from ((place, found[place.number]) for place in chunk)


def selected(
    path: Path, columns: Sequence[str], keep: pc.Expression
) -> Iterator[tuple[int, pa.Table]]:
    """(row group, its rows that `keep` lets through) of a file; column `at` is the offset there."""
    with readable(path) as file:
        for group in range(file.num_row_groups):
            data = file.read_row_group(group, columns=list(columns)).select(list(columns))
            at = pa.array(range(data.num_rows), pa.int64())
            yield group, data.append_column("at", at).filter(keep)


def begins(column: str, text: str) -> pc.Expression:
    """Whether a column begins with a text."""
    return pc.starts_with(pc.field(column), pattern=text)


def holds(column: str, text: str) -> pc.Expression:
    """Whether a column holds a text, in upper or lower case."""
    return pc.match_substring(pc.field(column), pattern=text, ignore_case=True)
