"""Read the released rows of a run or a dataset, no more than are needed.

In: a run directory, a folder of a released dataset, or several of them or of their files. Out:
locations of rows, columns of row groups, whole rows. At most one row group and ROWS_AT_ONCE rows
are held in memory.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from curation.release.rows import readable
from curation.run_store.shards import refuse_newer
from schemas import arrow, former
from schemas.manifest import MANIFEST_FILE, RECIPE_FILE, Manifest
from support.errors import UserError

ROWS_AT_ONCE = 100  # whole rows in memory
_OTHER_RUNS = ("training.jsonl", "cells")  # what trainings and evaluations write beside a recipe


class RowLocation(NamedTuple):
    """A released row: its number from 0, its file, its row group, and its offset in that."""

    number: int
    path: Path
    group: int
    offset: int


class ReleaseReader:
    """The `files` of released rows, train first; a dataset without its run has no `manifest`.

    With `more`, the rows of all places follow one another, and there is no `manifest`. UserError or
    DamagedError where a place is neither a complete run, nor the folder or a file of a released
    dataset.
    """

    def __init__(self, where: Path, *more: Path) -> None:
        self.where = where
        self.manifest: Manifest | None = None
        found = [self._files_of(place) for place in (where, *more)]
        self.files = tuple(dict.fromkeys(path for files in found for path in files))
        if more:
            self.manifest = None
        self.groups: list[RowLocation] = []  # where every row group begins
        self._rows = 0
        for path in self.files:
            with readable(path) as file:
                names = set(file.schema_arrow.names)
                sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
            if self.manifest is None:
                _require_columns(path, {former.TODAY.get(name, name) for name in names})
            for group, size in enumerate(sizes):
                self.groups.append(RowLocation(self._rows, path, group, 0))
                self._rows += size

    def _files_of(self, where: Path) -> tuple[Path, ...]:
        """The files of one place; that of a run sets `manifest`."""
        if not where.exists():
            raise UserError(f"{where}: no such run directory")
        if not (where / MANIFEST_FILE).exists() and (files := _dataset(where)):
            return files
        refuse_newer(where)
        if (where / RECIPE_FILE).exists() and not (where / MANIFEST_FILE).exists():
            if any((where / name).exists() for name in _OTHER_RUNS):
                raise UserError(
                    f"{where}: is the directory of a training or an evaluation, which holds no "
                    "canvases; give the run directory of a build"
                )
            raise UserError(
                f"{where}: no complete run yet: its build goes on or was stopped; wait for its "
                "end, or run the same polytrace build again"
            )
        self.manifest = Manifest.load(where / MANIFEST_FILE)
        return tuple(where / file.path for file in self.manifest.release)

    def __len__(self) -> int:
        return self._rows

    def places(self, numbers: Iterable[int]) -> tuple[RowLocation, ...]:
        """The locations of the rows with these numbers."""
        starts = [start.number for start in self.groups]
        pairs = ((n, self.groups[bisect_right(starts, n) - 1]) for n in numbers)
        return tuple(group._replace(number=n, offset=n - group.number) for n, group in pairs)


def _dataset(where: Path) -> tuple[Path, ...]:
    """The Parquet files of a dataset: the file itself, or those in its folder and its `data`."""
    if where.is_file():
        return (where,) if where.suffix == ".parquet" else ()
    return tuple(sorted([*where.glob("*.parquet"), *(where / "data").glob("*.parquet")]))


def _require_columns(path: Path, names: set[str]) -> None:
    if missing := [name for name in arrow.WITHOUT_DRAWS.names if name not in names]:
        raise UserError(
            f"{path}: has no column {missing[0]!r}, so polytrace did not release it; "
            "give a run directory or its release folder"
        )


def rows(
    places: Sequence[RowLocation], columns: Sequence[str] | None = None
) -> Iterator[tuple[RowLocation, pa.Table]]:
    """Every location with its row, a table of one row with all columns, or those of `columns`.

    A row group is read once for the rows in it among each ROWS_AT_ONCE.
    """
    for start in range(0, len(places), ROWS_AT_ONCE):
        chunk = places[start : start + ROWS_AT_ONCE]
        tables: dict[int, pa.Table] = {}
        for (path, group), members in groupby(sorted(chunk), key=lambda place: place[1:3]):
            wanted = list(members)
            with readable(path) as file:
                data = arrow.under_todays_names(file.read_row_group(group, columns=columns))
                data = data.take([place.offset for place in wanted])
            tables |= {place.number: data.slice(i, 1) for i, place in enumerate(wanted)}
        yield from ((place, tables[place.number]) for place in chunk)


def selected(
    path: Path, columns: Sequence[str], keep: pc.Expression
) -> Iterator[tuple[int, pa.Table]]:
    """(row group, its rows that match `keep`) of a file; column `at` is a row's offset in it."""
    with readable(path) as file:
        for group in range(file.num_row_groups):
            data = file.read_row_group(group, columns=list(columns)).select(list(columns))
            offsets = pa.array(range(data.num_rows), pa.int64())
            yield group, data.append_column("at", offsets).filter(keep)


def begins(column: str, text: str) -> pc.Expression:
    """Whether a column begins with a text."""
    return pc.starts_with(pc.field(column), pattern=text)


def holds(column: str, text: str) -> pc.Expression:
    """Whether a column holds a text, in upper or lower case."""
    return pc.match_substring(pc.field(column), pattern=text, ignore_case=True)
