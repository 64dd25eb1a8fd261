"""One OpenAI-compatible server: what it answers, how much it holds, and whether it can be reached.

In: request bodies. Out: reply bytes, or an error that says whose fault it was. The breaker: an
endpoint is UP until a connection is refused or three requests in a row fail; then it is DOWN, and
nothing is sent; when it is well again one request is sent on TRIAL, whose success makes it UP. A
server that broke its connections gets half of what it had for a minute: it may have died of it.
"""

import asyncio
import os
import re
import time
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from http import HTTPStatus
from math import isfinite
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson

from curation.teachers import _load
from schemas.errors import UserError

if TYPE_CHECKING:
    import aiohttp

PROBE_SECONDS = 10.0
LONGEST_RETRY_AFTER = 86_400.0
CEILING_SECONDS = 60.0  # how long a server that died gets half of what it had
MOST_FAILURES = 3  # in a row, until nothing more is sent
_OVERLOADED = 529  # not in HTTPStatus; several gateways use it
_SERVER_FAULTS = {408, 409, 425, _OVERLOADED, *range(500, 512), *range(520, 528)}
_SHA = re.compile(r"/snapshots/([0-9a-f]{40})(?:/|$)")


class State(Enum):
    """Whether requests may be sent."""

    UP = auto()
    TRIAL = auto()
    DOWN = auto()


class UnavailableError(Exception):
    """The server could not answer; that says nothing about the request.

    `is_refused`: nobody listens there.
    """

    def __init__(self, cause: str, *, is_refused: bool = False) -> None:
        super().__init__(cause)
        self.is_refused = is_refused


class BusyError(Exception):
    """The server asks to be left alone for `seconds` (429)."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many requests; wait {seconds:g} s")
        self.seconds = seconds


class RejectedError(Exception):
    """The server understood the request and will not have it (4xx); asking again is no use."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Endpoint:
    """A server at `url` (".../v1"); `limit` bounds the samples in flight, None: found by itself."""

    def __init__(self, url: str, session: "aiohttp.ClientSession", limit: int | None) -> None:
        self.url = url
        self._session = session
        self._root = url.removesuffix("/v1")
        self._set_by_hand = limit
        self._limit = limit or _load.START
        self._ceiling: tuple[int, float] | None = None  # and since when
        self._had = 0  # samples in flight when it went down; 0 once that is settled
        self.state = State.DOWN
        self.cause = "not asked yet"
        self.has_been_up = False
        self.down_since = self.last_success = time.monotonic()
        self.paused_until = 0.0
        self.in_flight = 0
        self.is_vllm = False
        self.has_metrics = True
        self._is_tried = False  # the request on trial has been sent
        self._failures = 0
        self.changed = asyncio.Event()

    @property
    def limit(self) -> int:
        """Samples that may be in flight now."""
        return min(self._limit, self._ceiling[0]) if self._ceiling else self._limit

    def room(self) -> float:
        """The free share of the limit, in (0, 1]; 0 where nothing may be sent."""
        if self.state is State.TRIAL:
            return 0.0 if self._is_tried else 0.01  # after every endpoint that is up
        if self.state is State.DOWN or time.monotonic() < self.paused_until:
            return 0.0
        return max(0.0, 1 - self.in_flight / self.limit)

    async def post(self, path: str, body: bytes) -> bytes:
        """The reply to one request; UnavailableError, BusyError or RejectedError else."""
        import aiohttp

        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                self.url + path, data=body, headers=headers, allow_redirects=False
            ) as reply:
                content = await reply.read()
        except aiohttp.ClientConnectorError as error:
            raise UnavailableError(_reason(error), is_refused=True) from None
        except TimeoutError:
            raise UnavailableError("no answer within teacher.timeout_seconds") from None
        except (aiohttp.ClientError, OSError) as error:
            raise UnavailableError(_reason(error)) from None
        if reply.status == HTTPStatus.OK:
            return content
        message = _message(content) or reply.reason or "no reason given"
        if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise BusyError(_retry_after(reply.headers.get("Retry-After")))
        if reply.status in _SERVER_FAULTS:
            raise UnavailableError(f"HTTP {reply.status}: {message}")
        raise RejectedError(reply.status, message)

    def succeed(self) -> None:
        """An answer came."""
        self.last_success = time.monotonic()
        self._failures = 0
        if self.state is State.TRIAL:
            self.up()

    def fail(self, error: Exception) -> None:
        """No answer came; too many of these and nothing more is sent."""
        cause = error if isinstance(error, UnavailableError) else UnavailableError(str(error))
        self._failures += 1
        if self.state is State.DOWN:
            return
        if cause.is_refused or self.state is State.TRIAL or self._failures >= MOST_FAILURES:
            if self.state is State.UP:
                self.down_since = time.monotonic()
                self._had = max(1, min(self.limit, self.in_flight))
            if cause.is_refused:
                self._die()
            self.state, self.cause = State.DOWN, str(cause)
            self.changed.set()

    def begin(self, samples: int) -> None:
        """A request for so many samples is sent."""
        self.in_flight += samples
        self._is_tried = True

    def try_out(self) -> None:
        """The server says that it is well again: the next request will show."""
        self.state, self._is_tried = State.TRIAL, False

    def up(self) -> None:
        """The server is well."""
        self.state, self.has_been_up, self._failures, self._had = State.UP, True, 0, 0
        if self._ceiling:  # a large model takes minutes to start: they are not its minute
            self._ceiling = (self._ceiling[0], time.monotonic())
        self.changed.set()

    def _die(self) -> None:
        """The server is gone, not only ill: perhaps of what it held, so it gets half of that."""
        if self._had:
            self._ceiling = (max(1, self._had // 2), time.monotonic())
            self._had = 0

    async def probe(self, model: str, revision: str) -> str | None:
        """Why the server is not well, None where it is; UserError if it serves another model."""
        for path in (f"{self._root}/health", f"{self.url}/models"):
            try:
                status, content = await self._get(path)
            except UnavailableError as error:
                if error.is_refused:  # vLLM answers 500 when its engine dies, and then is gone
                    self._die()
                return str(error)
            if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise UserError(
                    f"teacher.endpoints: {path} answers {status}: "
                    f"set teacher.api_key_env to the name of a variable that holds a key"
                )
            has_route = status not in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
            if has_route and status != HTTPStatus.OK:
                return f"HTTP {status} from {path}"
            if has_route and path.endswith("/models"):
                self._check(content, model, revision)
        return None

    async def measure(self) -> None:
        """Find the limit for the next second from the server's metrics, unless set by hand."""
        if self._ceiling and time.monotonic() - self._ceiling[1] > CEILING_SECONDS:
            doubled = self._ceiling[0] * 2
            self._ceiling = (doubled, time.monotonic()) if doubled < self._limit else None
        if self._set_by_hand is not None:
            return
        try:
            status, content = await self._get(f"{self._root}/metrics")
        except UnavailableError:
            return
        load = _load.parse(content.decode("utf-8", "replace")) if status == HTTPStatus.OK else None
        self.has_metrics = load is not None
        if load is not None:
            self._limit = _load.next_limit(self._limit, self.in_flight, load)

    async def _get(self, url: str) -> tuple[int, bytes]:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
        try:
            async with self._session.get(url, timeout=timeout, allow_redirects=False) as reply:
                return reply.status, await reply.read()
        except aiohttp.ClientConnectorError as error:
            raise UnavailableError(_reason(error), is_refused=True) from None
        except TimeoutError:
            raise UnavailableError(f"{url} does not answer") from None
        except (aiohttp.ClientError, OSError) as error:
            raise UnavailableError(_reason(error)) from None

    def _check(self, content: bytes, model: str, revision: str) -> None:
        try:
            data = orjson.loads(content)
            served = {one["id"]: one for one in data["data"]}
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return  # not everybody lists models; a wrong one is refused by the first request
        if model not in served:
            names = ", ".join(repr(name) for name in sorted(map(str, served))) or "no model"
            raise UserError(f"teacher.model: {self.url} serves {names}, not {model!r}")
        card = served[model]
        self.is_vllm = card.get("owned_by") == "vllm"
        found = _SHA.search(str(card.get("root") or ""))
        stated = str(card.get("revision") or (found.group(1) if found else ""))
        if revision and stated and not stated.startswith(revision):
            raise UserError(
                f"teacher.revision: {self.url} serves revision {stated}, not {revision}"
            )


def address(endpoint: str) -> str:
    """An endpoint's base address, ".../v1" where no path is given; UserError if it is none."""
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or parts.username:
        raise UserError(
            f"teacher.endpoints: {endpoint!r} is no address such as http://localhost:8000/v1"
        )
    return endpoint.rstrip("/") + ("" if parts.path.strip("/") else "/v1")


def _message(content: bytes) -> str:
    """What an error reply says, in one line."""
    try:
        data = orjson.loads(content)
        inner = data.get("error", data)
        found = inner.get("message", inner) if isinstance(inner, dict) else inner
        text = found if isinstance(found, str) else str(data.get("detail", found))
    except (orjson.JSONDecodeError, AttributeError):
        text = content.decode("utf-8", "replace")
    return " ".join(text.split())[:300]


def _retry_after(header: str | None) -> float:
    """Seconds of a Retry-After header: a number or a date; one second where it is neither."""
    if header is None:
        return 1.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, TypeError):
            return 1.0
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER) if isfinite(seconds) else 1.0


def _reason(error: Exception) -> str:
    """Why there is no connection, in a few words."""
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"cannot find the host {error.host}"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return os.strerror(number).lower() if number else str(error)
    return str(error) or type(error).__name__
