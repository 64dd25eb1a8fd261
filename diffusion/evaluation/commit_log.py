"""Read the order in which any engine decoded: a log of (row, step, position), or of its states.

In: a Parquet or JSON Lines file in one of three forms, which `docs/arness.md` describes. Out: the
commits of every row, ordered by step. What cannot be read is a UserError that names the file, the
line and the field.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from support.capacity import raise_if_out_of_memory
from support.display.text import visible
from support.errors import UserError, first_line

COMMITS = ("row", "step", "position")
STATES = ("row", "step", "ids")
CELLS = ("id", "steps_K", "positions_K")  # the rows that polytrace evaluate writes
_MORE = ("token", "masks", "tokens_K", "end_ids")
_LARGEST = 1 << 31  # of a step, a position or a token


@dataclass(slots=True)
class LoggedRow:
    """The commits of one row, in the order of their steps.

    `tokens_K` is empty if the log has none; `masks` is the number of positions that were to be
    filled, None if the log does not say; `open` are the positions that were masked at the end;
    `end_ids` are the tokens that are no content, where the log names them.
    """

    steps_K: list[int] = field(default_factory=list)
    positions_K: list[int] = field(default_factory=list)
    tokens_K: list[int] = field(default_factory=list)
    masks: int | None = None
    open: frozenset[int] = frozenset()
    end_ids: frozenset[int] = frozenset()


def read_log(file: Path, mask_id: int | None = None) -> dict[int | str, LoggedRow]:
    """The rows of a log by their names; `mask_id` is the mask's token, for a log of states.

    Raises UserError where the file is missing, has none of the forms, or holds a wrong value.
    """
    if not file.is_file():
        raise UserError(f"{visible(str(file))}: no such file; give a log as Parquet or JSON Lines")
    records = _parquet(file) if file.suffix == ".parquet" else _json_lines(file)
    first = next(records, None)
    if first is None:
        raise UserError(f"{visible(str(file))}: holds no commit")
    where, record = first
    every = _with(first, records)
    if set(CELLS) <= record.keys():
        return _cells(every)
    if set(STATES) <= record.keys():
        if mask_id is None:
            raise UserError(
                f"{where}: holds states (ids); give the token of the mask by --mask-id, so that "
                "commits can be told from masks"
            )
        rows = _states(every, mask_id)
    elif set(COMMITS) <= record.keys():
        rows = _commits(every)
    else:
        raise UserError(
            f"{where}: has {_listed(record)}; a log has {', '.join(COMMITS)}, or "
            f"{', '.join(STATES)}"
        )
    if len({type(name) for name in rows}) > 1:
        raise UserError(
            f"{visible(str(file))}: row: is a number in some lines and a text in others; 1 and "
            '"1" would be two rows'
        )
    return rows


Records = Iterator[tuple[str, Mapping[str, Any]]]  # where it stands, and the record


def _with(first: tuple[str, Mapping[str, Any]], rest: Records) -> Records:
    yield first
    yield from rest


def _listed(record: Mapping[str, Any]) -> str:
    names = sorted(map(str, record))
    return visible(", ".join(names[:8])) or "no field"


def _json_lines(file: Path) -> Records:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{visible(str(file))}: line {number}"
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(
                    f"{where}: is no JSON ({first_line(error)}); a log is JSON Lines, or Parquet "
                    "with a name that ends in .parquet, and not compressed"
                ) from None
            if not isinstance(record, dict):
                raise UserError(f"{where}: is no JSON object; a line is one, such as a commit")
            yield where, record


def _parquet(file: Path) -> Records:
    wanted = {*COMMITS, *STATES, *CELLS, *_MORE}
    number = 0
    try:
        with pq.ParquetFile(file) as parquet:
            names = [name for name in parquet.schema_arrow.names if name in wanted]
            if not names:
                raise UserError(
                    f"{visible(str(file))}: has the columns "
                    f"{visible(', '.join(parquet.schema_arrow.names[:8]))}; a log has "
                    f"{', '.join(COMMITS)}, or {', '.join(STATES)}"
                )
            for batch in parquet.iter_batches(batch_size=1024, columns=names):
                for record in batch.to_pylist():
                    number += 1
                    yield f"{visible(str(file))}: row {number}", record
    except (OSError, pa.ArrowException) as error:
        raise_if_out_of_memory(error)
        raise UserError(
            f"{visible(str(file))}: cannot be read as Parquet ({first_line(error)})"
        ) from None


def _commits(records: Records) -> dict[int | str, LoggedRow]:
    """Rows of a log with a line for each commit, whose lines may stand in any order."""
    rows: dict[int | str, LoggedRow] = {}
    has_tokens: bool | None = None
    for where, record in records:
        row = rows.setdefault(_name(record, "row", where), LoggedRow())
        row.steps_K.append(_whole(record, "step", where))
        row.positions_K.append(_whole(record, "position", where))
        has_token = record.get("token") is not None
        if has_tokens not in (None, has_token):
            raise UserError(f"{where}: token: every line has one, or none has")
        has_tokens = has_token
        if has_token:
            row.tokens_K.append(_whole(record, "token", where))
        if record.get("masks") is not None:
            masks = _whole(record, "masks", where)
            if row.masks not in (None, masks):
                raise UserError(
                    f"{where}: masks: {masks}, and {row.masks} in an earlier line of the same row"
                )
            row.masks = masks
    file = where.rpartition(": ")[0]
    for name, row in rows.items():
        _sort(row, f"{file}: row {visible(str(name))}")
    return rows


def _sort(row: LoggedRow, where: str) -> None:
    """Order the commits by step; UserError if a step commits a position twice."""
    order = sorted(range(len(row.steps_K)), key=lambda k: row.steps_K[k])
    seen: set[tuple[int, int]] = set()
    for one in zip(row.steps_K, row.positions_K, strict=True):
        if one in seen:
            raise UserError(
                f"{where}: position: {one[1]} is committed twice at step {one[0]}; a position that "
                "is committed again has a later step"
            )
        seen.add(one)
    filled = len(set(row.positions_K))
    if row.masks is not None and filled > row.masks:
        raise UserError(f"{where}: masks: {row.masks}, but {filled} positions were committed")
    row.steps_K = [row.steps_K[k] for k in order]
    row.positions_K = [row.positions_K[k] for k in order]
    row.tokens_K = [row.tokens_K[k] for k in order] if row.tokens_K else []


def _states(records: Records, mask_id: int) -> dict[int | str, LoggedRow]:
    """Rows of a log with a line for each state, of which each row's first is its start.

    A position is committed where a token has taken the place of a mask or of another token.
    """
    rows: dict[int | str, LoggedRow] = {}
    last: dict[int | str, tuple[int, NDArray[np.int64]]] = {}
    has_masks = False
    for where, record in records:
        name, step = _name(record, "row", where), _whole(record, "step", where)
        ids = np.array(_wholes(record, "ids", where), dtype=np.int64)
        has_masks = has_masks or bool((ids == mask_id).any())
        if name not in rows:
            rows[name] = LoggedRow()
        else:
            before, old = last[name]
            if step <= before:
                raise UserError(
                    f"{where}: step: {step} after {before}; the states of a row come in order"
                )
            if len(ids) < len(old):
                raise UserError(
                    f"{where}: ids: {len(ids)} tokens after {len(old)}; a row never shrinks"
                )
            padded = np.full_like(ids, mask_id)
            padded[: len(old)] = old
            at = np.flatnonzero((ids != padded) & (ids != mask_id))
            rows[name].steps_K += [step] * len(at)
            rows[name].positions_K += at.tolist()
            rows[name].tokens_K += ids[at].tolist()
        last[name] = step, ids
    if not has_masks:
        raise UserError(
            f"{where.rpartition(': ')[0]}: ids: no state holds the token {mask_id}; give that of "
            "the mask by --mask-id"
        )
    for name, (_, ids) in last.items():
        rows[name].open = frozenset(np.flatnonzero(ids == mask_id).tolist())
    return rows


def _cells(records: Records) -> dict[int | str, LoggedRow]:
    """Rows that polytrace evaluate wrote, one a line."""
    rows: dict[int | str, LoggedRow] = {}
    for where, record in records:
        name = f"{_name(record, 'id', where)} (row {len(rows) + 1})"  # an id may occur twice
        row = LoggedRow(_wholes(record, "steps_K", where), _wholes(record, "positions_K", where))
        if len(row.steps_K) != len(row.positions_K):
            raise UserError(
                f"{where}: positions_K: {len(row.positions_K)} of them, and {len(row.steps_K)} "
                "steps"
            )
        if record.get("tokens_K") is not None:
            row.tokens_K = _wholes(record, "tokens_K", where)
            if len(row.tokens_K) != len(row.steps_K):
                raise UserError(
                    f"{where}: tokens_K: {len(row.tokens_K)} of them, and {len(row.steps_K)} steps"
                )
        if record.get("end_ids") is not None:
            row.end_ids = frozenset(_wholes(record, "end_ids", where))
        _sort(row, where)
        rows[name] = row
    return rows


def _name(record: Mapping[str, Any], name: str, where: str) -> int | str:
    value = record.get(name)
    if isinstance(value, str) or type(value) is int:
        return value
    raise UserError(f"{where}: {name}: {_shown(value)}; give a whole number or a text")


def _whole(record: Mapping[str, Any], name: str, where: str) -> int:
    return _checked(record.get(name), name, where)


def _wholes(record: Mapping[str, Any], name: str, where: str) -> list[int]:
    values = record.get(name)
    if not isinstance(values, list):
        raise UserError(f"{where}: {name}: {_shown(values)}; give a list of whole numbers")
    return [_checked(value, name, where) for value in values]


def _checked(value: Any, name: str, where: str) -> int:
    if type(value) is int and 0 <= value < _LARGEST:
        return value
    raise UserError(f"{where}: {name}: {_shown(value)}; give a whole number from 0 to 2147483647")


def _shown(value: Any) -> str:
    return "is missing" if value is None else f"is {visible(repr(value)[:40])}"
