"""What the asserts hold of an object that stays in the program's process; see `_peer.py`."""

from collections.abc import Callable
from typing import Any

COMPARISONS = ("eq", "lt", "le", "gt", "ge")
BINARY = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor"),
    *COMPARISONS,
)
# Methods of Python's own types: only a value of such a type may have them on the asserts' side.
OF_TYPES = {name for kind in (str, bytes, int, float, list, tuple, dict, set) for name in dir(kind)}
ASKED: set[str] = set()  # operations that the asserts have asked for


class Handle:
    """An object of the program. It is equal to no plain value, and has no order among them.

    Where it `is_own`, it came from a class of the program (whose name begins with a capital), and
    may have any method. Others are compared with such an object only: else a function could return
    objects that are equal to all, where the problem asks for no class.
    """

    def __init__(self, peer: Any, number: int, is_own: bool) -> None:
        vars(self).update(_peer=peer, _number=number, _is_own=is_own)

    def _ask(self, operation: str, *values: Any, **named: Any) -> Any:
        ASKED.add(operation)
        result = self._peer.ask(operation, self, *values, **named)
        if isinstance(result, Handle) and self._is_own:
            vars(result)["_is_own"] = True
        return result

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or (name in OF_TYPES and not self._is_own):
            raise AttributeError(f"an object of the program has no {name}")
        return self._ask("getattr", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("setattr", name, value)

    def __call__(self, *values: Any, **named: Any) -> Any:
        return self._ask("call", *values, **named)

    def __getitem__(self, key: Any) -> Any:
        return self._ask("getitem", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._ask("setitem", key, value)

    def __delitem__(self, key: Any) -> None:
        self._ask("delitem", key)

    def __iter__(self) -> Any:
        return self._ask("iter")

    def __next__(self) -> Any:
        return self._ask("next")

    def __len__(self) -> int:
        return int(self._ask("len"))

    def __bool__(self) -> bool:
        return self._ask("truth") is True

    def __str__(self) -> str:
        return str(self._ask("str"))

    def __repr__(self) -> str:
        return str(self._ask("repr"))

    def __eq__(self, other: object) -> bool:
        return self is other or (_compare(self, "eq", other) is True)

    def __hash__(self) -> int:
        return hash(self._number)

    def __instancecheck__(self, instance: object) -> bool:
        is_handle = isinstance(instance, Handle)
        return is_handle and self._peer.ask("isinstance", instance, self) is True


def _compare(one: Handle, name: str, other: object) -> Any:
    is_asked = isinstance(other, Handle) and (one._is_own or other._is_own)
    return one._ask(name, other) if is_asked else NotImplemented


def _binary(name: str) -> Callable[[Handle, object], Any]:
    def method(self: Handle, other: object) -> Any:
        return self._ask(name, other) if isinstance(other, Handle) else NotImplemented

    return method


for _name in set(BINARY) - set(COMPARISONS):
    setattr(Handle, f"__{_name.rstrip('_')}__", _binary(_name))
for _name in set(COMPARISONS) - {"eq"}:
    setattr(Handle, f"__{_name}__", lambda self, other, name=_name: _compare(self, name, other))
