"""Both sides of a run of asserts; a guest's text, never imported by the project.

The program runs on one side, the asserts on the other, each in a sandbox of its own. They speak
over a socket: the asserts ask for calls, and get plain values (`_plain.py`), which are built anew
on their side. What an assert expects never reaches the program, and nothing that the program does
to its own process touches the verdict. Any other object stays where it is, and its reference is a
`Handle` (`_handle.py`).
"""

import ast
import builtins
import json
import operator
import os
import socket
import sys
import types
from collections import deque
from collections.abc import Callable
from typing import Any

from curation.graders.programs._handle import ASKED, BINARY, Handle
from curation.graders.programs._plain import decode, encode, replace

LONGEST_MESSAGE = 32 << 20
OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda called, *values, **named: called(*values, **named),
    "names": lambda wanted: {
        name: vars(sys.modules["program"])[name]
        for name in wanted
        if name in vars(sys.modules["program"])
    },
    **{one.__name__: one for one in (getattr, setattr, iter, next, len, str, repr, isinstance)},
    **{name: getattr(operator, name) for name in ("getitem", "setitem", "delitem", "truth")},
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
        self.errors = 0  # that the other side raised

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
            self.errors += 1
            raise self._error(operation, str(message[1]), str(message[2]))
        for number, changed in message[2]:
            replace(values[number], self._decode(changed))
        return self._decode(message[1])

    def serve(self) -> None:
        """Answer until the other side is gone."""
        while True:
            self._serve(self._receive())

    def _error(self, operation: str, name: str, text: str) -> Exception:
        kind = getattr(builtins, name, None)
        if not isinstance(kind, type) or not issubclass(kind, Exception):
            kind = ProgramError
        # Raised by a call, it would end a loop of the tests, and `all` would be true.
        is_end = issubclass(kind, StopIteration | StopAsyncIteration) and operation != "next"
        return RuntimeError(text) if is_end and not self._is_program else kind(text)

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
        return encode(value, self._reference)

    def _reference(self, value: Any) -> Any:
        """Data of what is no plain value: a built-in's name, or a number for the other side."""
        if isinstance(value, Handle):
            return ["o", value._number]
        name = getattr(value, "__name__", "")
        if isinstance(name, str) and vars(builtins).get(name) is value and name:
            # By its name: a program that could call back `eval` would run code among the asserts.
            return ["builtin", name]
        if not self._is_program and not callable(value):
            return ["iter", self._encode(list(value))]  # an iterator of the tests
        self._objects.append(value)
        return ["h", len(self._objects) - 1]

    def _decode(self, data: Any) -> Any:
        return decode(data, self._referred)

    def _referred(self, tag: str, rest: list[Any]) -> Any:
        if tag == "o":
            return self._objects[rest[0]]
        if tag == "h":
            return self._callback(rest[0]) if self._is_program else Handle(self, rest[0], False)
        if tag == "iter":
            return iter(self._decode(rest[0]))
        kind = vars(builtins)[rest[0]] if tag == "builtin" else None
        if not isinstance(kind, type) and not (self._is_program and callable(kind)):
            raise TypeError("no type of Python's own")
        return kind

    def _callback(self, number: int) -> Callable[..., Any]:
        return lambda *values, **named: self.ask("callback", number, *values, **named)


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:1000]
    except BaseException:
        return ""


class Held:
    """Counts asserts: one that fails is a failure of the test, whoever catches its error."""

    def __init__(self) -> None:
        self.count, self.has_failed = 0, False

    def __call__(self, value: object) -> bool:
        is_true = bool(value)
        self.count += 1
        self.has_failed = self.has_failed or not is_true
        return is_true


def run_program(text: str, peer: Peer) -> None:
    """Run the program, then answer calls."""
    module = types.ModuleType("program")
    sys.modules["program"] = module
    exec(compile(text, "program.py", "exec"), vars(module))
    try:
        peer.serve()
    except LinkEnded:
        os._exit(0)


def run_asserts(request: dict[str, Any], peer: Peer) -> bool:
    """Whether every statement of the tests ends without an error, and an assert held.

    An assert that is never reached proves nothing, nor does one for which the program is not asked.
    Where the tests want an error (`assert False` behind a call), one of the program is enough.
    """
    holds, wants_error = Held(), False
    space: dict[str, Any] = {"__name__": "__main__", "<holds>": holds}
    try:
        tree = ast.parse(request["asserts"])
        for node in ast.walk(tree):
            if isinstance(node, ast.Assert):
                is_trap = isinstance(node.test, ast.Constant) and not node.test.value
                wants_error = wants_error or is_trap
                name = ast.Name("<holds>", ast.Load())  # no name that the tests can use
                node.test = ast.Call(name, [node.test], [])
        exec(compile(request["imports"], "tests.py", "exec"), space)
        space.update({name: __import__(name) for name in request["modules"]})
        for name, value in peer.ask("names", request["names"]).items():
            if isinstance(value, Handle):
                vars(value)["_is_own"] = name[:1].isupper()
            elif name in request["names"]:
                ASKED.add("names")
            if name in request["names"]:
                space[name] = value
        exec(compile(ast.fix_missing_locations(tree), "tests.py", "exec"), space)
    except BaseException:
        return False
    is_proved = holds.count > 0 or (wants_error and peer.errors > 0)
    return is_proved and bool(ASKED) and not holds.has_failed and not peer.has_ended


def main() -> None:
    """Take the side that standard input names."""
    request = json.loads(sys.stdin.buffer.read())
    sys.set_int_max_str_digits(0)
    peer = Peer(socket.socket(fileno=3), is_program="program" in request)
    if "program" in request:
        return run_program(request["program"], peer)
    verdict = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    is_passed = run_asserts(request, peer)
    os.write(verdict, request["passed"].encode() if is_passed else b"failed")
    os._exit(0)


main()
