"""Parquet, read batch by batch and only in the columns that are asked for.

Arrow holds values that Python has no object for: a date in the year 270000, an unknown time zone,
bytes that are not UTF-8. A row with such a value in a column in use is rejected; in other columns
the value does no harm.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curation.sources.columns.fields import RawRow, printable
from curation.sources.columns.reasons import RowFault
from curation.sources.readers.reader import File, FileReader, Record, top_level
from curation.sources.readers.remote import BLOCK_BYTES
from support.capacity import raise_if_out_of_memory
from support.errors import UserError, first_line

SUFFIXES = (".parquet",)

BATCH_ROWS = 64
"""Rows decoded at a time: six R1 generations of 50 kB make 20 MB of such a batch."""

# ValueError: no UTF-8; OverflowError (arithmetic): out of range; KeyError (lookup): unknown zone.
UNDECODABLE = (ArithmeticError, LookupError, NotImplementedError, ValueError)

_Row = tuple[RawRow, tuple[RowFault, str] | None]
"""A row, with None in the columns that cannot be decoded, and the first of their faults."""


class ParquetReader(FileReader):
    """The rows of Parquet files."""

    def __init__(self, path: str) -> None:
        super().__init__(path, SUFFIXES)

    def records(self, paths: tuple[str, ...] | None) -> Iterator[Record]:
        """Every row; one with a value in use that cannot be decoded has a reason."""
        number = 0
        for file in self._files:
            for row, (value, fault) in enumerate(_rows(file, paths), 1):
                number += 1
                reason, detail = ("", "") if fault is None or paths is None else fault
                yield Record(
                    number=number,
                    where=f"{printable(file.name)}, row {row}",
                    value=value,
                    reason=reason,
                    detail=detail,
                )


def _rows(file: File, paths: tuple[str, ...] | None) -> Iterator[_Row]:
    try:
        with _open(file) as parquet:
            columns = None if paths is None else top_level(parquet.schema_arrow.names, paths)
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS, columns=columns):
                yield from _batch_rows(batch)
    except (pa.ArrowException, OSError) as error:
        raise_if_out_of_memory(error)
        raise UserError(f"{file.name}: not a readable Parquet file: {first_line(error)}") from None


def _open(file: File) -> pq.ParquetFile:
    """A file behind a URL is read a block at a time, however large its row groups are."""
    if isinstance(file, Path):
        return pq.ParquetFile(file)
    return pq.ParquetFile(file.open("rb"), buffer_size=BLOCK_BYTES)


def _batch_rows(batch: pa.RecordBatch) -> Iterator[_Row]:
    """The rows of a batch; decoded value by value where one of them cannot be decoded."""
    try:
        rows = batch.to_pylist()
    except UNDECODABLE:
        yield from (_decoded(batch, index) for index in range(batch.num_rows))
    else:
        yield from ((row, None) for row in rows)


def _decoded(batch: pa.RecordBatch, index: int) -> _Row:
    row: dict[str, object] = {}
    fault: tuple[RowFault, str] | None = None
    for field, column in zip(batch.schema, batch.columns, strict=True):
        try:
            row[field.name] = column[index].as_py()
        except UNDECODABLE as error:
            row[field.name] = None
            if fault is not None:
                continue
            if isinstance(error, UnicodeDecodeError):
                reason, what = RowFault.BAD_ENCODING, "a text is not UTF-8"
            else:
                what = f"{printable(field.type)} that cannot be decoded: {printable(error)}"
                reason = RowFault.UNREADABLE_VALUE
            fault = reason, f"column {printable(field.name)!r}: {what}"
    return row, fault
