"""Parquet, read batch by batch and only in the columns that are asked for.

Arrow holds values that Python has no object for: a date in the year 270000, a zone that nobody
knows, bytes that are no text. In a column in use such a value costs its row, and nothing elsewhere.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from curation.sources.columns.fields import RawRow, printable
from curation.sources.columns.reasons import RowFault
from curation.sources.readers.reader import File, Record, digest_files, display_name, find_files
from curation.sources.readers.remote import BLOCK_BYTES
from support.errors import UserError, first_line

SUFFIXES = (".parquet",)

BATCH_ROWS = 64
"""Rows decoded at a time: six R1 generations of 50 kB make 20 MB of such a batch."""

# ValueError: no UTF-8; OverflowError (arithmetic): out of range; KeyError (lookup): unknown zone.
UNDECODABLE = (ArithmeticError, LookupError, NotImplementedError, ValueError)


class _Value(NamedTuple):
    """A row, with None in the columns that cannot be decoded, and the first of their faults."""

    row: RawRow
    reason: str = ""
    detail: str = ""


class ParquetReader:
    """The rows of one file, or of a folder's files in order of their names."""

    def __init__(self, path: str) -> None:
        self._files = find_files(path, SUFFIXES)
        self._name = display_name(path)

    def name(self) -> str:
        """File or folder name."""
        return self._name

    def fingerprint(self) -> str:
        """sha256 over the files."""
        return digest_files(self._files)

    def sample(self, rows: int) -> list[RawRow]:
        """The first `rows` rows with all columns; None stands for a value that nobody can read."""
        return [value.row for _, value in islice(self._read(None), rows)]

    def records(self, paths: tuple[str, ...]) -> Iterator[Record]:
        """Every row; `number` counts on over the files."""
        for number, (where, value) in enumerate(self._read(paths), 1):
            yield Record(
                number=number,
                where=where,
                value=None if value.reason else value.row,
                reason=value.reason,
                detail=value.detail,
            )

    def _read(self, paths: tuple[str, ...] | None) -> Iterator[tuple[str, _Value]]:
        for file in self._files:
            for row, value in enumerate(_rows(file, paths), 1):
                yield f"{printable(file.name)}, row {row}", value


def _rows(file: File, paths: tuple[str, ...] | None) -> Iterator[_Value]:
    try:
        with _open(file) as parquet:
            columns = None if paths is None else _top_level(parquet.schema_arrow.names, paths)
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS, columns=columns):
                yield from _values(batch)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file.name}: not a readable Parquet file: {first_line(error)}") from None


def _open(file: File) -> pq.ParquetFile:
    """A file behind a URL is read a block at a time, however large its row groups are."""
    if isinstance(file, Path):
        return pq.ParquetFile(file)
    return pq.ParquetFile(file.open("rb"), buffer_size=BLOCK_BYTES)


def _top_level(existing: list[str], paths: tuple[str, ...]) -> list[str]:
    wanted = {*paths, *(path.partition(".")[0] for path in paths)}
    return [name for name in existing if name in wanted]


def _values(batch: pa.RecordBatch) -> Iterator[_Value]:
    """The rows of a batch; value by value where one of them cannot be decoded."""
    try:
        rows = batch.to_pylist()
    except UNDECODABLE:
        yield from (_value(batch, index) for index in range(batch.num_rows))
    else:
        yield from map(_Value, rows)


def _value(batch: pa.RecordBatch, index: int) -> _Value:
    row: dict[str, object] = {}
    reason = detail = ""
    for field, column in zip(batch.schema, batch.columns, strict=True):
        try:
            row[field.name] = column[index].as_py()
        except UNDECODABLE as error:
            row[field.name] = None
            if reason:
                continue
            if isinstance(error, UnicodeDecodeError):
                reason, what = RowFault.BAD_ENCODING, "a text is not UTF-8"
            else:
                what = f"{printable(field.type)} that cannot be decoded: {printable(error)}"
                reason = RowFault.UNREADABLE_VALUE
            detail = f"column {printable(field.name)!r}: {what}"
    return _Value(row, reason, detail)
