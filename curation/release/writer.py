"""Write the released dataset: canvases with their scores, as Parquet.

In: canvases with scores, streamed, in order. Out: `data/{train,validation}-….parquet` with the
columns of `schemas.arrow.RELEASE`; every file is complete or absent, and the same rows give the
same bytes. At most one row group of each split is held in memory.

A storage that keeps equal pieces of files once, as the Hub's does, is sent little of a corpus that
has changed little: pages end, and row groups too, where the content says so, not after a number of
bytes or rows. Otherwise one row more at the beginning would move every later one to other pages and
other groups, and no piece would be the same (docs/adr/0034).
"""

import hashlib
import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Literal

import pyarrow.parquet as pq

from curation.release.rows import released
from schemas import arrow
from schemas.facts import FileFacts, ReleaseFile
from schemas.manifest import RELEASE_FOLDER
from schemas.records import Canvas, Released, Scores
from support.files import atomic_write, sha256

ROW_GROUP = 1000  # rows of a row group at most
LEAST_GROUP = 64  # rows of a row group at least, but for the last one of a file
ROWS_A_CUT = 400  # on average, one row in so many ends its row group
# Bytes of a page before it is compressed. pyarrow's hash goes on over the ends of row groups; pages
# that are smaller than its own (256 KiB to 1 MiB) find back to the former ones within a row group.
PAGES = {"min_chunk_size": 64 * 1024, "max_chunk_size": 256 * 1024, "norm_level": 0}
DICTIONARIES = [  # of columns with few values; those of the others would change with every row
    *("messages.list.element.role", "paths.list.element.grade", "summary_by"),
    *(f"paths.list.element.trace.{name}" for name in ("teacher", "revision", "hint")),
    *("paths.list.element.trace.finish_reason", "stop_reason"),
    *("scorer", "scorer_revision", "source", "license"),
]
Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")


def split_of(prompt_id: str, validation: float) -> Split:
    """The split of a prompt, which depends on its id and the share of validation alone.

    A larger share only adds prompts to validation.
    """
    return "validation" if _hash(f"split:{prompt_id}") < validation * 2**64 else "train"


def ends_group(prompt_id: str) -> bool:
    """Whether the row of a prompt ends its row group, if that has rows enough."""
    return _hash(f"group:{prompt_id}") < 2**64 // ROWS_A_CUT


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def write_release(
    folder: Path,
    build: str,
    rows: Iterable[tuple[Canvas, Scores]],
    *,
    validation: float,
    rows_per_file: int,
) -> tuple[ReleaseFile, ...]:
    """Write `<folder>/data/{train,validation}-<build>-NNNNN.parquet`; the files, train first.

    A split without rows has no file. Whatever `folder` is called, the paths in the result begin
    with `release/`.
    """
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    writers = {split: _Writer(data, build, split, rows_per_file) for split in SPLITS}
    with ExitStack() as stack:  # removes unfinished files after an error
        for writer in writers.values():
            stack.push(writer.resources)
        for canvas, scores in rows:
            writers[split_of(canvas.prompt.id, validation)].add(released(canvas, scores))
        for writer in writers.values():
            writer.finish()
    return tuple(file for writer in writers.values() for file in writer.files)


class _Writer:
    """The files of one split: at most one row group in memory, and one file open."""

    def __init__(self, data: Path, build: str, split: Split, rows_per_file: int) -> None:
        self.files: list[ReleaseFile] = []
        self.resources = ExitStack()  # the open file, and the move to its name
        self._data, self._build, self._split = data, build, split
        self._rows_per_file = rows_per_file
        self._waiting: list[Released] = []
        self._written = 0  # rows of the open file
        self._parquet: pq.ParquetWriter | None = None

    @property
    def _file(self) -> Path:
        return self._data / f"{self._split}-{self._build}-{len(self.files):05d}.parquet"

    def add(self, row: Released) -> None:
        self._waiting.append(row)
        count = len(self._waiting)
        is_full = self._written + count == self._rows_per_file
        is_end = count >= LEAST_GROUP and ends_group(row.id)
        if is_full or is_end or count == ROW_GROUP:
            self._flush()
        if is_full:
            self._close()

    def finish(self) -> None:
        self._flush()
        self._close()

    def _flush(self) -> None:
        if not self._waiting:
            return
        if self._parquet is None:
            part = self.resources.enter_context(atomic_write(self._file))
            self._parquet = self.resources.enter_context(
                pq.ParquetWriter(
                    part,
                    arrow.RELEASE,
                    compression="zstd",
                    use_dictionary=DICTIONARIES,
                    use_content_defined_chunking=PAGES,
                    write_page_index=True,
                    write_page_checksum=True,
                )
            )
        table = arrow.table(Released, self._waiting)
        self._parquet.write_table(table, row_group_size=ROW_GROUP)
        self._written += len(self._waiting)
        self._waiting.clear()

    def _close(self) -> None:
        if self._parquet is None:
            return
        self.resources.close()
        facts = describe(self._file, f"{RELEASE_FOLDER}/data/{self._file.name}")
        self.files.append(ReleaseFile(split=self._split, rows=self._written, **facts.model_dump()))
        self._parquet, self._written = None, 0


def link_or_copy(path: Path, to: Path) -> None:
    """Put a file at `to` as well: by a hard link, or a copy where there are no hard links."""
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        to.hardlink_to(path)
    except OSError:
        shutil.copy2(path, to)


def describe(path: Path, name: str) -> FileFacts:
    """Size and SHA-256 of a file; `name` is its path in the manifest, relative to the run."""
    return FileFacts(path=name, bytes=path.stat().st_size, sha256=sha256(path))


def data_path(folder: Path, file: ReleaseFile) -> Path:
    """The path of a release file in the release folder `folder`."""
    return folder / PurePosixPath(file.path).relative_to(RELEASE_FOLDER)
