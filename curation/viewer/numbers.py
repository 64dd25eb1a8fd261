"""The numbers of every released row, in memory: filters and orders read no text.

In: the files of a release. Out: the numbers of the rows that match, in an order. A row takes 62
bytes; a column chunk whose statistics say that it is constant or empty is not read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curation.release.reader import ReleaseReader
from curation.release.rows import PATH_TOKENS, readable
from schemas.records import Grade
from support.errors import UserError

PATH_GRADES = "paths.list.element.grade"
KEPT_ORDERS = 4  # the last ones that were asked for

Rows = NDArray[np.int32]


class Measure(NamedTuple):
    """A number of every row, its name in full and above a column of the list.

    `column` is the release's column, where it has one of its own.
    """

    key: str
    label: str
    short: str
    column: str | None = None


MEASURES = (
    Measure("right", "Share of right paths", "right"),
    Measure("tokens", "Tokens of all paths", "tokens"),
    Measure(
        "seqdep_path",
        "SeqDep of paths, nats a token",
        "SeqDep of paths",
        "seqdep_path_nats_per_token",
    ),
    Measure(
        "seqdep_step",
        "SeqDep of steps, nats a token",
        "SeqDep of steps",
        "seqdep_step_nats_per_token",
    ),
    Measure(
        "seqdep_window",
        "SeqDep of windows, nats a token",
        "SeqDep of windows",
        "seqdep_window_nats_per_token",
    ),
    Measure("similarity", "Highest similarity of two paths", "similarity", "similarity"),
    Measure("pass_rate", "Pass rate of the prompt's samples", "pass rate", "pass_rate"),
)
_KEYS = {one.key for one in MEASURES}


class GradeChoice(StrEnum):
    """Which grades the paths of a canvas may have."""

    ANY = "any"
    ALL_RIGHT = "all_right"
    ONE_WRONG = "one_wrong"
    MORE_WRONG = "more_wrong"  # than one
    NONE_RIGHT = "none_right"
    UNREAD = "unread"  # a path without a readable answer, or one whose grading was stopped


class Bounds(NamedTuple):
    """The lowest and the highest value that a measure may have; None: any."""

    key: str
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows are shown, and by which measure they are ordered; "" is the release's order."""

    grades: GradeChoice = GradeChoice.ANY
    bounds: tuple[Bounds, ...] = ()
    sort: str = ""
    descending: bool = False

    @property
    def has_filter(self) -> bool:
        """Whether rows may be left out."""
        return self.grades is not GradeChoice.ANY or bool(self.bounds)


def selection(query: Mapping[str, str]) -> Selection:
    """The selection that the parameters of an address name; UserError where they are wrong."""
    try:
        grades = GradeChoice(query.get("grades") or GradeChoice.ANY)
    except ValueError:
        raise UserError(f"grades: one of {', '.join(GradeChoice)}") from None
    bounds = tuple(
        Bounds(one.key, low, high)
        for one in MEASURES
        for low, high in [(_number(query, f"{one.key}_min"), _number(query, f"{one.key}_max"))]
        if low is not None or high is not None
    )
    sort = query.get("sort", "")
    if sort and sort not in _KEYS:
        raise UserError(f"sort: one of {', '.join(sorted(_KEYS))}")
    return Selection(
        grades=grades, bounds=bounds, sort=sort, descending=query.get("descending") == "1"
    )


def _number(query: Mapping[str, str], name: str) -> float | None:
    if not (text := query.get(name, "").strip()):
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if np.isnan(value):
        raise UserError(f"{name}: {text[:40]!r} is no number")
    return value


class Numbers:
    """The measures of all rows of a release, as far as `fill` has read them."""

    def __init__(self, corpus: ReleaseReader) -> None:
        self._corpus = corpus
        count = len(corpus)
        self.read = 0  # rows
        self.values = {one.key: np.full(count, np.nan) for one in MEASURES}
        self._paths, self._right, self._unread = (np.zeros(count, np.int16) for _ in range(3))
        self.order = lru_cache(KEPT_ORDERS)(self._order)

    def fill(self) -> Iterator[int]:
        """Read all row groups in turn; yields how many rows were read, after each."""
        for path in self._corpus.files:
            with readable(path) as file:
                for group in range(file.num_row_groups):
                    self.read += self._read(file, group, self.read)
                    yield self.read

    def _read(self, file: pq.ParquetFile, group: int, start: int) -> int:
        facts = file.metadata.row_group(group)
        if not facts.num_rows:
            return 0
        rows = slice(start, start + facts.num_rows)
        columns = [facts.column(n) for n in range(facts.num_columns)]
        chunks = {one.path_in_schema: one for one in columns}
        wanted = [PATH_TOKENS, PATH_GRADES]
        for key, _, _, column in MEASURES:
            if column and column in chunks and not self._by_statistics(chunks[column], rows, key):
                wanted.append(column)
        data = file.read_row_group(group, columns=wanted)
        for one in MEASURES:
            if one.column in data.column_names:
                self.values[one.key][rows] = _floats(data.column(one.column))
        self._fill_paths(data.column("paths"), rows)
        return int(facts.num_rows)

    def _by_statistics(self, chunk: pq.ColumnChunkMetaData, rows: slice, key: str) -> bool:
        """Whether the statistics of a column chunk say all: it is empty, or constant."""
        known = chunk.statistics
        if known is None or not known.has_null_count:
            return False
        if known.null_count == chunk.num_values:
            return True
        if known.null_count or not known.has_min_max or known.min != known.max:
            return False
        self.values[key][rows] = known.min
        return True

    def _fill_paths(self, paths: pa.ChunkedArray, rows: slice) -> None:
        parent = np.concatenate(
            [
                _integers(pc.list_parent_indices(chunk)) + before
                for chunk, before in zip(paths.chunks, _starts(paths), strict=True)
            ]
        )
        each = [chunk.flatten() for chunk in paths.chunks]
        count = rows.stop - rows.start

        def total(weights: NDArray[np.float64] | None) -> NDArray[np.float64]:
            known = None if weights is None else np.nan_to_num(weights)
            return np.bincount(parent, known, minlength=count).astype(np.float64)

        tokens = np.concatenate([_floats(one.field("tokens")) for one in each])
        grades = pa.chunked_array([one.field("grade") for one in each])
        number, right = total(None), total(_floats(pc.equal(grades, Grade.CORRECT.value)))
        wrong = total(_floats(pc.equal(grades, Grade.WRONG.value)))
        self.values["tokens"][rows] = total(tokens)
        self.values["right"][rows] = np.divide(
            right, number, out=np.full(count, np.nan), where=number > 0
        )
        self._paths[rows], self._right[rows] = number, right
        self._unread[rows] = number - right - wrong

    def range_of(self, key: str) -> tuple[float, float] | None:
        """The lowest and the highest value of a measure; None where there is none."""
        values = self.values[key]
        if not np.isfinite(values).any():
            return None
        return float(np.nanmin(values)), float(np.nanmax(values))

    def matching(self, chosen: Selection) -> NDArray[np.bool_]:
        """Whether each row matches; a measure without a value lies within no bounds."""
        wrong = self._paths - self._right
        match chosen.grades:
            case GradeChoice.ANY:
                keep = np.ones(len(wrong), np.bool_)
            case GradeChoice.ALL_RIGHT:
                keep = wrong == 0
            case GradeChoice.ONE_WRONG:
                keep = wrong == 1
            case GradeChoice.MORE_WRONG:
                keep = wrong > 1
            case GradeChoice.NONE_RIGHT:
                keep = self._right == 0
            case GradeChoice.UNREAD:
                keep = self._unread > 0
        for key, low, high in chosen.bounds:
            values = self.values[key]
            keep &= values >= (-np.inf if low is None else low)
            keep &= values <= (np.inf if high is None else high)
        return keep

    def _order(self, chosen: Selection) -> Rows:
        found = np.flatnonzero(self.matching(chosen)).astype(np.int32)
        if not chosen.sort:
            return found
        values = self.values[chosen.sort][found]  # NaN is last either way
        return found[np.argsort(-values if chosen.descending else values, kind="stable")]


def _floats(column: pa.ChunkedArray | pa.Array) -> NDArray[np.float64]:
    """Numbers, null as NaN; truth as 0 and 1."""
    values = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
    return np.asarray(values, np.float64)


def _integers(array: pa.Array) -> NDArray[np.int64]:
    return np.asarray(array.to_numpy(zero_copy_only=False), np.int64)


def _starts(column: pa.ChunkedArray) -> list[int]:
    """At which row each chunk begins."""
    lengths = [0, *(len(chunk) for chunk in column.chunks)]
    return [int(n) for n in np.cumsum(lengths)[:-1]]
