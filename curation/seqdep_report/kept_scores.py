"""Scores that stand already: in a finished file, or in the parts of a run that broke off.

In: documents in their order. Out: their rows, where document and place are the same as before. The
parts of a run cover the first documents without a gap; the rows of a finished file are matched by
their place and the digest of their document, so that a longer corpus adds to them.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Protocol

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from curation.seqdep_report.documents import Document
from schemas import arrow
from schemas.records import SeqDep, Siblings
from support.files import atomic_write

KEEP_SECONDS = 60.0  # of scoring that a kill may cost, and the rest of a group
MOST_ROWS = 4096  # of a part
ROW_GROUP = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class TextScores:
    """The scores of one document; `row` counts from 1 in its source, `part` from 1 in its row.

    `tokens` are those scored or seen at `window` or `step` level, or of all paths. Where `reason`
    is not empty, nothing was scored. Units as in `SeqDep`. `digest` names the document's content.
    """

    row: int
    part: int
    digest: str = ""
    tokens: int = 0
    path: SeqDep | None = None
    step: SeqDep | None = None
    window: SeqDep | None = None
    summary_gain: float | None = None
    siblings: Siblings | None = None
    reason: str = ""
    detail: str = ""


def digest(document: Document) -> str:
    """16 hex digits over all that is scored of a document."""
    content = (document.prompt, document.text, document.paths, document.summary, document.reason)
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


class ScoreProgress(Protocol):
    """Hears of `done` more texts that were scored, or of `kept` ones that had scores already."""

    def __call__(self, done: int, /, *, kept: int = 0) -> None:
        """See the class."""


class Parts:
    """The rows of a run so far, in files of a folder numbered from 0, each a stretch of documents.

    Rows that are added are written when `KEEP_SECONDS` have passed, and when `close` is called.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0
        self._rows: list[TextScores] = []
        self._written = time.monotonic()

    def resume(
        self,
        documents: Iterator[Document],
        seen: Callable[[Document], object],
        progress: ScoreProgress,
    ) -> Iterator[Document]:
        """The documents that have no row yet; `seen` gets each of the others.

        Parts from the first changed document on are deleted.
        """
        while (path := self._path(self._number)).is_file():
            rows = list(read_scores(path))
            batch = list(islice(documents, len(rows)))
            if [_place(row) for row in rows] != [_place_of(one) for one in batch]:
                for later in sorted(self._folder.iterdir())[self._number :]:
                    later.unlink()
                return chain(batch, documents)
            for document in batch:
                seen(document)
            self._number += 1
            progress(0, kept=len(rows))
        return documents

    def add(self, rows: Sequence[TextScores]) -> None:
        """The rows of the next documents."""
        self._rows += rows
        is_due = time.monotonic() - self._written >= KEEP_SECONDS
        if is_due or len(self._rows) >= MOST_ROWS:
            self.close()

    def close(self) -> None:
        """Write what was added."""
        if self._rows:
            with atomic_write(self._path(self._number)) as file:
                pq.write_table(arrow.table(TextScores, self._rows), file)
            self._rows, self._number = [], self._number + 1
        self._written = time.monotonic()

    def join(self, out: Path) -> None:
        """Write all parts as one file, whose bytes do not depend on how they were cut."""
        rows = chain.from_iterable(read_scores(self._path(n)) for n in range(self._number))
        tables = iter(lambda: arrow.table(TextScores, islice(rows, ROW_GROUP)), _NO_ROWS)
        with atomic_write(out) as whole:
            if out.suffix == ".jsonl":
                with whole.open("wb") as file:
                    for table in tables:
                        file.writelines(orjson.dumps(row) + b"\n" for row in table.to_pylist())
                return
            with pq.ParquetWriter(whole, arrow.schema_of(TextScores)) as writer:
                for table in tables:
                    writer.write_table(table)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06}.parquet"


class Former:
    """The rows of a finished file, looked up in the order of documents; none without a file."""

    def __init__(self, out: Path) -> None:
        self._rows = read_scores(out) if out.exists() else iter(())
        self._next = next(self._rows, None)
        self.lost = 0  # rows whose documents did not come again

    def take(self, document: Document) -> TextScores | None:
        """The row of a document, if the file has it; documents are asked for in their order."""
        while self._next is not None and _key(self._next) <= (document.row, document.part):
            row, self._next = self._next, next(self._rows, None)
            if _place(row) == _place_of(document):
                return row
            self.lost += 1
        return None

    def rest(self) -> int:
        """How many rows were not taken, once no document follows."""
        while self._next is not None:
            self.lost, self._next = self.lost + 1, next(self._rows, None)
        return self.lost


def read_scores(path: Path) -> Iterator[TextScores]:
    """The rows of a file of scores, streamed."""
    if path.suffix == ".jsonl":
        with path.open("rb") as lines:
            for line in lines:
                row = pa.Table.from_pylist([orjson.loads(line)], arrow.schema_of(TextScores))
                yield from arrow.records(TextScores, row)
        return
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=ROW_GROUP):
            yield from arrow.records(TextScores, pa.Table.from_batches([batch]))


def _key(row: TextScores) -> tuple[int, int]:
    return row.row, row.part


def _place(row: TextScores) -> tuple[int, int, str]:
    return row.row, row.part, row.digest


def _place_of(document: Document) -> tuple[int, int, str]:
    return document.row, document.part, digest(document)


_NO_ROWS = arrow.table(TextScores, ())
