"""Plain values (numbers, texts, dates, containers) as JSON, and back.

Both sides of a run of asserts have it (`_peer.py`). A subclass of a plain type becomes that type,
so that nothing of what a program's class does crosses the link. It imports nothing of the project.
"""

import datetime
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

Encode = Callable[[Any], Any]


def encode(value: Any, other: Encode) -> Any:
    """JSON data of a value; `other` gives that of what is not plain, also inside containers."""
    for kind, one in _ENCODED:
        if isinstance(value, kind):
            return one(value, lambda inner: encode(inner, other))
    return other(value)


def decode(data: Any, other: Callable[[str, list[Any]], Any]) -> Any:
    """The value; `other` gets the tag and the rest of data that `encode` had from its `other`."""
    if not isinstance(data, list):
        return data
    tag, *rest = data
    if tag == "d":
        return {decode(key, other): decode(value, other) for key, value in rest[0]}
    if tag in _CONTAINERS:
        return _CONTAINERS[tag](decode(one, other) for one in rest[0])
    if tag in _MADE:
        return _MADE[tag](*rest)
    return other(tag, rest)


def replace(value: Any, changed: Any) -> None:
    """Give a container the content of a changed copy of it."""
    if type(value) is not type(changed):
        raise TypeError("the program changed an argument's type")
    if isinstance(value, list | bytearray):
        value[:] = changed
    else:
        value.clear()
        (value.extend if isinstance(value, deque) else value.update)(changed)


_ENCODED: tuple[tuple[Any, Callable[[Any, Encode], Any]], ...] = (
    ((bool, type(None)), lambda v, _: v),
    (int, lambda v, _: int.__index__(v)),
    (float, lambda v, _: float.__float__(v)),
    (str, lambda v, _: str.__str__(v)),
    (list, lambda v, inner: ["l", [inner(one) for one in list.__iter__(v)]]),
    (tuple, lambda v, inner: ["t", [inner(one) for one in tuple.__iter__(v)]]),
    (set, lambda v, inner: ["s", [inner(one) for one in set.__iter__(v)]]),
    (frozenset, lambda v, inner: ["f", [inner(one) for one in frozenset.__iter__(v)]]),
    (
        dict,
        lambda v, inner: ["d", [[inner(key), inner(one)] for key, one in dict.items(v)]],
    ),
    (deque, lambda v, inner: ["q", [inner(one) for one in deque.__iter__(v)]]),
    (bytes, lambda v, _: ["bytes", bytes.hex(v)]),
    (bytearray, lambda v, _: ["bytearray", bytearray.hex(v)]),
    (complex, lambda v, _: ["complex", v.real, v.imag]),
    (range, lambda v, _: ["range", v.start, v.stop, v.step]),
    (Decimal, lambda v, _: ["decimal", Decimal.__str__(v)]),
    (Fraction, lambda v, _: ["fraction", int(v.numerator), int(v.denominator)]),
    (datetime.datetime, lambda v, _: ["datetime", datetime.datetime.isoformat(v)]),
    (datetime.date, lambda v, _: ["date", datetime.date.isoformat(v)]),
    (datetime.timedelta, lambda v, _: ["timedelta", v.days, v.seconds, v.microseconds]),
)
_CONTAINERS: dict[str, Callable[[Any], Any]] = {
    **{"l": list, "t": tuple, "s": set, "f": frozenset, "q": deque}
}
_MADE: dict[str, Callable[..., Any]] = {
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "complex": complex,
    "range": range,
    "decimal": Decimal,
    "fraction": Fraction,
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "timedelta": datetime.timedelta,
}
