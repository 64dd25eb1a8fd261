"""Calls of OpenAI's batch API: files up and down, batches made, looked at and found again.

A call is made again while the server cannot answer, for as long as the recipe's patience lasts.
Making a batch is the one call that must not be made twice: where no reply came, the server's list
of batches is read first, and the call is made again only if no batch has our file.
"""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

import orjson

from curation.teachers.openai.batch.request_queue import MOST_BYTES, MOST_REQUESTS
from curation.teachers.openai.batch.result_file import BatchFile
from curation.teachers.openai.client import (
    PROMPT_FAULTS,
    BusyError,
    Connection,
    RejectedError,
    UnavailableError,
    ending,
)
from support.errors import PolytraceError, ShortError, UserError

WINDOW = "24h"  # the only completion window that OpenAI takes
PAGE = 100  # batches in one answer of the list: the most that OpenAI gives
OVER = ("completed", "failed", "expired", "cancelled")
_LACKING = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_PAUSE = (1.0, 30.0)  # first and longest wait before a call is made again
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchState:
    """A batch as the server describes it; `error` is the first error of one that failed."""

    id: str
    status: str
    input_file: str
    output_file: str | None
    error_file: str | None
    metadata: Mapping[str, str]
    error_code: str
    error: str
    done: int
    total: int

    @property
    def is_over(self) -> bool:
        """Whether the server will do no more for it."""
        return self.status in OVER


class BatchApi:
    """The batch API of one server; `patience` is in seconds, `most_line` in bytes of a reply."""

    def __init__(
        self, connection: Connection, patience: float, most_line: int = MOST_BYTES
    ) -> None:
        self._connection, self._patience, self._most_line = connection, patience, most_line
        self.url = connection.url

    def clean(self, text: str) -> str:
        """A text of the server's as a part of a message."""
        return self._connection.clean(text)

    async def batches(self) -> AsyncIterator[BatchState]:
        """All batches of the account."""
        after = ""
        while True:
            page, has_more = await self._asked(f"/batches?limit={PAGE}{after}", _page)
            for state in page:
                yield state
            if not has_more or not page:
                return
            after = f"&after={quote(page[-1].id, safe='')}"

    async def get(self, batch: str) -> BatchState:
        """A batch as it is now."""
        return await self._asked(f"/batches/{quote(batch, safe='')}", _state)

    async def submit(self, data: bytes, path: str, metadata: Mapping[str, str]) -> BatchState:
        """Send a file of requests for `path` and make a batch of it."""
        import aiohttp

        async def upload() -> bytes:
            form = aiohttp.FormData()
            form.add_field("purpose", "batch")
            form.add_field(
                "file", data, filename="polytrace.jsonl", content_type="application/jsonl"
            )
            return await self._connection.post("/files", form)

        file = await self._patiently("/files", _read(upload, _with_id))
        body = {
            "input_file_id": file["id"],
            "endpoint": f"/v1{path}",
            "completion_window": WINDOW,
            "metadata": dict(metadata),
        }
        is_unclear = False

        async def create() -> dict[str, Any]:
            nonlocal is_unclear
            if is_unclear:  # the batch may have been made although no reply came
                async for one in self.batches():
                    if one.input_file == file["id"]:
                        return {"id": one.id}
            is_unclear = True
            try:
                content = await self._connection.post("/batches", orjson.dumps(body))
            except (BusyError, RejectedError):
                is_unclear = False
                raise
            return _with_id(_object(content))

        made = await self._patiently("/batches", create)
        return await self.get(str(made["id"]))

    async def cancel(self, batch: str) -> None:
        """Ask the server to stop a batch."""
        path = f"/batches/{quote(batch, safe='')}/cancel"
        await self._patiently(path, _read(lambda: self._connection.post(path, b"{}"), dict))

    async def results(self, state: BatchState, *, may_lack: bool = False) -> BatchFile:
        """What became of a batch's requests.

        A server keeps files for some weeks: where they `may_lack`, they count as empty.
        """
        lines = BatchFile(self._connection, self._most_line)
        files = (state.output_file,) if may_lack else (state.output_file, state.error_file)
        await self._download(lines, files, state.total or MOST_REQUESTS, may_lack=may_lack)
        return lines

    async def requests(self, state: BatchState) -> BatchFile:
        """The requests of a batch."""
        lines = BatchFile(self._connection, MOST_BYTES)
        await self._download(lines, (state.input_file,), 1, may_lack=False)
        return lines

    async def _download(
        self, lines: BatchFile, files: Iterable[str | None], requests: int, *, may_lack: bool
    ) -> None:
        for file in filter(None, files):
            path = f"/files/{quote(file, safe='')}/content"
            try:
                await self._patiently(path, partial(lines.add, path, requests), passes=_LACKING)
            except RejectedError:
                if not may_lack:
                    raise ShortError(
                        f"teacher.endpoints: {self.url} lacks {path}, the file of a batch; wait "
                        f"until that batch is over, or cancel it, and run the same command again"
                    ) from None

    async def _asked(self, path: str, read: Callable[[dict[str, Any]], T]) -> T:
        async def ask() -> T:
            with io.BytesIO() as file:
                await self._connection.download(path, file)
                return read(_object(file.getvalue()))

        return await self._patiently(path, ask)

    async def _patiently(
        self, path: str, call: Callable[[], Awaitable[T]], passes: tuple[int, ...] = ()
    ) -> T:
        """The result of a call; RejectedError for a status in `passes`, else an error of ours."""
        since, pause = time.monotonic(), _PAUSE[0]
        while True:
            try:
                return await call()
            except BusyError as error:
                cause, wait = str(error), max(error.seconds, pause)
            except UnavailableError as error:
                cause, wait = str(error), pause
            except RejectedError as error:
                if error.status in passes:
                    raise
                raise self._refusal(path, error) from None
            if time.monotonic() - since + wait > self._patience:
                raise ShortError(
                    f"teacher.endpoints: {self.url} does not answer: {cause}; batches that it has "
                    f"go on there; run the same command again when it does"
                )
            await asyncio.sleep(wait)
            pause = min(_PAUSE[1], pause * 2)

    def _refusal(self, path: str, error: RejectedError) -> PolytraceError:
        where = path.partition("?")[0]
        if error.status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
            return UserError(
                f"teacher.endpoints: {self.url}{where} answers {error.status}: the server has no "
                f"batch API; take another, or the teacher openai_server"
            )
        message = f"{self.url}{where} answers {error.status}: {error}"
        if error.status in PROMPT_FAULTS:
            return UserError(f"teacher: {message}")
        return ending(error.status, message)


def _read(
    call: Callable[[], Awaitable[bytes]], check: Callable[[dict[str, Any]], dict[str, Any]]
) -> Callable[[], Awaitable[dict[str, Any]]]:
    async def read() -> dict[str, Any]:
        return check(_object(await call()))

    return read


def _with_id(row: dict[str, Any]) -> dict[str, Any]:
    """The description of something that was made; UnavailableError where it has no id."""
    if not isinstance(row.get("id"), str):
        raise UnavailableError("an answer names no id")
    return row


def _object(content: bytes) -> dict[str, Any]:
    """The JSON object of a reply; UnavailableError where it is none."""
    try:
        row = orjson.loads(content)
    except orjson.JSONDecodeError:
        row = None
    if not isinstance(row, dict):
        raise UnavailableError("an answer is no JSON object")
    return row


def _page(row: dict[str, Any]) -> tuple[list[BatchState], bool]:
    """One answer of the list of batches, and whether there are more."""
    rows = row.get("data")
    if not isinstance(rows, list):
        raise UnavailableError("an answer lists no batches")
    return [_state(one) for one in rows], bool(row.get("has_more"))


def _state(row: Any) -> BatchState:
    """A batch of the server's; UnavailableError where it lacks what every batch has."""
    try:
        counts = row.get("request_counts") or {}
        errors = row.get("errors") or []
        errors = errors.get("data") if isinstance(errors, dict) else errors
        error = errors[0] if errors else {}
        error = error if isinstance(error, dict) else {"message": error}
        line = error.get("line")
        return BatchState(
            id=str(row["id"]),
            status=str(row["status"]),
            input_file=str(row.get("input_file_id")),
            output_file=row.get("output_file_id"),
            error_file=row.get("error_file_id"),
            metadata=row.get("metadata") or {},
            error_code=str(error.get("code") or ""),
            error=str(error.get("message") or "no reason given")
            + (f" (line {line})" if line is not None else ""),
            done=int(counts.get("completed") or 0) + int(counts.get("failed") or 0),
            total=int(counts.get("total") or 0),
        )
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        raise UnavailableError("an answer describes no batch") from None
