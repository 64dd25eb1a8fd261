"""Read JSON values from a stream: the elements of an array, or values that follow one another.

For files that are JSON and not JSON Lines: an array, or objects that are written over several
lines. Memory holds one value at a time.
"""

import codecs
import json
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import BinaryIO, TypeVar

from curation.sources.columns.gold import SURROGATE
from curation.sources.readers.text_bytes import MAX_ROW_BYTES

T = TypeVar("T")
CHUNK_BYTES = 1 << 20
_LONGEST_WORD = 16
"""A fault this close to the end of the text that was read may only mean that a value is cut."""


class BrokenError(ValueError):
    """The stream holds no further JSON value where there should be one."""


def loads(text: str) -> object:
    """One JSON text; fractions keep their digits (Decimal). Raises JSONDecodeError."""
    return _decoded(lambda decoder: decoder.decode(text))


def values(stream: BinaryIO) -> Iterator[tuple[object, bool]]:
    """Every value, and whether its text was UTF-8; BrokenError where the JSON ends otherwise."""
    text = _Text(stream)
    is_array = text.peek() == "["
    if is_array:
        text.skip()
    number = 0
    while char := text.peek():
        if is_array and char == "]":
            text.skip()
            if text.peek():
                raise BrokenError("something follows the end of the array")
            return
        if is_array and number:
            if char != ",":
                raise BrokenError("there is no comma before the next element")
            text.skip()
        yield text.value()
        number += 1
    if is_array:
        raise BrokenError("the array has no end")


class _Text:
    """The text that was read of a stream and not used yet."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text, self._at, self._is_whole = "", 0, False

    def peek(self) -> str:
        """The next character that is no white space; "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text) or self._is_whole:
                return self._text[self._at : self._at + 1]
            self._read(CHUNK_BYTES)

    def skip(self) -> None:
        """Pass over the next character."""
        self._at += 1

    def value(self) -> tuple[object, bool]:
        """The next value, and whether its text was UTF-8."""
        self.peek()
        while True:
            try:
                value, end = _decoded(lambda decoder: decoder.raw_decode(self._text, self._at))
            except json.JSONDecodeError as error:
                if not self._may_go_on(error):
                    raise BrokenError(error.msg) from None
            except RecursionError:
                raise BrokenError("nested too deeply") from None
            else:
                if end < len(self._text) or self._is_whole:  # else a number may go on
                    text, self._at = self._text[self._at : end], end
                    return value, text.isascii() or not SURROGATE.search(text)
            held = len(self._text) - self._at
            if held > MAX_ROW_BYTES:
                raise BrokenError(f"a value has over {MAX_ROW_BYTES} bytes")
            self._read(max(CHUNK_BYTES, held))  # as much again: the time stays linear

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        """Whether the fault may be that the value was not read to its end."""
        is_cut = error.msg.startswith("Unterminated string")
        return not self._is_whole and (is_cut or error.pos >= len(self._text) - _LONGEST_WORD)

    def _read(self, size: int) -> None:
        data = self._stream.read(size)
        self._is_whole = not data
        more = self._decoder.decode(data, final=self._is_whole)
        self._text, self._at = self._text[self._at :] + more, 0


def _decoded(decode: Callable[[json.JSONDecoder], T]) -> T:
    try:
        return decode(_DECODERS[0])
    except json.JSONDecodeError:
        raise
    except ValueError:  # an integer of more digits than Python converts
        return decode(_DECODERS[1])


def _fraction(digits: str) -> Decimal:
    """The number as written; not a number where its exponent is beyond what can be held."""
    try:
        return Decimal(digits)
    except InvalidOperation:
        return Decimal("NaN")


_DECODERS = (
    json.JSONDecoder(parse_float=_fraction),
    json.JSONDecoder(parse_float=_fraction, parse_int=Decimal),
)
