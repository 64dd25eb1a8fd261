"""JSON Lines, read line by line; a line that cannot be read is a record with a reason.

Lines end in a newline byte; a byte order mark and wholly blank lines are skipped. Numbers keep
their digits (fractions are read as Decimal). Files that end in .gz are unpacked on the way.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

from curation.sources._fields import RawRow, printable
from curation.sources._reader import File, Record, called, digest_files, find_files
from curation.sources._reasons import Reason
from schemas.errors import UserError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz")

MAX_LINE_BYTES = 64 << 20
"""A longer line is skipped unread, so that a file without newlines cannot fill the memory."""

_BOM = b"\xef\xbb\xbf"


class JsonlReader:
    """The lines of one file, or of a folder's files in order of their names."""

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
        """The objects among the first `rows` lines."""
        return [r.value for r in islice(self.records(()), rows) if r.value is not None]

    def records(self, paths: tuple[str, ...]) -> Iterator[Record]:
        """Every line that is not blank; `number` is the line, counted on over the files."""
        before = 0
        for file in self._files:
            line = 0
            for line, raw in _lines(file):
                if raw is None or not raw.isspace():
                    yield parse(raw, before + line, f"{printable(file.name)}, line {line}")
            before += line


def parse(raw: bytes | None, number: int, where: str) -> Record:
    """One line as a record; None stands for a line over the limit."""
    if raw is None:
        return _bad(number, where, Reason.TOO_LONG, f"the line has over {MAX_LINE_BYTES} bytes")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return _bad(number, where, Reason.BAD_ENCODING, f"byte {error.start + 1} is not UTF-8")
    try:
        value = _loads(text.rstrip("\r\n"))  # where a line breaks off is its end, not the next
    except json.JSONDecodeError as error:
        return _bad(number, where, Reason.BROKEN_JSON, f"{error.msg} at character {error.colno}")
    except RecursionError:
        return _bad(number, where, Reason.BROKEN_JSON, "nested too deeply")
    if not isinstance(value, dict):
        return _bad(number, where, Reason.NOT_AN_OBJECT, f"a {type(value).__name__}, not an object")
    return Record(number=number, where=where, value=value)


def _loads(text: str) -> object:
    try:
        return json.loads(text, parse_float=_fraction)
    except json.JSONDecodeError:
        raise
    except ValueError:  # an integer of more digits than Python converts
        return json.loads(text, parse_float=_fraction, parse_int=Decimal)


def _fraction(digits: str) -> Decimal:
    """The number as written; not a number where its exponent is beyond what can be held."""
    try:
        return Decimal(digits)
    except InvalidOperation:
        return Decimal("NaN")


def _bad(number: int, where: str, reason: Reason, detail: str) -> Record:
    return Record(number=number, where=where, value=None, reason=reason, detail=detail)


def _lines(file: File) -> Iterator[tuple[int, bytes | None]]:
    """1-based number and bytes of every line; None for one over the limit."""
    try:
        with _open(file) as stream:
            number = 0
            while raw := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if number == 1:
                    raw = raw.removeprefix(_BOM) or b"\n"
                    _refuse_parquet(raw, file)
                if len(raw) > MAX_LINE_BYTES:
                    _skip_line(stream, raw)
                    yield number, None
                else:
                    yield number, raw
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file.name}: cannot be read to its end: {error}") from None


def _refuse_parquet(raw: bytes, file: File) -> None:
    if raw.startswith(b"PAR1"):
        raise UserError(f"{printable(file.name)}: is Parquet, not JSON Lines; use kind parquet")


def _skip_line(stream: BinaryIO, raw: bytes) -> None:
    while raw and not raw.endswith(b"\n"):
        raw = stream.readline(MAX_LINE_BYTES)


def _open(file: File) -> BinaryIO:
    if file.suffix != ".gz":
        return file.open("rb")
    packed = file if isinstance(file, Path) else file.open("rb")
    return cast(BinaryIO, gzip.open(packed, "rb"))
