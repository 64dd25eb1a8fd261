"""Find traces by key in all journals of a run, whatever shard their prompt belonged to.

A prompt moves to another shard when `shard_rows` changes or an earlier row is rejected; its traces
must not be paid for again. The journals are listed once, when the run begins. They are only ever
appended to and renamed, so each is found again by its shard's number.
"""

from array import array
from collections.abc import Set
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from curation.sampling import journal
from schemas.records import Trace


class _Places(NamedTuple):
    """Where N lines lie, by hashes of their keys, ascending: 12 bytes a line, not a hundred."""

    hashes_N: NDArray[np.uint64]
    journals_N: NDArray[np.uint32]


class JournalIndex:
    """Finds the journals that hold a key; what lies where is read when it is first asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = sorted({path.name.partition(".")[0] for path in folder.glob("*.jsonl*")})
        self._places: _Places | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is no journal."""
        return not self._names

    def find(self, keys: Set[str]) -> list[Trace]:
        """The traces of `keys` that any journal holds."""
        if not keys or self.is_empty:
            return []
        if self._places is None:
            self._places = self._read_places()
        wanted_K = np.fromiter(map(_hash, keys), np.uint64, len(keys))
        first_K = np.searchsorted(self._places.hashes_N, wanted_K, side="left")
        last_K = np.searchsorted(self._places.hashes_N, wanted_K, side="right")
        ranges = zip(first_K.tolist(), last_K.tolist(), strict=True)
        journals = {n for i, j in ranges for n in self._places.journals_N[i:j].tolist()}
        traces = (trace for n in sorted(journals) for trace in self._read(self._names[n]))
        return [trace for trace in traces if trace.key in keys]

    def _read_places(self) -> _Places:
        hashes, journals = array("Q"), array("I")
        for number, name in enumerate(self._names):
            if (path := self._path(name)) is not None:
                hashes.extend(map(_hash, journal.keys(path)))
                journals.extend([number] * (len(hashes) - len(journals)))
        hashes_N, journals_N = np.array(hashes, np.uint64), np.array(journals, np.uint32)
        order_N = np.argsort(hashes_N, kind="stable")
        return _Places(hashes_N[order_N], journals_N[order_N])

    def _path(self, name: str) -> Path | None:
        paths = (self._folder / f"{name}.jsonl", self._folder / f"{name}.jsonl.done")
        return next((path for path in paths if path.exists()), None)

    def _read(self, name: str) -> list[Trace]:
        path = self._path(name)
        return journal.read(path).traces if path is not None else []


def _hash(key: str) -> int:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big")
