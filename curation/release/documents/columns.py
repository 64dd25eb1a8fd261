"""The columns of the released dataset as fields of a Croissant record set.

In: an Arrow schema and where its rows are. Out: JSON-LD. A list is a repeated field, a struct a
field with fields in it, each with the path of its value inside the column
(docs.mlcommons.org/croissant/docs/croissant-spec.html, version 1.0).
"""

from typing import Any

import pyarrow as pa

Json = dict[str, Any]

MATRICES = "A list of lists: version 1.0 of Croissant cannot say so otherwise."


def fields(schema: pa.Schema, record_set: str, file_set: str) -> list[Json]:
    """One field for each column."""
    return [
        _field(column.type, f"{record_set}/{column.name}", column.name, file_set, column.name, ())
        for column in schema
    ]


def _field(
    kind: pa.DataType, id: str, name: str, file_set: str, column: str, inside: tuple[str, ...]
) -> Json:
    """A field; `inside` is the path of its value within a row's value of the column."""
    field: Json = {"@type": "cr:Field", "@id": id, "name": name}
    depth = 0
    while pa.types.is_list(kind):
        kind, depth = kind.value_type, depth + 1
    if depth:
        field["repeated"] = True
    if depth > 1:
        field["description"] = MATRICES
    if pa.types.is_struct(kind):
        field["subField"] = [
            _field(
                part.type, f"{id}/{part.name}", part.name, file_set, column, (*inside, part.name)
            )
            for part in kind
        ]
        return field
    field["dataType"] = _data_type(kind)
    field["source"] = {"fileSet": {"@id": file_set}, "extract": {"column": column}}
    if inside:
        field["source"]["transform"] = {"jsonPath": ".".join(inside)}
    return field


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_string(kind):
        return "sc:Text"
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    assert pa.types.is_floating(kind), kind
    return "sc:Float"
