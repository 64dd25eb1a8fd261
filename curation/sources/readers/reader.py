"""What a tabular source reads from: raw records one by one, out of files or the hub.

A reader knows formats and bytes, and nothing of prompts; `_tabular.py` makes rows of its records.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from curation.sources.columns.fields import RawRow, printable
from curation.sources.columns.reasons import RowFault
from curation.sources.readers import remote
from curation.sources.readers.remote import RemoteFile
from support.errors import UserError
from support.files import sha256

File = Path | RemoteFile
F = TypeVar("F", Path, RemoteFile)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One raw row: its value, and the reason why it cannot be used, if there is one.

    `number` counts from 1 over all files of a source; `where` names file and line for messages.
    `value` is None where the row could not be split into columns. Beside a reason it tells only
    which traces the row holds.
    """

    number: int
    where: str
    value: RawRow | None
    reason: str = ""
    detail: str = ""


class Reader(ABC):
    """A stream of records that can be read from its start any number of times."""

    @abstractmethod
    def name(self) -> str:
        """The data's name on cards: a file name or hub id@revision, never a machine's path."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A text that changes whenever the data does."""

    @abstractmethod
    def records(self, paths: tuple[str, ...] | None) -> Iterator[Record]:
        """Every record in order.

        `paths` names the columns in use: others may be left out. None reads all columns, and a
        value that cannot be decoded is None there.
        """

    def sample(self, rows: int) -> list[RawRow]:
        """The values among the first `rows` records, with all their columns."""
        return values(self.head(rows))

    def head(self, rows: int) -> list[Record]:
        """The first `rows` records, with all their columns."""
        return list(islice(self.records(None), rows))


class FileReader(Reader):
    """A reader of one file, or of a folder's files in order of their names.

    `suffixes` are the endings of the files that are read from a folder.
    """

    def __init__(self, path: str, suffixes: tuple[str, ...]) -> None:
        self._files = find_files(path, suffixes)
        self._name = display_name(path)

    def name(self) -> str:
        """The name of the file or folder."""
        return self._name

    def fingerprint(self) -> str:
        """The sha256 of the files, see `digest_files`."""
        return digest_files(self._files)


def values(records: Sequence[Record]) -> list[RawRow]:
    """The values of those records that could be split into columns."""
    return [record.value for record in records if record.value is not None]


def check_encoding(reader: Reader, head: Sequence[Record], paths: tuple[str, ...]) -> None:
    """UserError if most of the first records, `head`, are not UTF-8 in the columns `paths`.

    Where one row in many is not UTF-8, only that row is rejected.
    """
    if not _mostly_undecodable(head):
        return
    used = list(islice(reader.records(paths), len(head)))
    if bad := _mostly_undecodable(used):
        raise UserError(
            f"{bad[0].where}: {bad[0].detail}, as in {len(bad)} of the first {len(used)} rows; the "
            "file may be in Windows-1252 or Latin-1; write it anew: "
            "iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"
        )


def _mostly_undecodable(records: Sequence[Record]) -> list[Record]:
    """The rows that are not UTF-8, if they are more than half of all records."""
    bad = [r for r in records if r.reason == RowFault.BAD_ENCODING and r.value is not None]
    return bad if 2 * len(bad) > len(records) else []


def find_files(path: str, suffixes: tuple[str, ...]) -> tuple[File, ...]:
    """The file at `path`, whatever its suffix, or the folder's files with `suffixes`, sorted.

    `path` may be a URL. Raises UserError where there is none, or where it cannot be read.
    """
    if remote.is_url(path):
        remote_files = remote.find(path)
        if len(remote_files) == 1 and remote_files[0].url == path:
            return remote_files
        return _chosen(remote_files, suffixes, printable(path, 200))
    root = Path(path).expanduser()
    if root.is_file():
        files: tuple[Path, ...] = (root,)
    elif root.is_dir():
        files = _chosen(sorted(f for f in root.iterdir() if f.is_file()), suffixes, path)
    else:
        raise UserError(f"source path {path!r}: no such file or folder; set source.path to one")
    for file in files:
        try:
            file.open("rb").close()
        except OSError as error:
            raise UserError(f"source path {file}: cannot be read: {error.strerror}") from None
    return files


def _chosen(files: Sequence[F], suffixes: tuple[str, ...], folder: str) -> tuple[F, ...]:
    """The files of a folder with one of `suffixes`; UserError where there are none."""
    chosen = tuple(file for file in files if file.name.endswith(suffixes))
    if not chosen:
        raise UserError(f"source path {folder!r}: the folder holds no {' or '.join(suffixes)} file")
    return chosen


def holds(path: str, suffixes: tuple[str, ...]) -> bool:
    """Whether `path`, or a file right in that folder, ends in one of `suffixes`."""
    if remote.is_url(path):
        return any(file.name.endswith(suffixes) for file in remote.find(path))
    root = Path(path).expanduser()
    in_folder = root.is_dir() and any(file.name.endswith(suffixes) for file in root.iterdir())
    return in_folder or root.name.endswith(suffixes)


def top_level(existing: Sequence[str], paths: tuple[str, ...]) -> list[str]:
    """The columns of `existing` in which the dotted `paths` lie."""
    wanted = {*paths, *(path.partition(".")[0] for path in paths)}
    return [name for name in existing if name in wanted]


def display_name(path: str) -> str:
    """The last part of a path or a URL, safe to print."""
    if remote.is_url(path):
        return printable(remote.name_of(path), 200)
    return printable(Path(path).expanduser().resolve().name, 200)


def digest_files(files: Sequence[File]) -> str:
    """sha256 over the names and the bytes of files, streamed.

    A remote file's ETag and size stand for its bytes where there is an ETag: it is not fetched.
    """
    total = hashlib.sha256()
    for file in files:
        tag = f"{file.etag} {file.size}" if isinstance(file, RemoteFile) and file.etag else ""
        total.update(f"{file.name}\0{tag or sha256(file)}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()
