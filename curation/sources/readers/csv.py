"""CSV with a header line, read row by row; a row that cannot be read is a record with a reason.

Every value is text. Quotes as in RFC 4180, so that a field may hold line feeds.
"""

import csv
import io
from collections.abc import Iterator
from itertools import chain

from curation.sources.columns.fields import printable
from curation.sources.columns.gold import SURROGATE
from curation.sources.columns.reasons import RowFault
from curation.sources.readers.reader import File, FileReader, Record
from curation.sources.readers.text_bytes import MAX_ROW_BYTES, PACKED, opened
from support.errors import UserError

SUFFIXES = tuple(own + packed for own in (".csv", ".tsv") for packed in PACKED)
DELIMITERS = ",;\t"


class CsvReader(FileReader):
    """The rows of CSV files.

    `delimiter` stands between two fields; by default it is the one of comma, semicolon and tab that
    occurs most often in a file's header.
    """

    def __init__(self, path: str, delimiter: str | None = None) -> None:
        super().__init__(path, SUFFIXES)
        self._delimiter = delimiter

    def fingerprint(self) -> str:
        """The sha256 of the files, and the delimiter where one was given."""
        return super().fingerprint() + (self._delimiter or "")

    def records(self, paths: tuple[str, ...] | None) -> Iterator[Record]:
        """Every row below a header."""
        number = 0
        for file in self._files:
            for record in _rows(file, self._delimiter, number, paths):
                number = record.number
                yield record


def _rows(
    file: File, delimiter: str | None, before: int, paths: tuple[str, ...] | None
) -> Iterator[Record]:
    """The rows of one file; `before` is the number of rows in the files before it."""
    csv.field_size_limit(MAX_ROW_BYTES)  # of the whole process, which reads CSV nowhere else
    name = printable(file.name)
    with opened(file) as stream:
        text = io.TextIOWrapper(stream, "utf-8", errors="surrogateescape", newline="")
        first = text.readline(MAX_ROW_BYTES)
        chosen = delimiter or max(DELIMITERS, key=first.count)
        lines = iter(lambda: text.readline(MAX_ROW_BYTES), "")
        header = _header(first, lines, chosen, name)
        reader = csv.reader(lines, delimiter=chosen, strict=True)
        number = before
        while True:
            detail, fields = "", []
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                detail = str(error)
            if not fields and not detail:
                continue  # a blank line
            number += 1
            if not detail and len(fields) != len(header):
                detail = f"{len(fields)} fields, and the header names {len(header)}"
            row = dict(zip(header, fields, strict=False))
            reason: str = RowFault.BROKEN_CSV if detail else ""
            value = None if reason else row
            used = row if paths is None else paths
            if value and any(SURROGATE.search(value.get(path, "")) for path in used):
                reason, detail = RowFault.BAD_ENCODING, "a text is not UTF-8"
            where = f"{name}, row {number - before}"
            yield Record(number=number, where=where, value=value, reason=reason, detail=detail)


def _header(first: str, lines: Iterator[str], delimiter: str, name: str) -> list[str]:
    """The names of the columns; UserError where there are none, or two of one name."""
    if first.lstrip()[:1] in ("{", "["):
        raise UserError(f"{name}: is JSON, not CSV; use kind jsonl")
    try:
        header = next(csv.reader(chain([first], lines), delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        raise UserError(f"{name}: its first line is no header of CSV: {error}") from None
    twice = next((column for column in header if header.count(column) > 1), None)
    if twice is not None:
        raise UserError(f"{name}: two columns are called {printable(twice)!r}; rename one")
    return header
