"""Parquet, read batch by batch and only in the columns that are asked for."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curation.remote import BLOCK_BYTES
from curation.sources._fields import RawRow, printable
from curation.sources._reader import File, Record, called, digest_files, find_files
from curation.sources._reasons import Reason
from schemas.errors import UserError

SUFFIXES = (".parquet",)

BATCH_ROWS = 64
"""Rows decoded at a time: six R1 generations of 50 kB make 20 MB of such a batch."""


class ParquetReader:
    """The rows of one file, or of a folder's files in order of their names."""

    def __init__(self, path: str) -> None:
        self._files = find_files(path, SUFFIXES)
        self._name = called(path)

    def name(self) -> str:
        """File or folder name."""
        return self._name

    def fingerprint(self) -> str:
        """sha256 over the files."""
        return digest_files(self._files)

    def sample(self, rows: int) -> list[RawRow]:
        """The first `rows` rows with all columns."""
        found = islice(self._read(None), rows)
        return [record.value for record in found if record.value is not None]

    def records(self, paths: tuple[str, ...]) -> Iterator[Record]:
        """Every row; `number` counts on over the files."""
        return self._read(paths)

    def _read(self, paths: tuple[str, ...] | None) -> Iterator[Record]:
        number = 0
        for file in self._files:
            for row, value in enumerate(_rows(file, paths), 1):
                number += 1
                where = f"{printable(file.name)}, row {row}"
                if value is None:
                    yield Record(
                        number=number,
                        where=where,
                        value=None,
                        reason=Reason.BAD_ENCODING,
                        detail="a text is not UTF-8",
                    )
                else:
                    yield Record(number=number, where=where, value=value)


def _rows(file: File, paths: tuple[str, ...] | None) -> Iterator[RawRow | None]:
    try:
        with _open(file) as parquet:
            columns = None if paths is None else _top_level(parquet.schema_arrow.names, paths)
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS, columns=columns):
                yield from _values(batch)
    except (pa.ArrowException, OSError) as error:
        # an Arrow message may run over several lines
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{file.name}: not a readable Parquet file: {reason}") from None


def _open(file: File) -> pq.ParquetFile:
    """A file behind a URL is read a block at a time, however large its row groups are."""
    if isinstance(file, Path):
        return pq.ParquetFile(file)
    return pq.ParquetFile(file.open("rb"), buffer_size=BLOCK_BYTES)


def _top_level(existing: list[str], paths: tuple[str, ...]) -> list[str]:
    wanted = {*paths, *(path.partition(".")[0] for path in paths)}
    return [name for name in existing if name in wanted]


def _values(batch: pa.RecordBatch) -> Iterator[RawRow | None]:
    """The rows of a batch; None for one whose text is not UTF-8 (Parquet does not check it)."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            try:
                yield batch.slice(index, 1).to_pylist()[0]
            except UnicodeDecodeError:
                yield None
