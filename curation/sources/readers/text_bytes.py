"""Open a text file and unpack it; files of other kinds are refused with one sentence.

The packing and the kind are recognised by the first bytes, not by the name.
"""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import pyarrow as pa

from curation.sources.columns.fields import printable
from curation.sources.readers.reader import File
from support.errors import UserError, first_line

PACKED = ("", ".gz", ".zst", ".bz2", ".xz")
"""What may follow a file's own suffix."""

MAX_ROW_BYTES = 64 << 20
"""Longer rows are not kept: a file without line ends must not fill the memory."""

_BLOCK_BYTES = 1 << 16
_HEAD_BYTES = 8
_PACKINGS: tuple[tuple[bytes, Callable[[io.BufferedReader], object]], ...] = (
    (b"\x1f\x8b", lambda raw: gzip.GzipFile(fileobj=raw)),
    (b"\x28\xb5\x2f\xfd", lambda raw: pa.CompressedInputStream(raw, "zstd")),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\0", lzma.LZMAFile),
)
_RECODE = "UTF-16, not UTF-8; write it anew: iconv -f UTF-16 -t UTF-8 FILE > NEW"
_OTHERS = (
    (b"PAR1", "Parquet; use kind parquet"),
    (b"ARROW1", "an Arrow file; write it as Parquet, and use kind parquet"),
    (b"PK\x03\x04", "a ZIP archive or an Excel sheet; unpack it, or save it as CSV (kind csv)"),
    (b"SQLite", "a database; write its table as CSV (kind csv)"),
    (b"\xff\xfe", _RECODE),
    (b"\xfe\xff", _RECODE),
)
FAULTS = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What a damaged or cut file raises while it is unpacked; pyarrow's errors are OSErrors."""


@contextmanager
def opened(file: File) -> Iterator[BinaryIO]:
    """The bytes of a file, without its packing and without a byte order mark.

    Raises UserError where the file is of a kind that cannot be read as text, or ends early.
    """
    try:
        with file.open("rb") as raw:
            stream = _unpacked(raw)
            head = stream.peek(_HEAD_BYTES)[:_HEAD_BYTES]
            if kind := _other(head):
                raise UserError(f"{printable(file.name)}: is {kind}")
            if head.startswith(b"\xef\xbb\xbf"):
                stream.read(3)
            yield stream
    except FAULTS as error:
        raise UserError(
            f"{printable(file.name)}: cannot be read to its end: {first_line(error)}"
        ) from None


def _unpacked(raw: io.BufferedReader) -> io.BufferedReader:
    head = raw.peek(_HEAD_BYTES)
    for mark, unpack in _PACKINGS:
        if head.startswith(mark):
            return io.BufferedReader(cast(io.RawIOBase, unpack(raw)), _BLOCK_BYTES)
    return raw


def _other(head: bytes) -> str:
    """The kind of a file that cannot be read as text, and what to do; "" if it may be text."""
    if kind := next((kind for mark, kind in _OTHERS if head.startswith(mark)), ""):
        return kind
    # Without a mark, text in UTF-16 has a zero beside every ASCII character.
    high, low = head[0:4:2], head[1:4:2]
    return _RECODE if high != low and b"\0\0" in (high, low) else ""
