"""Records <-> Arrow: the only place with column names and types.

A stage's columns follow from its record's fields (`schema_of`, `table`, `records`); the columns of
the released dataset are written out in `RELEASE`, because other people's trainers read them.
"""

import dataclasses
import types
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import pyarrow as pa

from schemas.records import GradedTrace

SCHEMA_VERSION = 1

R = TypeVar("R")
_SCALARS: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
}

MESSAGE = pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())])


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
    return [pa.field(n, _type(h), nullable=_optional(h)[1]) for n, h in _hints(record).items()]


@cache
def schema_of(record: type) -> pa.Schema:
    """The Arrow schema of a record class."""
    return pa.schema(_fields(record), metadata={"polytrace.schema": str(SCHEMA_VERSION)})


def table(record: type[R], rows: Iterable[R]) -> pa.Table:
    """Records of one class as a table."""
    schema = schema_of(record)  # type: ignore[arg-type]
    if not any(pa.types.is_nested(field.type) for field in schema):  # by columns: five times faster
        held = list(rows)
        columns = [[getattr(row, name) for row in held] for name in schema.names]
        arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
        return pa.Table.from_arrays(arrays, schema=schema)
    return pa.Table.from_pylist(
        [dataclasses.asdict(row) for row in rows],  # type: ignore[call-overload]
        schema=schema,
    )


def records(record: type[R], data: pa.Table) -> Iterator[R]:
    """The rows of a table as records, batch by batch."""
    for batch in data.to_batches(max_chunksize=1000):
        for row in batch.to_pylist():
            yield _revive(record, row)


def _revive(hint: Any, value: Any) -> Any:
    hint, _ = _optional(hint)
    if value is None:
        return None
    if get_origin(hint) is tuple:
        return tuple(_revive(get_args(hint)[0], item) for item in value)
    if dataclasses.is_dataclass(hint):
        return hint(**{n: _revive(h, value[n]) for n, h in _hints(hint).items()})  # type: ignore[operator, arg-type]
    return hint(value) if issubclass(hint, StrEnum) else value


PATH = pa.struct(
    [
        pa.field("text", pa.string()),
        pa.field("answer", pa.string()),
        pa.field("grade", pa.string()),
        pa.field("tokens", pa.int64()),
        pa.field("trace", schema_of(GradedTrace).field("trace").type),
    ]
)

RELEASE = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("prompt", pa.string()),
        pa.field("response", pa.string()),
        pa.field("messages", pa.list_(MESSAGE)),
        pa.field("long_cot", pa.string()),
        pa.field("gold", pa.string()),
        pa.field("paths", pa.list_(PATH)),
        pa.field("summary", pa.string()),
        pa.field("summary_by", pa.string()),
        pa.field("summary_tokens", pa.int64()),
        pa.field("correct_paths", pa.int64()),
        pa.field("similarity", pa.float64()),
        pa.field("seqdep_path_nats", pa.float64()),
        pa.field("seqdep_path_nats_per_token", pa.float64()),
        pa.field("seqdep_path_gains", pa.list_(pa.float64())),
        pa.field("seqdep_path_tokens", pa.list_(pa.int64())),
        pa.field("seqdep_step_nats", pa.float64()),
        pa.field("seqdep_step_nats_per_token", pa.float64()),
        pa.field("seqdep_step_gains", pa.list_(pa.float64())),
        pa.field("seqdep_step_tokens", pa.list_(pa.int64())),
        pa.field("seqdep_window_nats", pa.float64()),
        pa.field("seqdep_window_nats_per_token", pa.float64()),
        pa.field("seqdep_window_gains", pa.list_(pa.float64())),
        pa.field("seqdep_window_tokens", pa.list_(pa.int64())),
        pa.field("seqdep_is_cut", pa.bool_()),
        pa.field("summary_gain_nats", pa.float64()),
        pa.field("sibling_gains", pa.list_(pa.list_(pa.float64()))),
        pa.field("near_copies", pa.list_(pa.list_(pa.int64()))),
        pa.field("scorer", pa.string()),
        pa.field("scorer_revision", pa.string()),
        pa.field("source", pa.string()),
        pa.field("source_row", pa.int64()),
        pa.field("licence", pa.string()),
    ],
    metadata={"polytrace.schema": str(SCHEMA_VERSION)},
)
"""One released instance. `messages` is read by TRL and dLLM, `prompt` and `response` by the public
NAP trainer; `paths.trace` is the provenance of every path."""
