"""What a tabular source reads from: raw records one by one, out of files or the hub.

A reader knows formats and bytes, and nothing of prompts; `_tabular.py` makes rows of its records.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from curation.sources._fields import RawRow, printable
from schemas.errors import UserError

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One raw row: its value, or the reason why there is none.

    `number` is 1-based and rises over all files of a source; `where` names file and line.
    """

    number: int
    where: str
    value: RawRow | None
    reason: str = ""
    detail: str = ""


class Reader(Protocol):
    """A stream of records that can be started again."""

    def name(self) -> str:
        """What the data is called on cards: a file name or hub id@revision, no machine's path."""

    def fingerprint(self) -> str:
        """Changes whenever the bytes do."""

    def sample(self, rows: int) -> list[RawRow]:
        """The values among the first `rows` records, with all their columns."""

    def records(self, paths: tuple[str, ...]) -> Iterator[Record]:
        """Every record in order; columns outside `paths` may be left out."""


def find_files(path: str, suffixes: tuple[str, ...]) -> tuple[Path, ...]:
    """The file at `path`, whatever its suffix, or the folder's files with `suffixes`, sorted.

    Raises UserError where there is none, or where it cannot be read.
    """
    root = Path(path).expanduser()
    if root.is_file():
        files: tuple[Path, ...] = (root,)
    elif root.is_dir():
        files = tuple(
            sorted(f for f in root.iterdir() if f.name.endswith(suffixes) and f.is_file())
        )
        if not files:
            raise UserError(
                f"source path {path!r}: the folder holds no {' or '.join(suffixes)} file"
            )
    else:
        raise UserError(f"source path {path!r}: no such file or folder; set source.path to one")
    for file in files:
        try:
            file.open("rb").close()
        except OSError as error:
            raise UserError(f"source path {file}: cannot be read: {error.strerror}") from None
    return files


def called(path: str) -> str:
    """The last part of a path: a file's or a folder's own name, safe to print."""
    return printable(Path(path).expanduser().resolve().name, 200)


def digest_files(files: tuple[Path, ...]) -> str:
    """sha256 over the names and the bytes of files, streamed."""
    total = hashlib.sha256()
    for file in files:
        inner = hashlib.sha256()
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                inner.update(chunk)
        total.update(f"{file.name}\0{inner.hexdigest()}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()
