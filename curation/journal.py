"""The journal: what has been paid for is never lost. Flows in: traces; flows out: the same traces.

One JSON line a trace, appended and group-committed: `append` buffers, `commit` writes and fsyncs.
A crash costs at most what was appended since the last commit. Lines are plain ASCII, so lone
surrogates and NUL bytes in a teacher's text survive.
"""

import dataclasses
import json
import os
import time
import zlib
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, NamedTuple

from schemas.durable import sync_folder
from schemas.records import FinishReason, Trace

COMMIT_SECONDS = 1.0
_CHECK = "crc32"
_FIELDS = tuple(field.name for field in dataclasses.fields(Trace))
_TYPES: dict[str, tuple[type, ...]] = {
    "prompt_id": (str,),
    "index": (int,),
    "key": (str,),
    "text": (str,),
    "teacher": (str,),
    "revision": (str,),
}


class Reading(NamedTuple):
    """What a journal file holds; `damaged` lines were skipped, `torn` trailing bytes left out."""

    traces: list[Trace]
    damaged: int
    torn: int


def read(path: Path) -> Reading:
    """Every whole trace of a journal in order, duplicates included; a missing file is empty."""
    traces: list[Trace] = []
    damaged = torn = 0
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    torn = len(line)
                elif (trace := _revive(line)) is None:
                    damaged += 1
                else:
                    traces.append(trace)
    except FileNotFoundError:
        pass
    return Reading(traces, damaged, torn)


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

    def load(self) -> Reading:
        """What the file holds; a torn tail is cut off the file, so that appending is safe."""
        reading = read(self.path)
        if reading.torn:
            with self.path.open("r+b") as file:
                file.truncate(self.path.stat().st_size - reading.torn)
                os.fsync(file.fileno())
        return reading

    def append(self, trace: Trace) -> None:
        """Buffer a trace; commits by itself when the buffer is older than `COMMIT_SECONDS`."""
        line, now = _line(trace), time.monotonic()
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
            sync_folder(self.path.parent)  # else a power cut may lose the new file's name
        start = os.fstat(self._file).st_size
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError:  # a full disk must not leave half a line for the next one to run into
            os.ftruncate(self._file, start)
            raise


def _line(trace: Trace) -> bytes:
    row = {name: getattr(trace, name) for name in _FIELDS}
    return json.dumps({**row, _CHECK: _crc(row)}, separators=(",", ":")).encode("ascii") + b"\n"


def _crc(row: dict[str, Any]) -> int:
    """A checksum of a line's fields: a changed text must not pass for the teacher's."""
    return zlib.crc32(json.dumps(row, separators=(",", ":")).encode("ascii"))


def _revive(line: bytes) -> Trace | None:
    """The trace of a line; None where the line is damaged; a disk may hold anything."""
    try:
        row: Any = json.loads(line)
        if row.pop(_CHECK) != _crc(row):
            return None
        if not all(isinstance(row[name], kinds) for name, kinds in _TYPES.items()):
            return None
        return Trace(**{**row, "finish_reason": FinishReason(row["finish_reason"])})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
