"""What a grader was told or found out, kept under keys, so that it is never asked for twice.

Files of the folder are journals (`journal.py`): a reply is a `Trace` whose text
is the reply. Every process appends to a file of its own, and finds the replies of all others that
were there when it looked first.
"""

from collections.abc import Iterable, Set
from pathlib import Path
from threading import Lock
from uuid import uuid4

from curation.sampling.journal import Journal
from curation.sampling.journal_index import JournalIndex
from schemas.records import Trace

REPLIES = "replies"  # their folder in that of the graded traces


class Replies:
    """The replies in a folder; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._index: JournalIndex | None = None
        self._own: dict[str, Trace] = {}
        self._journal: Journal | None = None

    def find(self, keys: Set[str]) -> dict[str, Trace]:
        """The kept replies among `keys`."""
        with self._lock:
            if self._index is None:
                self._index = JournalIndex(self._folder)
            found = {key: self._own[key] for key in keys & self._own.keys()}
            earlier = self._index.find(keys - found.keys())
        return found | {trace.key: trace for trace in earlier}

    def add(self, replies: Iterable[Trace]) -> None:
        """Keep replies; they are on disk when this returns."""
        with self._lock:
            if self._journal is None:
                self._journal = Journal(self._folder / f"{uuid4().hex}.jsonl")
            for trace in replies:
                self._own[trace.key] = trace
                self._journal.append(trace)
            self._journal.commit()

    def close(self) -> None:
        """Release the file; replies may be found and added again."""
        with self._lock:
            if self._journal is not None:
                self._journal.close()
