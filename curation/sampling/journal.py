"""The journal of a shard: traces that were paid for are never lost.

One JSON line a trace. `append` hands it to the kernel at once, so that it outlives this process;
`commit` forces what was appended to the disk, a few times a second. So a kill costs nothing that
was appended, and a power cut at most what was appended since the last commit. A prompt that the
teacher refused for good has its line too, so that it is never asked for again. Lines are plain
ASCII, so lone surrogates and NUL bytes in a teacher's text survive.
"""

import dataclasses
import json
import os
import re
import time
import zlib
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, NamedTuple

from curation.teachers import Failure
from schemas.records import FinishReason, Trace
from support.errors import NewerError
from support.files import PRIVATE, fsync

COMMIT_SECONDS = 0.25  # an fsync takes some milliseconds
_CHECK = "crc32"
_KEY = re.compile(rb'"key":"([^"\\]*)"')  # within a text every quotation mark has a backslash
_COMPACT = json.JSONEncoder(separators=(",", ":"))
_FIELDS = tuple(field.name for field in dataclasses.fields(Trace))
_values = attrgetter(*_FIELDS)
_TAIL_BYTES = 1 << 22
_REFUSED = "refused"  # the field that only a refusal has: its reason
_TEXTS = ("prompt_id", "key", "text", "teacher", "revision")  # fields of a trace


class Refusal(NamedTuple):
    """A sample that the teacher refused for good, under the sample's key."""

    key: str
    failure: Failure


class JournalContents(NamedTuple):
    """What a journal file holds; `damaged` lines were skipped, `torn` trailing bytes left out."""

    traces: list[Trace]
    damaged: int
    torn: int
    refusals: list[Refusal]


def read(path: Path) -> JournalContents:
    """Every whole line of a journal in order, duplicates included; a missing file is empty.

    Raises NewerError, as all that reads entries here.
    """
    traces: list[Trace] = []
    refusals: list[Refusal] = []
    damaged = torn = 0
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    torn = len(line)
                elif (entry := _revive(line, path)) is None:
                    damaged += 1
                elif isinstance(entry, Trace):
                    traces.append(entry)
                else:
                    refusals.append(entry)
    except FileNotFoundError:
        pass
    return JournalContents(traces, damaged, torn, refusals)


def lines(path: Path) -> Iterator[bytes]:
    """Every line of a journal that was written to its end, whole or damaged."""
    with path.open("rb") as file:
        yield from (line for line in file if line.endswith(b"\n"))


def last_of(folder: Path, teacher: str) -> Trace | None:
    """The last trace by `teacher` in the journal that was written to last; None where it has none.

    Only the end of the file is read.
    """
    paths = sorted(folder.glob("*.jsonl*"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    if not paths:
        return None
    with paths[-1].open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        entries = (_revive(line, paths[-1]) for line in reversed(file.readlines()))
        return next((e for e in entries if isinstance(e, Trace) and e.teacher == teacher), None)


def keys(path: Path) -> Iterator[str]:
    """The key of every line, whole or damaged, without decoding the rest of the line."""
    with path.open("rb") as file:
        for line in file:
            if match := _KEY.search(line):
                yield match[1].decode("ascii", "replace")


class LinePlace(NamedTuple):
    """The key of a line, and the byte at which the line begins."""

    key: str
    offset: int


def places(path: Path, start: int = 0) -> Iterator[LinePlace]:
    """Where every whole line from the byte `start` on begins, without decoding its rest."""
    with path.open("rb") as file:
        file.seek(start)
        offset = start
        for line in file:
            if line.endswith(b"\n") and (match := _KEY.search(line)):
                yield LinePlace(match[1].decode("ascii", "replace"), offset)
            offset += len(line)


def read_line(file: BinaryIO, offset: int) -> Trace | Refusal | None:
    """The entry of the line that begins at a byte; None where it is damaged."""
    file.seek(offset)
    return _revive(file.readline(), Path(file.name))


class Journal:
    """An append-only file of traces; safe to commit from one thread while another appends.

    The file is made by the first entry. A line that could not be written is kept in memory, and
    tried again before the next one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._is_new = False  # the folder may not name the file on the disk yet
        self._unwritten = b""
        self._uncommitted: float | None = None  # since when the file holds what the disk may not
        self._write_lock = Lock()
        self._commit_lock = Lock()  # apart from the other, so that no append waits for a commit

    def load(self) -> JournalContents:
        """What the file holds; a torn tail is cut off the file, so that appending is safe."""
        reading = read(self.path)
        if reading.torn:
            with self.path.open("r+b") as file:
                file.truncate(self.path.stat().st_size - reading.torn)
                os.fsync(file.fileno())
        return reading

    def append(self, *entries: Trace | Refusal) -> None:
        """Write entries to the file; commits where the last commit is `COMMIT_SECONDS` ago.

        Raises OSError where the disk fails or is full; no half line is left then.
        """
        lines, now = b"".join(map(_line, entries)), time.monotonic()
        if not lines:
            return
        with self._write_lock:
            self._unwritten += lines
            if self._uncommitted is None:
                self._uncommitted = now
            self._write()
            is_due = now - self._uncommitted >= COMMIT_SECONDS
        if is_due:
            self.commit()

    def commit(self) -> None:
        """Force everything that was appended to the disk; OSError where that fails."""
        with self._commit_lock:
            with self._write_lock:
                self._write()
                file, since = self._file, self._uncommitted
                self._uncommitted = None
            if file is None or since is None:
                return
            try:
                os.fsync(file)
                if self._is_new:  # else a power cut may lose the new file's name
                    fsync(self.path.parent)
                    self._is_new = False
            except OSError:
                with self._write_lock:
                    self._uncommitted = since
                raise

    def close(self) -> None:
        """Commit and release the file; the journal may be used again."""
        try:
            self.commit()
        finally:
            with self._commit_lock, self._write_lock:
                if self._file is not None:
                    os.close(self._file)
                    self._file = None

    def _write(self) -> None:
        """Write what is not written yet; call with the lock."""
        if not self._unwritten:
            return
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._is_new = not self.path.exists()
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._file = os.open(self.path, flags, PRIVATE)
        written = 0
        try:
            while written < len(self._unwritten):
                written += os.write(self._file, memoryview(self._unwritten)[written:])
        except OSError:  # a full disk must not leave half a line for the next one to run into
            if written:
                os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            raise
        self._unwritten = b""


def _line(entry: Trace | Refusal) -> bytes:
    if isinstance(entry, Trace):
        row = dict(zip(_FIELDS, _values(entry), strict=True))
    else:
        key, failure = entry
        row = {
            "key": key,
            "prompt_id": failure.prompt_id,
            "index": failure.index,
            _REFUSED: failure.reason,
            "detail": failure.detail,
        }
    body = _json(row)
    return b'%s,"%s":%d}\n' % (body[:-1], _CHECK.encode(), zlib.crc32(body))


def _json(row: dict[str, Any]) -> bytes:
    return _COMPACT.encode(row).encode("ascii")


def _revive(line: bytes, path: Path) -> Trace | Refusal | None:
    """The entry of a line of the file `path`; None where the line is damaged, in whatever way.

    The checksum is over the fields, so that a changed text does not pass for the teacher's. Raises
    NewerError where a whole line has a field that this version does not know: what it holds was
    paid for.
    """
    try:
        row: Any = json.loads(line)
        if row.pop(_CHECK) != zlib.crc32(_json(row)):
            return None
        is_refusal = _REFUSED in row
        if not is_refusal and row.keys() > set(_FIELDS):
            raise NewerError(path)
        texts = ("key", "prompt_id", _REFUSED, "detail") if is_refusal else _TEXTS
        if not (isinstance(row["index"], int) and all(isinstance(row[t], str) for t in texts)):
            return None
        if is_refusal:
            failure = Failure(
                prompt_id=row["prompt_id"],
                index=row["index"],
                reason=row[_REFUSED],
                detail=row["detail"],
                retryable=False,
            )
            return Refusal(row["key"], failure)
        return Trace(**{**row, "finish_reason": FinishReason(row["finish_reason"])})
    except NewerError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
