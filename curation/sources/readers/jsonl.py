"""JSON Lines, read line by line; a line that cannot be read is a record with a reason.

Lines end in a newline byte; a byte order mark and blank lines are skipped. Numbers keep their
digits (fractions are read as Decimal). Packed files are unpacked. A JSON array, and objects over
several lines, are read value by value; files of other kinds are refused.
"""

import json
from collections.abc import Generator, Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import BinaryIO

from curation.sources.columns.fields import printable
from curation.sources.columns.reasons import RowFault
from curation.sources.readers.json_values import BrokenError, loads, values
from curation.sources.readers.reader import File, FileReader, Record
from curation.sources.readers.text_bytes import MAX_ROW_BYTES, PACKED, opened
from support.errors import UserError

SUFFIXES = tuple(own + packed for own in (".jsonl", ".ndjson", ".json") for packed in PACKED)

MAX_LINE_BYTES = MAX_ROW_BYTES

LOOK_LINES = 100
"""One of the first lines must hold an object, or the file is not JSON Lines."""


class JsonlReader(FileReader):
    """The rows of JSON Lines and JSON files.

    Raises UserError where a file is neither: at once, or behind a URL when it is read.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, SUFFIXES)
        for file in self._files:
            if isinstance(file, Path):
                _is_lines(file)

    def records(self, paths: tuple[str, ...] | None) -> Iterator[Record]:
        """Every row; `number` counts lines, or elements of an array."""
        before = 0
        for file in self._files:
            read = _of_lines if _is_lines(file) else _of_values
            before += yield from read(file, before)


def _of_lines(file: File, before: int) -> Generator[Record, None, int]:
    """Every line that is not blank; returns how many lines there are."""
    line = 0
    with opened(file) as stream:
        for line, raw in _lines(stream):
            if raw is None or not raw.isspace():
                yield parse(raw, before + line, f"{printable(file.name)}, line {line}")
    return line


def _of_values(file: File, before: int) -> Generator[Record, None, int]:
    """Every value of a JSON file; returns how many there are."""
    name, number = printable(file.name), 0
    with opened(file) as stream:
        try:
            for number, (value, is_text) in enumerate(values(stream), 1):
                where = f"{name}, element {number}"
                record = _record(value, before + number, where)
                if not is_text:
                    detail = "its text is not UTF-8"
                    record = replace(record, reason=RowFault.BAD_ENCODING, detail=detail)
                yield record
        except BrokenError as error:
            raise UserError(
                f"{name}: broken after element {number}: {error}; mend it, or write it as JSON "
                "Lines, where a damaged row costs no other"
            ) from None
    return number


def _is_lines(file: File) -> bool:
    """Whether a file is JSON Lines, or else JSON; UserError where it is neither."""
    first = None
    with opened(file) as stream:
        for line, raw in islice(_lines(stream), LOOK_LINES):
            if raw is not None and raw.isspace():
                continue
            record = parse(raw, line, "")
            if record.value is not None:
                return True
            if first is None:
                first = record
                if _begins_with_object(file):
                    return False
    if first is None:
        return True  # an empty file: it has no rows, and the source says so
    raise UserError(
        f"{printable(file.name)}: is not JSON Lines: none of its first lines is a JSON object "
        f"(line {first.number}: {first.detail}), and it is no JSON array of objects; CSV has kind "
        "csv, Parquet has kind parquet"
    )


def _begins_with_object(file: File) -> bool:
    """Whether the first value of a JSON array, or of text over several lines, is an object."""
    with opened(file) as stream:
        try:
            return isinstance(next(values(stream), (None, True))[0], dict)
        except BrokenError:
            return False


def parse(raw: bytes | None, number: int, where: str) -> Record:
    """One line as a record; None stands for a line over the limit."""
    if raw is None:
        return _bad(number, where, RowFault.TOO_LONG, f"the line has over {MAX_LINE_BYTES} bytes")
    try:
        return _parsed(raw.decode("utf-8"), number, where)
    except UnicodeDecodeError as error:
        record = _parsed(raw.decode("utf-8", "surrogateescape"), number, where)
        detail = f"byte {error.start + 1} is not UTF-8"
        return replace(record, reason=RowFault.BAD_ENCODING, detail=detail)


def _parsed(text: str, number: int, where: str) -> Record:
    try:
        value = loads(text.rstrip("\r\n"))  # where a line breaks off is its end, not the next
    except json.JSONDecodeError as error:
        return _bad(number, where, RowFault.BROKEN_JSON, f"{error.msg} at character {error.colno}")
    except RecursionError:
        return _bad(number, where, RowFault.BROKEN_JSON, "nested too deeply")
    return _record(value, number, where)


def _record(value: object, number: int, where: str) -> Record:
    if not isinstance(value, dict):
        detail = f"a {type(value).__name__}, not an object"
        return _bad(number, where, RowFault.NOT_AN_OBJECT, detail)
    return Record(number=number, where=where, value=value)


def _bad(number: int, where: str, reason: RowFault, detail: str) -> Record:
    return Record(number=number, where=where, value=None, reason=reason, detail=detail)


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """1-based number and bytes of every line; None for one over the limit."""
    for number in count(1):
        raw = stream.readline(MAX_LINE_BYTES + 1)
        if not raw:
            return
        is_too_long = len(raw) > MAX_LINE_BYTES
        yield number, None if is_too_long else raw
        while is_too_long and raw and not raw.endswith(b"\n"):
            raw = stream.readline(MAX_LINE_BYTES)
