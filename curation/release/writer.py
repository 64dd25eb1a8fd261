"""The released dataset: canvases with their scores become `data/{train,validation}-….parquet`.

In: kept canvases with scores, streamed, in order. Out: Parquet files with the columns of
`schemas.arrow.RELEASE`; every file is complete or absent, and the same rows give the same bytes. At
most one row group a split is held in memory.
"""

import hashlib
import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Literal

import pyarrow.parquet as pq

from curation.release.rows import released
from schemas import arrow
from schemas.facts import FileFacts, ReleaseFile
from schemas.manifest import RELEASE_FOLDER
from schemas.records import Canvas, Released, Scores
from support.files import atomic_write, sha256

ROW_GROUP = 1000
Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")


def split_of(prompt_id: str, validation: float) -> Split:
    """The split of a prompt: its id and the share alone decide, so a prompt never moves.

    A larger share only adds prompts to validation.
    """
    place = hashlib.blake2b(f"split:{prompt_id}".encode(), digest_size=8).digest()
    return "validation" if int.from_bytes(place, "big") < validation * 2**64 else "train"


def write_release(
    folder: Path,
    build: str,
    rows: Iterable[tuple[Canvas, Scores]],
    *,
    validation: float,
    rows_per_file: int,
) -> tuple[ReleaseFile, ...]:
    """Write `<folder>/data/{train,validation}-<build>-NNNNN.parquet`; the files, train first.

    A split without rows has no file. `folder` is the release folder or its stand-in: paths in the
    result begin with `release/`.
    """
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    with (
        _Writer(data, build, "train", rows_per_file) as train,
        _Writer(data, build, "validation", rows_per_file) as held_out,
    ):
        for canvas, scores in rows:
            is_train = split_of(canvas.prompt.id, validation) == "train"
            (train if is_train else held_out).add(released(canvas, scores))
    return (*train.files, *held_out.files)


class _Writer:
    """The files of one split: one row group in memory, one file open."""

    def __init__(self, data: Path, build: str, split: Split, rows_per_file: int) -> None:
        self.files: list[ReleaseFile] = []
        self._data, self._build, self._split = data, build, split
        self._rows_per_file = rows_per_file
        self._waiting: list[Released] = []
        self._written = 0  # rows of the open file
        self._open = ExitStack()
        self._parquet: pq.ParquetWriter | None = None

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if kind is None:
            self._flush()
            self._close()
        self._open.__exit__(kind, error, at)

    @property
    def _file(self) -> Path:
        return self._data / f"{self._split}-{self._build}-{len(self.files):05d}.parquet"

    def add(self, row: Released) -> None:
        self._waiting.append(row)
        is_full = self._written + len(self._waiting) == self._rows_per_file
        if is_full or len(self._waiting) == ROW_GROUP:
            self._flush()
        if is_full:
            self._close()

    def _flush(self) -> None:
        if not self._waiting:
            return
        if self._parquet is None:
            part = self._open.enter_context(atomic_write(self._file))
            self._parquet = self._open.enter_context(
                pq.ParquetWriter(part, arrow.RELEASE, compression="zstd", write_page_checksum=True)
            )
        table = arrow.table(Released, self._waiting)
        self._parquet.write_table(table, row_group_size=ROW_GROUP)
        self._written += len(self._waiting)
        self._waiting.clear()

    def _close(self) -> None:
        if self._parquet is None:
            return
        self._open.close()
        facts = describe(self._file, f"{RELEASE_FOLDER}/data/{self._file.name}")
        self.files.append(ReleaseFile(split=self._split, rows=self._written, **facts.model_dump()))
        self._parquet, self._written = None, 0


def link_or_copy(path: Path, to: Path) -> None:
    """The same file in another release of the run: a second name, or a copy where there is none."""
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        to.hardlink_to(path)
    except OSError:
        shutil.copy2(path, to)


def describe(path: Path, name: str) -> FileFacts:
    """Size and sha256 of a file that the manifest is to name `name`, relative to the run."""
    return FileFacts(path=name, bytes=path.stat().st_size, sha256=sha256(path))


def data_path(folder: Path, file: ReleaseFile) -> Path:
    """Where a release file lies when the release folder is `folder`."""
    return folder / PurePosixPath(file.path).relative_to(RELEASE_FOLDER)
