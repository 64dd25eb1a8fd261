"""What a tabular source reads from: raw records one by one, out of files or the hub.

A reader knows formats and bytes, and nothing of prompts; `_tabular.py` makes rows of its records.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from curation.sources.columns.fields import RawRow, printable
from curation.sources.readers import remote
from curation.sources.readers.remote import RemoteFile
from support.errors import UserError
from support.files import sha256

File = Path | RemoteFile


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


def find_files(path: str, suffixes: tuple[str, ...]) -> tuple[File, ...]:
    """The file at `path`, whatever its suffix, or the folder's files with `suffixes`, sorted.

    `path` may be a URL. Raises UserError where there is none, or where it cannot be read.
    """
    if remote.is_url(path):
        return _find_remote(path, suffixes)
    root = Path(path).expanduser()
    if root.is_file():
        files: tuple[File, ...] = (root,)
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


def _find_remote(url: str, suffixes: tuple[str, ...]) -> tuple[RemoteFile, ...]:
    found = remote.find(url)
    if len(found) == 1 and found[0].url == url:
        return found
    files = tuple(file for file in found if file.name.endswith(suffixes))
    if not files:
        raise UserError(
            f"source path {printable(url, 200)!r}: the folder holds no {' or '.join(suffixes)} file"
        )
    return files


def holds(path: str, suffixes: tuple[str, ...]) -> bool:
    """Whether `path`, or a file right in that folder, ends in one of `suffixes`."""
    if remote.is_url(path):
        return any(file.name.endswith(suffixes) for file in remote.find(path))
    root = Path(path).expanduser()
    in_folder = root.is_dir() and any(file.name.endswith(suffixes) for file in root.iterdir())
    return in_folder or root.name.endswith(suffixes)


def display_name(path: str) -> str:
    """The last part of a path or a URL: a file's or a folder's own name, safe to print."""
    if remote.is_url(path):
        return printable(remote.name_of(path), 200)
    return printable(Path(path).expanduser().resolve().name, 200)


def digest_files(files: Sequence[File]) -> str:
    """sha256 over the names and the bytes of files, streamed.

    A storage's ETag stands for the bytes where there is one: nothing is fetched to know them.
    """
    total = hashlib.sha256()
    for file in files:
        mark = f"{file.etag} {file.size}" if isinstance(file, RemoteFile) and file.etag else ""
        total.update(f"{file.name}\0{mark or sha256(file)}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()
