"""Calls of OpenAI's batch API: files up and down, batches made, looked at and found again.

A call is made again while the server cannot answer, for as long as the recipe's patience lasts.
Making a batch is the one call that must not be made twice: where no reply came, the server's list
of batches is read first, and the call is made again only if no batch has our file.
"""

import asyncio
import io
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

import orjson

from curation.teachers.openai.batch.lines import LineResult, name_of, result_of
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


class BatchFile:
    """The lines of a batch's files by the name of their request, kept in a temporary file."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._file: BinaryIO = tempfile.TemporaryFile(prefix="polytrace-")  # noqa: SIM115
        self._places: dict[str, tuple[int, int]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def result(self, name: str) -> LineResult | None:
        """What became of a request; None where the server says nothing of it."""
        if name not in self._places:
            return None
        start, length = self._places[name]
        self._file.seek(start)
        try:
            found = result_of(self._file.read(length))
        except ValueError:
            return None
        return replace(found, message=self._connection.clean(found.message))

    def close(self) -> None:
        """Delete the file."""
        self._file.close()

    async def add(self, path: str) -> None:
        """Download one more file; what is not whole of an earlier try is written over."""
        start = self._file.seek(0, 2)
        try:
            await self._connection.download(path, self._file)
        except BaseException:
            self._file.truncate(start)
            raise
        await asyncio.to_thread(self._note, start)  # of gigabytes this takes a while

    def _note(self, start: int) -> None:
        """Note where the lines from `start` on lie."""
        self._file.seek(start)
        for line in self._file:
            if (name := name_of(line)) is not None:
                self._places.setdefault(name, (start, len(line)))
            start += len(line)


class BatchApi:
    """The batch API of one server; `patience` is in seconds."""

    def __init__(self, connection: Connection, patience: float) -> None:
        self._connection, self._patience = connection, patience
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

        file = await self._patiently("/files", _read(upload))
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
            return _object(content)

        made = await self._patiently("/batches", create)
        return await self.get(str(made["id"]))

    async def cancel(self, batch: str) -> None:
        """Ask the server to stop a batch."""
        path = f"/batches/{quote(batch, safe='')}/cancel"
        await self._patiently(path, _read(lambda: self._connection.post(path, b"{}")))

    async def download(self, *files: str | None, may_lack: bool = False) -> BatchFile:
        """The lines of files.

        A server keeps files for some weeks: where one `may_lack`, it counts as empty.
        """
        lines = BatchFile(self._connection)
        for file in filter(None, files):
            path = f"/files/{quote(file, safe='')}/content"
            try:
                await self._patiently(path, partial(lines.add, path), passes=_LACKING)
            except RejectedError:
                if not may_lack:
                    raise ShortError(
                        f"teacher.endpoints: {self.url} lacks {path}, the file of a batch; wait "
                        f"until that batch is over, or cancel it, and run the same command again"
                    ) from None
        return lines

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


def _read(call: Callable[[], Awaitable[bytes]]) -> Callable[[], Awaitable[dict[str, Any]]]:
    async def read() -> dict[str, Any]:
        return _object(await call())

    return read


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
    except (KeyError, TypeError, AttributeError, ValueError):
        raise UnavailableError("an answer describes no batch") from None
