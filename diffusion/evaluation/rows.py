"""The rows of an evaluation: every decoded problem with its commits, in a file for each cell.

Axes: K commits of a row.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from diffusion.evaluation.arness import Arness, arness
from schemas.records import Grade
from support.capacity import raise_if_out_of_memory
from support.errors import DamagedError


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedProblem:
    """A decoded problem: the text of every slot, and its commits.

    `texts` and `scored`, the one that was graded, end before fill and hold no special token; the
    raw ids are `tokens_K`. `steps_K`, `positions_K` (columns of the layout, headers counted),
    `confidences_K`, `tokens_K` and `slots_K` describe its commits in order. `taken_back_K` is the
    step at whose end a commit was taken back, None if it stayed; it is empty where all stayed (and
    in earlier files). `nfe` is its number of forward passes, `fill_id` the token that fills a slot,
    `end_ids` that one and those that end a turn; none of these is content.
    `path_answers` and `path_grades` are those of a canvas's paths, graded as the summary is; both
    are empty for other texts, and in earlier files.
    """

    id: str
    gold: str
    texts: tuple[str, ...]
    scored: str
    answer: str | None
    grade: Grade
    nfe: int
    fill_id: int
    end_ids: tuple[int, ...]
    steps_K: tuple[int, ...]
    positions_K: tuple[int, ...]
    confidences_K: tuple[float, ...]
    tokens_K: tuple[int, ...]
    slots_K: tuple[int, ...]
    taken_back_K: tuple[int | None, ...] = ()
    path_answers: tuple[str | None, ...] = ()
    path_grades: tuple[Grade, ...] = ()


def read_rows(rows: Path, columns: list[str] | None = None) -> pa.Table:
    """The rows of a cell in order, from its file, or from a folder of Polytrace 0.1.

    DamagedError if there are none or they are unreadable.
    """
    files = sorted(rows.glob("rows-*.parquet")) if rows.is_dir() else [rows]
    try:
        return pa.concat_tables([_table(file, columns) for file in files])
    except (OSError, pa.ArrowException) as error:
        raise_if_out_of_memory(error)
        raise DamagedError(f"{rows}: cannot be read ({error}); evaluate again") from None


def _table(file: Path, columns: list[str] | None) -> pa.Table:
    """One file of rows; one of an earlier version is given the columns that it lacks.

    `end_ids` is made of `fill_id` alone, nothing was taken back, and paths have no grades.
    """
    known = pq.read_schema(file).names
    wanted = columns or [*dict.fromkeys([*known, *_LATER])]
    missing = [name for name in _LATER if name in wanted and name not in known]
    read = [name for name in wanted if name not in missing]
    data = pq.read_table(file, columns=[*dict.fromkeys([*read, *(["fill_id"] if missing else [])])])
    for name in missing:
        fills = data["fill_id"].to_pylist()
        values = [[one] if name == "end_ids" else [] for one in fills]
        data = data.append_column(name, pa.array(values, pa.list_(_LATER[name])))
    return data


# Columns that files of earlier versions lack, and what their lists hold.
_LATER = {
    "end_ids": pa.int64(),
    "taken_back_K": pa.int64(),
    "path_answers": pa.string(),
    "path_grades": pa.string(),
}


def stayed(positions_K: Sequence[int]) -> set[int]:
    """The numbers of the commits that were not taken back: the last one of each position."""
    return set({position: k for k, position in enumerate(positions_K)}.values())


def content(tokens_K: Sequence[int], end_ids: Collection[int]) -> list[int]:
    """The numbers of the commits that are neither fill nor an end of turn."""
    return [k for k, token in enumerate(tokens_K) if token not in end_ids]


def order_of(
    steps_K: Sequence[int], positions_K: Sequence[int], among: Iterable[int]
) -> Arness | None:
    """ARness of some of a row's commits, of these those that stayed."""
    kept = stayed(positions_K)
    chosen = [k for k in among if k in kept]
    return arness([steps_K[k] for k in chosen], [positions_K[k] for k in chosen])
