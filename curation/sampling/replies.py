"""What a grader was told or found out, kept under keys, so that it is never asked for twice.

Files of the folder are journals (`journal.py`): a reply is a `Trace` whose text
is the reply. Every process appends to a file of its own, and finds the replies of all others that
were there when it looked first. Memory holds where each reply lies, and the newest replies.
"""

from collections.abc import Iterable, Iterator, Set
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from curation.sampling import journal
from curation.sampling.journal import Journal
from curation.sampling.spending import Allowance
from schemas.records import Trace

MOST_HELD = 4096  # new replies in memory


class Replies:
    """The replies in a folder; safe to use from several threads.

    `allowance` is what a budget leaves for replies that are paid for; None without a budget.
    """

    def __init__(self, folder: Path, allowance: Allowance | None = None) -> None:
        self._folder = folder
        self.allowance = allowance
        self._lock = Lock()
        self._places: _LinePlaces | None = None
        self._new: dict[str, Trace] = {}
        self._indexed = 0  # bytes of our own file whose lines are in `_places`
        self._journal: Journal | None = None

    def find(self, keys: Set[str]) -> dict[str, Trace]:
        """The kept replies among `keys`."""
        with self._lock:
            found = {key: self._new[key] for key in keys & self._new.keys()}
            return found | self._opened.find(keys - found.keys())

    def add(self, replies: Iterable[Trace]) -> None:
        """Keep replies; they are on disk when this returns."""
        with self._lock:
            places = self._opened
            if self._journal is None:
                self._journal = Journal(self._folder / f"{uuid4().hex}.jsonl")
            replies = tuple(replies)
            for trace in replies:
                self._new[trace.key] = trace
                if self.allowance is not None:
                    self.allowance.add_reply(trace)
            self._journal.append(*replies)
            self._journal.commit()
            if len(self._new) > MOST_HELD:
                self._indexed = places.add(self._journal.path, self._indexed)
                self._new.clear()

    def close(self) -> None:
        """Release the file; replies may be found and added again."""
        with self._lock:
            if self._journal is not None:
                self._journal.close()

    @property
    def _opened(self) -> "_LinePlaces":
        """The places of all replies that were there at first."""
        if self._places is None:
            self._places = _LinePlaces()
            for path in sorted(self._folder.glob("*.jsonl")):
                self._places.add(path)
        return self._places


class _LinePlaces:
    """Where N lines lie, by hashes of their keys, ascending: 20 bytes a line."""

    def __init__(self) -> None:
        self._paths: list[Path] = []
        self._hashes_N: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._files_N: NDArray[np.uint32] = np.empty(0, np.uint32)
        self._offsets_N: NDArray[np.uint64] = np.empty(0, np.uint64)

    def add(self, path: Path, start: int = 0) -> int:
        """Enter the lines of a file from a byte on; returns the size of the file."""
        if path not in self._paths:
            self._paths.append(path)
        end = path.stat().st_size
        lines = list(journal.places(path, start))
        hashes_N = np.array([_hash(line.key) for line in lines], np.uint64)
        offsets_N = np.array([line.offset for line in lines], np.uint64)
        files_N = np.full(len(lines), self._paths.index(path), np.uint32)
        hashes_N = np.concatenate((self._hashes_N, hashes_N))
        order_N = np.argsort(hashes_N, kind="stable")
        self._hashes_N = hashes_N[order_N]
        self._files_N = np.concatenate((self._files_N, files_N))[order_N]
        self._offsets_N = np.concatenate((self._offsets_N, offsets_N))[order_N]
        return end

    def find(self, keys: Set[str]) -> dict[str, Trace]:
        """The replies of `keys`; the first whole line of each."""
        if not keys or not self._paths:
            return {}
        wanted_K = np.fromiter(map(_hash, keys), np.uint64, len(keys))
        first_K = np.searchsorted(self._hashes_N, wanted_K, side="left")
        last_K = np.searchsorted(self._hashes_N, wanted_K, side="right")
        lines = {line for i, j in zip(first_K, last_K, strict=True) for line in range(i, j)}
        found: dict[str, Trace] = {}
        for trace in self._read(
            sorted(lines, key=lambda n: (self._files_N[n], self._offsets_N[n]))
        ):
            if trace.key in keys:
                found.setdefault(trace.key, trace)
        return found

    def _read(self, lines: Iterable[int]) -> Iterator[Trace]:
        """The replies of lines, which are in the order of files and bytes."""
        for number, path in enumerate(self._paths):
            offsets = [int(self._offsets_N[n]) for n in lines if self._files_N[n] == number]
            if not offsets:
                continue
            with path.open("rb") as file:
                for offset in offsets:
                    if isinstance(entry := journal.read_line(file, offset), Trace):
                        yield entry


def _hash(key: str) -> int:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big")
