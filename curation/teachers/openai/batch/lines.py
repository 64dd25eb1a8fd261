"""The lines of a batch's files, as pure functions: requests, and what became of each.

A request is named by its `custom_id`: the key of its first sample, a hyphen, and which samples from
that one on it asks for, as the bits of a hexadecimal number. `0123456789abcdef-1` asks for one
sample, and `0123456789abcdef-5` for that sample and the one after the next. The name holds all that
is needed to find the samples again, so a batch needs no record of our own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from curation.teachers.openai.client import is_too_long, message_of
from curation.teachers.openai.reply_body import parse

_ID = re.compile(r"([0-9a-f]{16})-([0-9a-f]{1,512})")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineResult:
    """What became of one request.

    `status` is the HTTP status of its reply, 0 where it was not sent to the model; `body` the
    reply, `code` and `message` the error where there is one.
    """

    status: int
    body: Any = None
    code: str = ""
    message: str = ""

    @property
    def is_too_long(self) -> bool:
        """Whether the prompt was refused because it does not fit the model's context."""
        return is_too_long(self.status, self.message)

    @property
    def reason(self) -> str:
        """The reason under which a refused prompt is rejected."""
        return "context_length" if self.is_too_long else "refused_by_server"

    def text(self) -> str:
        """Status and message."""
        return f"HTTP {self.status}: {self.message}"


def custom_id(key: str, indices: Sequence[int]) -> str:
    """The name of a request for `indices`, ascending; `key` is that of the first."""
    return f"{key}-{sum(1 << (index - indices[0]) for index in indices):x}"


def samples_of(name: str) -> tuple[str, tuple[int, ...]] | None:
    """The key of a request's first sample and all samples' distances from it; None if not ours."""
    match = _ID.fullmatch(name)
    if match is None:
        return None
    bits = int(match[2], 16)
    return match[1], tuple(at for at in range(bits.bit_length()) if bits >> at & 1)


def request_line(name: str, path: str, body: bytes) -> bytes:
    """The line of an input file; `path` is below /v1, `body` the JSON of the request."""
    return b'{"custom_id":"%s","method":"POST","url":"/v1%s","body":%s}\n' % (
        name.encode(),
        path.encode(),
        body,
    )


def name_of(line: bytes) -> str | None:
    """The name of a line's request; None where the line is not whole."""
    try:
        row = parse(line)
    except ValueError:
        return None
    name = row.get("custom_id") if isinstance(row, dict) else None
    return name if isinstance(name, str) else None


def result_of(line: bytes) -> LineResult:
    """What a line of an output file or an error file says; ValueError where it is no JSON."""
    row = parse(line)
    row = row if isinstance(row, dict) else {}
    error, response = row.get("error"), row.get("response")
    if isinstance(response, dict) and isinstance(status := response.get("status_code"), int):
        body = response.get("body")
        message = "" if status == 200 else _said(body) or f"HTTP {status}"
        return LineResult(status=status, body=body, code=_code(body), message=message)
    return LineResult(status=0, code=_code(error), message=_said(error) or "no reason given")


def _said(body: object) -> str:
    return message_of(body) if body else ""


def _code(body: object) -> str:
    inner = body.get("error", body) if isinstance(body, dict) else None
    code = inner.get("code") if isinstance(inner, dict) else None
    return code if isinstance(code, str) else ""
