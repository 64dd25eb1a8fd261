"""Traces that were paid for, wherever their prompt stood then: found by key in every journal.

In: the journals of a run as they lay when it began. Out: traces of wanted keys. A prompt moves to
another shard when `shard_rows` changes or an earlier row is rejected; its traces must not be bought
again for that. Journals are only ever appended to and renamed, so a shard's number finds its own.
"""

from collections.abc import Set
from pathlib import Path

from curation import journal
from schemas.records import Trace


class Archive:
    """Key -> the journal that holds it; built when it is first asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = sorted({path.name.partition(".")[0] for path in folder.glob("*.jsonl*")})
        self._places: dict[str, str] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is no journal."""
        return not self._names

    def find(self, keys: Set[str]) -> list[Trace]:
        """The traces of `keys` that any journal holds."""
        if not keys or self.is_empty:
            return []
        if self._places is None:
            self._places = {t.key: name for name in self._names for t in self._read(name)}
        names = {self._places[key] for key in keys if key in self._places}
        return [trace for name in sorted(names) for trace in self._read(name) if trace.key in keys]

    def _read(self, name: str) -> list[Trace]:
        for path in (self._folder / f"{name}.jsonl", self._folder / f"{name}.jsonl.done"):
            if path.exists():
                return list(journal.read(path).traces)
        return []
