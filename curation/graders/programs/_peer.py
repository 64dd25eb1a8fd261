"""Both sides of a run of asserts; a guest's text, never imported by the project.

The program runs on one side, the asserts on the other, each in a sandbox of its own. They speak
over a socket: the asserts ask for calls, and get plain values (numbers, texts, lists, …), which are
built anew on their side. What an assert expects never reaches the program, and nothing that the
program does to its own process touches the verdict. Any other object stays where it is, and its
reference is a `Handle`.
"""

import builtins
import datetime
import json
import operator
import os
import socket
import sys
import types
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

LONGEST_MESSAGE = 32 << 20
BINARY = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor"),
    *("lt", "le", "gt", "ge"),
)
# Methods of Python's own types: only a value of such a type may have them on the asserts' side.
OF_TYPES = {name for kind in (str, bytes, int, float, list, tuple, dict, set) for name in dir(kind)}
OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda called, *values, **named: called(*values, **named),
    "names": lambda wanted: {
        name: vars(sys.modules["program"])[name]
        for name in wanted
        if name in vars(sys.modules["program"])
    },
    **{one.__name__: one for one in (getattr, setattr, iter, next, len, str, repr, isinstance)},
    **{name: getattr(operator, name) for name in ("getitem", "setitem", "delitem", "truth", "eq")},
    **{name: getattr(operator, name) for name in BINARY},
}


class LinkEnded(BaseException):
    """The other side is gone; not an Exception, so that no `except Exception` hides it."""


class ProgramError(Exception):
    """The program raised what is no exception of Python's own."""


class Peer:
    """One side of the link."""

    def __init__(self, link: socket.socket, *, is_program: bool) -> None:
        self._link = link
        self._is_program = is_program
        self._objects: list[Any] = []
        self.has_ended = False

    def ask(self, operation: str, *values: Any, **named: Any) -> Any:
        """The result of an operation on the other side; raises what it raised."""
        arguments = [self._encode(value) for value in values]
        self._send([operation, arguments, {k: self._encode(v) for k, v in named.items()}])
        while True:
            message = self._receive()
            if message[0] in ("value", "raise"):
                break
            self._serve(message)
        if message[0] == "raise":
            kind = getattr(builtins, str(message[1]), None)
            is_known = isinstance(kind, type) and issubclass(kind, Exception)
            raise (kind if is_known else ProgramError)(str(message[2]))  # type: ignore[misc]
        for number, changed in message[2]:
            _replace(values[number], self._decode(changed))
        return self._decode(message[1])

    def serve(self) -> None:
        """Answer until the other side is gone."""
        while True:
            self._serve(self._receive())

    def _serve(self, message: Any) -> None:
        operation, arguments, named = message
        try:
            values = [self._decode(one) for one in arguments]
            names = {name: self._decode(one) for name, one in named.items()}
            if operation == "callback":
                result = self._objects[values[0]](*values[1:], **names)
            elif self._is_program:
                result = OPERATIONS[operation](*values, **names)
            else:
                raise ProgramError("the asserts answer to nothing but callbacks")
            changed = []
            for number, (before, value) in enumerate(zip(arguments, values, strict=True)):
                if isinstance(value, list | dict | set | bytearray | deque):
                    after = self._encode(value)
                    if after != before:
                        changed.append([number, after])
            reply = ["value", self._encode(result), changed]
        except LinkEnded:
            raise
        except BaseException as error:
            reply = ["raise", type(error).__name__, _text_of(error)]
        self._send(reply)

    def _send(self, message: Any) -> None:
        data = json.dumps(message).encode()
        try:
            self._link.sendall(len(data).to_bytes(4, "big") + data)
        except OSError:
            self._end()

    def _receive(self) -> Any:
        length = int.from_bytes(self._exactly(4), "big")
        if length > LONGEST_MESSAGE:
            self._end()
        try:
            return json.loads(self._exactly(length))
        except (ValueError, RecursionError):
            self._end()

    def _exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            try:
                part = self._link.recv(min(1 << 16, count - len(parts)))
            except OSError:
                part = b""
            if not part:
                self._end()
            parts += part
        return bytes(parts)

    def _end(self) -> None:
        self.has_ended = True
        raise LinkEnded

    def _encode(self, value: Any) -> Any:
        """Plain data; a subclass of a plain type becomes that type."""
        for kind, one in ENCODED:
            if isinstance(value, kind):
                return one(self, value)
        name = getattr(value, "__name__", "")
        if isinstance(value, type) and vars(builtins).get(name) is value:
            return ["type", name]
        if not self._is_program and not callable(value):
            return ["l", [self._encode(one) for one in value], "iter"]  # an iterator of the tests
        self._objects.append(value)
        return ["h", len(self._objects) - 1]

    def _decode(self, data: Any) -> Any:
        if not isinstance(data, list):
            return data
        tag, *rest = data
        if tag == "o":
            return self._objects[rest[0]]
        if tag == "h":
            return self._callback(rest[0]) if self._is_program else Handle(self, rest[0], False)
        if tag == "type":
            kind = getattr(builtins, rest[0])
            if not isinstance(kind, type):
                raise TypeError(rest[0])
            return kind
        if tag == "d":
            return {self._decode(key): self._decode(value) for key, value in rest[0]}
        if tag in CONTAINERS:
            items = CONTAINERS[tag](self._decode(one) for one in rest[0])
            return iter(items) if rest[1:] == ["iter"] else items
        return MADE[tag](*rest)

    def _callback(self, number: int) -> Callable[..., Any]:
        return lambda *values, **named: self.ask("callback", number, *values, **named)


class Handle:
    """An object of the program. It is equal to no plain value, and has no order among them.

    Where it `is_own`, it came from a class of the program (whose name begins with a capital), and
    may have any method.
    """

    def __init__(self, peer: Peer, number: int, is_own: bool) -> None:
        vars(self).update(_peer=peer, _number=number, _is_own=is_own)

    def _ask(self, operation: str, *values: Any, **named: Any) -> Any:
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
        return isinstance(other, Handle) and self._ask("eq", other) is True

    def __hash__(self) -> int:
        return hash(self._number)

    def __instancecheck__(self, instance: object) -> bool:
        is_handle = isinstance(instance, Handle)
        return is_handle and self._peer.ask("isinstance", instance, self) is True


def _binary(name: str) -> Callable[[Handle, object], Any]:
    def method(self: Handle, other: object) -> Any:
        return self._ask(name, other) if isinstance(other, Handle) else NotImplemented

    return method


for _name in BINARY:
    setattr(Handle, f"__{_name.rstrip('_')}__", _binary(_name))

ENCODED: tuple[tuple[Any, Callable[[Peer, Any], Any]], ...] = (
    (Handle, lambda peer, v: ["o", v._number]),
    ((bool, type(None)), lambda peer, v: v),
    (int, lambda peer, v: int.__index__(v)),
    (float, lambda peer, v: float.__float__(v)),
    (str, lambda peer, v: str.__str__(v)),
    (list, lambda peer, v: ["l", [peer._encode(one) for one in list.__iter__(v)]]),
    (tuple, lambda peer, v: ["t", [peer._encode(one) for one in tuple.__iter__(v)]]),
    (set, lambda peer, v: ["s", [peer._encode(one) for one in set.__iter__(v)]]),
    (frozenset, lambda peer, v: ["f", [peer._encode(one) for one in frozenset.__iter__(v)]]),
    (
        dict,
        lambda peer, v: [
            "d",
            [[peer._encode(key), peer._encode(one)] for key, one in dict.items(v)],
        ],
    ),
    (deque, lambda peer, v: ["q", [peer._encode(one) for one in deque.__iter__(v)]]),
    (bytes, lambda peer, v: ["bytes", bytes.hex(v)]),
    (bytearray, lambda peer, v: ["bytearray", bytearray.hex(v)]),
    (complex, lambda peer, v: ["complex", v.real, v.imag]),
    (range, lambda peer, v: ["range", v.start, v.stop, v.step]),
    (Decimal, lambda peer, v: ["decimal", Decimal.__str__(v)]),
    (Fraction, lambda peer, v: ["fraction", int(v.numerator), int(v.denominator)]),
    (datetime.datetime, lambda peer, v: ["datetime", datetime.datetime.isoformat(v)]),
    (datetime.date, lambda peer, v: ["date", datetime.date.isoformat(v)]),
    (datetime.timedelta, lambda peer, v: ["timedelta", v.days, v.seconds, v.microseconds]),
)
CONTAINERS: dict[str, Callable[[Any], Any]] = {
    **{"l": list, "t": tuple, "s": set, "f": frozenset, "q": deque}
}
MADE: dict[str, Callable[..., Any]] = {
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


def _replace(value: Any, changed: Any) -> None:
    """Give a container of the tests the content that the program gave its copy."""
    if type(value) is not type(changed):
        raise TypeError("the program changed an argument's type")
    if isinstance(value, list | bytearray):
        value[:] = changed
    else:
        value.clear()
        (value.extend if isinstance(value, deque) else value.update)(changed)


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:1000]
    except BaseException:
        return ""


def run_program(text: str, peer: Peer) -> None:
    """Run the program, then answer calls."""
    module = types.ModuleType("program")
    sys.modules["program"] = module
    exec(compile(text, "program.py", "exec"), vars(module))
    try:
        peer.serve()
    except LinkEnded:
        os._exit(0)


def run_asserts(text: str, names: list[str], modules: list[str], peer: Peer) -> bool:
    """Whether every statement of the tests ends without an error."""
    space: dict[str, Any] = {"__name__": "tests"}
    try:
        space.update({name: __import__(name) for name in modules})
        for name, value in peer.ask("names", names).items():
            if isinstance(value, Handle):
                vars(value)["_is_own"] = name[:1].isupper()
            if name in names:
                space[name] = value
        exec(compile(text, "tests.py", "exec"), space)
    except BaseException:
        return False
    return not peer.has_ended


def main() -> None:
    """Take the side that standard input names."""
    request = json.loads(sys.stdin.buffer.read())
    sys.set_int_max_str_digits(0)
    peer = Peer(socket.socket(fileno=3), is_program="program" in request)
    if "program" in request:
        return run_program(request["program"], peer)
    verdict = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    is_passed = run_asserts(request["asserts"], request["names"], request["modules"], peer)
    os.write(verdict, request["passed"].encode() if is_passed else b"failed")
    os._exit(0)


main()
