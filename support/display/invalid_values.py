"""pydantic's errors in our words: "paths is 'three'; give a whole number".

In: one of `ValidationError.errors()`, and the field that it is about. Out: a sentence.
"""

from collections.abc import Mapping
from typing import Any

from support.redact import clean

MISSING = (
    *("missing", "missing_argument", "missing_keyword_only_argument"),
    "missing_positional_only_argument",
)
"""The kinds of errors that say that a field is missing."""

_MOST_CHARACTERS = 60  # of a value that is shown
_MAPPING, _LIST = "a mapping of keys", "a list"
_WANTED = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("tuple_type", "list_type"), _LIST),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "dataclass_type"), _MAPPING),
    "string_type": "a text",
    "int_parsing_size": "a smaller number",
    "finite_number": "a finite number",
    "greater_than_equal": "{ge} or more",
    "greater_than": "a number above {gt}",
    "less_than_equal": "{le} or less",
    "less_than": "a number below {lt}",
    **dict.fromkeys(("literal_error", "enum"), "{expected}"),
}
_LENGTHS = {
    "string_too_short": "at least {min_length} character",
    "string_too_long": "at most {max_length} character",
    "too_short": "at least {min_length} value",
    "too_long": "at most {max_length} value",
}
# How pydantic calls the members of a union of plain values.
_PLAIN_TYPES = ("str", "int", "float", "bool")


def explain(error: Mapping[str, Any], where: str) -> str:
    """What is wrong with the value that a user gave for the field `where`, and what to give."""
    where, shown, wanted = _parts(error, where)
    if error["type"] in MISSING:
        return f"{where}: missing; add it"
    if not wanted:  # a check of our own, which says all
        return f"{where}: {shown}" if where else shown
    quoted = " in quotes" if wanted == "a text" and isinstance(error["input"], int | float) else ""
    return f"{where or 'the value'} is {shown}; give {wanted}{quoted}"


def describe(error: Mapping[str, Any], where: str) -> str:
    """What is wrong with the field `where` of a file that no user writes."""
    where, shown, wanted = _parts(error, where)
    if error["type"] in MISSING:
        return f"{where} is missing"
    if not wanted:
        return f"{where}: {shown}" if where else shown
    return f"{where or 'the value'} is {shown}, not {wanted}"


def _parts(error: Mapping[str, Any], where: str) -> tuple[str, str, str]:
    """The field, its value and what is wanted there; a message alone where nothing is wanted."""
    kind: str = error["type"]
    context = {name: _whole(value) for name, value in error.get("ctx", {}).items()}
    message: str = error["msg"].removeprefix("Value error, ")
    if where and error["loc"] and error["loc"][-1] in _PLAIN_TYPES and kind.endswith("_type"):
        return where.rpartition(".")[0], _shown(error["input"]), "one value"
    if kind in _WANTED:
        return where, _shown(error["input"]), _WANTED[kind].format_map(context)
    if kind in _LENGTHS:
        wanted = _LENGTHS[kind].format_map(context)
        return where, _shown(error["input"]), wanted if " 1 " in wanted else f"{wanted}s"
    if message.startswith("Input should be "):
        return where, _shown(error["input"]), message.removeprefix("Input should be ")
    return where, message, ""


def _whole(value: object) -> object:
    """1.0 as 1; everything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _shown(value: object) -> str:
    """A value as it stands in a recipe, shortened; no secret is in it."""
    if value is None or value == "":
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return _MAPPING
    if isinstance(value, list | tuple):
        return _LIST if value else "an empty list"
    return clean(repr(value), most=_MOST_CHARACTERS)
