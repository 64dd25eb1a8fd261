"""Records to Arrow tables and back; column names and types are defined here alone.

The columns of a stage, and of the released dataset, follow from the fields of its record
(`schema_of`, `table`, `records`).
"""

import dataclasses
import types
from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum
from functools import cache
from itertools import accumulate, chain, islice
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.compute as pc

from schemas import former
from schemas.records import Message, Released, ReleasedPath
from support.errors import UserError

SCHEMA_VERSION = 1

R = TypeVar("R")
_SCALARS: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
}

# Columns that other programs read may hold null, whatever the record says.
_RELEASED = (Released, ReleasedPath, Message)


@cache
def _hints(record: type) -> dict[str, Any]:
    return {f.name: get_type_hints(record)[f.name] for f in dataclasses.fields(record)}


def _optional(hint: Any) -> tuple[Any, bool]:
    """The hint without None, and whether None was allowed."""
    if get_origin(hint) in (Union, types.UnionType):
        (inner,) = [arg for arg in get_args(hint) if arg is not type(None)]
        return inner, True
    return hint, False


def _type(hint: Any) -> pa.DataType:
    hint, _ = _optional(hint)
    if get_origin(hint) is tuple:
        return pa.list_(_type(get_args(hint)[0]))
    if dataclasses.is_dataclass(hint):
        return pa.struct(_fields(hint))  # type: ignore[arg-type]
    if issubclass(hint, StrEnum):
        return pa.string()
    return _SCALARS[hint]


def _fields(record: type) -> list[pa.Field]:
    is_released = record in _RELEASED
    return [
        pa.field(name, _type(hint), nullable=is_released or _optional(hint)[1])
        for name, hint in _hints(record).items()
    ]


@cache
def schema_of(record: type) -> pa.Schema:
    """The Arrow schema of a record class."""
    return pa.schema(_fields(record), metadata={"polytrace.schema": str(SCHEMA_VERSION)})


def table(record: type[R], rows: Iterable[R]) -> pa.Table:
    """Records of one class as a table."""
    schema = schema_of(record)  # type: ignore[arg-type]
    all_rows, hints = list(rows), _hints(record)  # type: ignore[arg-type]
    arrays = [_array(hint, [getattr(r, name) for r in all_rows]) for name, hint in hints.items()]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(hint: Any, values: list[Any]) -> pa.Array:
    """Values of one field as a column, nested fields too; no row is turned into a dict."""
    kind, inner = _type(hint), _optional(hint)[0]
    if get_origin(inner) is tuple:
        ends = list(accumulate(0 if value is None else len(value) for value in values))
        starts = [
            None if value is None else end - len(value)
            for value, end in zip(values, ends, strict=True)
        ]
        items = list(chain.from_iterable(value for value in values if value is not None))
        offsets = pa.array([*starts, len(items)], pa.int32())
        return pa.ListArray.from_arrays(offsets, _array(get_args(inner)[0], items), type=kind)
    if dataclasses.is_dataclass(inner):
        blanks = {name: _blank(hint) for name, hint in _hints(inner).items()}  # type: ignore[arg-type]
        children = [
            _array(hint, [getattr(v, n, blanks[n]) for v in values])
            for n, hint in _hints(inner).items()  # type: ignore[arg-type]
        ]
        absent = pa.array([value is None for value in values], pa.bool_())
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=absent)
    array = pa.array(values, kind)
    if isinstance(array, pa.ChunkedArray):
        raise UserError(
            "a shard holds more than 2 GiB of text in one column; set shard_rows lower, and the "
            "same command goes on with what there is"
        )
    return array


class _Blank(NamedTuple):
    """A placeholder for a struct inside a struct that is null."""


def _blank(hint: Any) -> Any:
    """A value inside a struct that is null: Parquet needs one if the field is not optional."""
    inner, is_optional = _optional(hint)
    if is_optional:
        return None
    if get_origin(inner) is tuple:
        return ()
    if dataclasses.is_dataclass(inner):
        return _Blank()
    return "" if issubclass(inner, str) else inner(0)


def under_todays_names(data: pa.Table) -> pa.Table:
    """A table whose columns may have the names of version 0.1."""
    return data.rename_columns([former.TODAY.get(name, name) for name in data.column_names])


def records(record: type[R], data: pa.Table, names: Collection[str] | None = None) -> Iterator[R]:
    """The rows of a table as records, batch by batch; fields not in `names` have their defaults.

    So have fields without a column, which an earlier version did not know.
    """
    all_hints = _hints(record)  # type: ignore[arg-type]
    data = under_todays_names(data)
    hints = {name: all_hints[name] for name in names or all_hints if name in data.column_names}
    for batch in data.to_batches(max_chunksize=1000):
        columns = [_values(hint, batch.column(name)) for name, hint in hints.items()]
        yield from (
            record(**dict(zip(hints, row, strict=True))) for row in zip(*columns, strict=True)
        )


def _values(hint: Any, column: pa.Array) -> list[Any]:
    """A column as values of one field."""
    inner, _ = _optional(hint)
    if get_origin(inner) is tuple:
        items = iter(_values(get_args(inner)[0], column.flatten()))
        lengths = pc.list_value_length(column).to_pylist()
        return [None if n is None else tuple(islice(items, n)) for n in lengths]
    if dataclasses.is_dataclass(inner):
        all_hints = _hints(inner)  # type: ignore[arg-type]
        names = [former.TODAY.get(field.name, field.name) for field in column.type]
        hints = {name: all_hints[name] for name in names}
        children = zip(hints.values(), column.flatten(), strict=True)
        rows = zip(*(_values(h, child) for h, child in children), strict=True)
        return [
            inner(**dict(zip(hints, row, strict=True))) if present else None  # type: ignore[operator]
            for row, present in zip(rows, column.is_valid().to_pylist(), strict=True)
        ]
    values: list[Any] = column.to_pylist()
    if issubclass(inner, StrEnum):
        members = {None: None} | {value: inner(value) for value in set(values) - {None}}
        return [members[value] for value in values]
    return values


RELEASE = schema_of(Released)
"""One released instance. `messages` is read by TRL and dLLM, `prompt` and `response` by the public
NAP trainer; `paths.trace` is the provenance of every path."""

ADDED = (
    *("samples_drawn", "samples_correct", "stop_reason"),
    *("pass_rate", "pass_rate_low", "pass_rate_high"),
    *("first_round_drawn", "first_round_correct"),
)
"""Columns that releases of earlier versions lack."""

WITHOUT_DRAWS = pa.schema(
    [field for field in RELEASE if field.name not in ADDED], metadata=RELEASE.metadata
)
"""A release from before samples were counted."""

FORMER_RELEASE = pa.schema(
    [field.with_name(former.FORMER.get(field.name, field.name)) for field in WITHOUT_DRAWS],
    metadata=RELEASE.metadata,
)
"""The same as version 0.1 released it."""

RELEASES = (RELEASE, WITHOUT_DRAWS, FORMER_RELEASE)
"""All that are read and verified, the one that is written first."""
