"""The journal: what has been paid for is never lost. Flows in: traces; flows out: the same traces.

One JSON line a trace, appended and group-committed: `append` buffers, `commit` writes and fsyncs.
A prompt that the teacher refused for good has its line too, so that it is never asked for again.
A crash costs at most what was appended since the last commit. Lines are plain ASCII, so lone
surrogates and NUL bytes in a teacher's text survive.
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
from types import TracebackType
from typing import Any, NamedTuple

from curation.teachers import Failure
from schemas.records import FinishReason, Trace
from support.files import fsync

COMMIT_SECONDS = 0.25  # an fsync takes some milliseconds
_CHECK = "crc32"
_KEY = re.compile(rb'"key":"([^"\\]*)"')  # within a text every quotation mark has a backslash
_COMPACT = json.JSONEncoder(separators=(",", ":"))
_FIELDS = tuple(field.name for field in dataclasses.fields(Trace))
_values = attrgetter(*_FIELDS)
_REFUSED = "refused"  # the field that only a refusal has: its reason
_TYPES: dict[str, tuple[type, ...]] = {
    "prompt_id": (str,),
    "index": (int,),
    "key": (str,),
    "text": (str,),
    "teacher": (str,),
    "revision": (str,),
}


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
    """Every whole line of a journal in order, duplicates included; a missing file is empty."""
    traces: list[Trace] = []
    refusals: list[Refusal] = []
    damaged = torn = 0
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    torn = len(line)
                elif (entry := _revive(line)) is None:
                    damaged += 1
                elif isinstance(entry, Trace):
                    traces.append(entry)
                else:
                    refusals.append(entry)
    except FileNotFoundError:
        pass
    return JournalContents(traces, damaged, torn, refusals)


def keys(path: Path) -> Iterator[str]:
    """The key of every line, whole or not: what may be found there, without reading it all."""
    with path.open("rb") as file:
        for line in file:
            if found := _KEY.search(line):
                yield found[1].decode("ascii", "replace")


class Journal:
    """An append-only file of traces; safe to commit from one thread while another appends.

    The file is made by the first commit that has something to write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._file_lock = Lock()
        self._lines: list[bytes] = []
        self._oldest = 0.0  # when the first line of the buffer was appended
        self._lines_lock = Lock()  # apart from the file's, so that no append waits for a disk

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def load(self) -> JournalContents:
        """What the file holds; a torn tail is cut off the file, so that appending is safe."""
        reading = read(self.path)
        if reading.torn:
            with self.path.open("r+b") as file:
                file.truncate(self.path.stat().st_size - reading.torn)
                os.fsync(file.fileno())
        return reading

    def append(self, entry: Trace | Refusal) -> None:
        """Buffer an entry; commits by itself when the buffer is older than `COMMIT_SECONDS`."""
        line, now = _line(entry), time.monotonic()
        with self._lines_lock:
            if not self._lines:
                self._oldest = now
            self._lines.append(line)
            is_due = now - self._oldest >= COMMIT_SECONDS
        if is_due:
            self.commit()

    def commit(self) -> None:
        """Write and fsync what is buffered; an OSError leaves the file and the buffer whole."""
        with self._file_lock:
            with self._lines_lock:
                lines, self._lines = self._lines, []
            if not lines:
                return
            try:
                self._write(b"".join(lines))
            except OSError:
                with self._lines_lock:
                    self._lines = lines + self._lines
                raise

    def close(self) -> None:
        """Commit and release the file; the journal may be used again."""
        try:
            self.commit()
        finally:
            with self._file_lock:
                if self._file is not None:
                    os.close(self._file)
                    self._file = None

    def _write(self, data: bytes) -> None:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._file = os.open(self.path, flags, 0o666)
            fsync(self.path.parent)  # else a power cut may lose the new file's name
        start = os.fstat(self._file).st_size
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError:  # a full disk must not leave half a line for the next one to run into
            os.ftruncate(self._file, start)
            raise


def _line(entry: Trace | Refusal) -> bytes:
    row = _trace_row(entry) if isinstance(entry, Trace) else _refusal_row(entry)
    body = _json(row)
    return b'%s,"%s":%d}\n' % (body[:-1], _CHECK.encode(), zlib.crc32(body))


def _trace_row(trace: Trace) -> dict[str, object]:
    return dict(zip(_FIELDS, _values(trace), strict=True))


def _refusal_row(refusal: Refusal) -> dict[str, object]:
    failure = refusal.failure
    return {
        "key": refusal.key,
        "prompt_id": failure.prompt_id,
        "index": failure.index,
        _REFUSED: failure.reason,
        "detail": failure.detail,
    }


def _json(row: dict[str, Any]) -> bytes:
    return _COMPACT.encode(row).encode("ascii")


def _revive(line: bytes) -> Trace | Refusal | None:
    """What a line holds; None where the line is damaged; a disk may hold anything.

    The checksum is over the fields, so that a changed text does not pass for the teacher's.
    """
    try:
        row: Any = json.loads(line)
        if row.pop(_CHECK) != zlib.crc32(_json(row)):
            return None
        if _REFUSED in row:
            return _revive_refusal(row)
        if not all(isinstance(row[name], kinds) for name, kinds in _TYPES.items()):
            return None
        return Trace(**{**row, "finish_reason": FinishReason(row["finish_reason"])})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _revive_refusal(row: dict[str, Any]) -> Refusal | None:
    failure = Failure(
        prompt_id=row["prompt_id"],
        index=row["index"],
        reason=row[_REFUSED],
        detail=row["detail"],
        retryable=False,
    )
    refusal = Refusal(row["key"], failure)
    texts = (refusal.key, failure.prompt_id, failure.reason, failure.detail)
    whole = all(isinstance(text, str) for text in texts) and isinstance(failure.index, int)
    return refusal if whole else None
