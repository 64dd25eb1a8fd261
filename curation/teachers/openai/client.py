"""HTTP to one OpenAI-compatible server: request bodies in, replies or classified errors out.

Redirects are not followed and no proxy is used: only the named server gets a request.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple
from urllib.parse import urlsplit

import orjson

from curation.teachers.openai.reply_body import MB, ReplyMemory, TooLargeError, read, read_start
from support.display.text import one_line
from support.errors import PolytraceError, ShortError, UserError
from support.files import is_disk_fault
from support.redact import hide_secrets, public_address
from support.retry import retry_after

if TYPE_CHECKING:
    import aiohttp

PROBE_SECONDS = 10.0
LONGEST_RETRY_AFTER = 86_400.0
MOST_PAGE = 16 * MB  # metrics of vLLM take about one
DEEPEST = 100  # levels of JSON that an error is shown with
MOST_ERROR = 65_536  # bytes of a page that says what is wrong; the rest is not read
PROMPT_FAULTS = (400, 413, 422)  # of a request: perhaps it is the prompt that is refused
_CONTEXT = (
    "context length",
    "context size",
    "context_length",
    "maximum model length",
    "max_model_len",
    "too long",
)
_OVERLOADED = 529  # not in HTTPStatus; several gateways use it
SERVER_FAULTS = {408, 409, 425, _OVERLOADED, 500, *range(502, 512), *range(520, 528)}


class UnavailableError(Exception):
    """The server could not answer; that says nothing about the request.

    `is_refused`: no server listens there; `is_timeout`: the answer took too long. `reason` is that
    of a sample which is given up for it.
    """

    def __init__(
        self,
        cause: str,
        *,
        is_refused: bool = False,
        is_timeout: bool = False,
        reason: str = "server_error",
    ) -> None:
        super().__init__(cause)
        self.is_refused = is_refused
        self.is_timeout = is_timeout
        self.reason = reason


class BusyError(Exception):
    """The server asks to be left alone for `seconds` (429)."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many requests; wait {seconds:g} s")
        self.seconds = seconds


class RejectedError(Exception):
    """The server refuses this very request; sending it again cannot help."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Connection(NamedTuple):
    """A session and the base address, ".../v1"; `memory` is what its long replies share."""

    session: "aiohttp.ClientSession"
    url: str
    key: str | None = None
    memory: ReplyMemory | None = None

    def hide(self, text: str) -> str:
        """A text of the server's without the key, which it may repeat."""
        return hide_secrets(text, self.key)

    def clean(self, text: str) -> str:
        """A text of the server's as a part of a message: one line without the key, cut."""
        return one_line(self.hide(text))[:300]  # hidden first, or a part of it might be left

    def _reason(self, error: Exception) -> str:
        return self.clean(_reason(error))

    @property
    def root(self) -> str:
        """The address of what lies beside the API: /health, /metrics."""
        return self.url.removesuffix("/v1")

    @contextmanager
    def _explained(self, late: str) -> Iterator[None]:
        """Errors of the connection as UnavailableError; `late` describes a timeout."""
        import aiohttp

        try:
            yield
        except aiohttp.ClientConnectorError as error:
            # Where this process has run out of files, a server may well listen there.
            is_refused = error.os_error.errno not in (errno.EMFILE, errno.ENFILE)
            raise UnavailableError(self._reason(error), is_refused=is_refused) from None
        except TimeoutError:
            raise UnavailableError(late, is_timeout=True) from None
        except TooLargeError as error:
            raise UnavailableError(str(error), reason="reply_too_large") from None
        except (aiohttp.ClientError, OSError) as error:
            if is_disk_fault(error):  # a download that does not fit says nothing of the server
                raise
            raise UnavailableError(self._reason(error)) from None

    async def post(
        self, path: str, body: "bytes | aiohttp.FormData", most: int = MOST_PAGE
    ) -> bytes:
        """The reply to one request; UnavailableError, BusyError or RejectedError else.

        One that is longer than `most` bytes is an UnavailableError.
        """
        headers = {"Content-Type": "application/json"} if isinstance(body, bytes) else {}
        with self._explained("no answer within teacher.timeout_seconds"):
            async with self.session.post(
                self.url + path, data=body, headers=headers, allow_redirects=False
            ) as reply:
                if reply.status == HTTPStatus.OK:
                    return await read(reply, most, self.memory)
                content = await read_start(reply, MOST_ERROR)
        raise self._error(reply, content)

    async def download(self, path: str, file: BinaryIO, most: int = MOST_PAGE) -> None:
        """Write the content of a page to a file; the errors of `post`."""
        import aiohttp

        seconds = self.session.timeout.total  # for each piece: the whole may take hours
        timeout = aiohttp.ClientTimeout(sock_connect=10, sock_read=seconds)
        with self._explained("no answer within teacher.timeout_seconds"):
            async with self.session.get(
                self.url + path, timeout=timeout, allow_redirects=False
            ) as reply:
                if reply.status != HTTPStatus.OK:
                    raise self._error(reply, await read_start(reply, MOST_ERROR))
                async for chunk in reply.content.iter_any():
                    most -= len(chunk)
                    if most < 0:
                        raise TooLargeError(f"{path} is longer than it may be")
                    file.write(chunk)

    def _error(self, reply: "aiohttp.ClientResponse", content: bytes) -> Exception:
        """The error of a reply with another status than 200, which begins with `content`."""
        message = self.clean(error_message(content) or reply.reason or "no reason given")
        if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
            seconds = retry_after(reply.headers.get("Retry-After"))
            bounded = 1.0 if seconds is None else min(max(0.0, seconds), LONGEST_RETRY_AFTER)
            return BusyError(bounded)
        if reply.status in SERVER_FAULTS or reply.status < HTTPStatus.MULTIPLE_CHOICES:
            return UnavailableError(f"HTTP {reply.status}: {message}")
        return RejectedError(reply.status, message)

    async def get(self, url: str) -> tuple[int, bytes]:
        """Status and content of a page; UnavailableError where there is no answer."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
        with self._explained(f"{url} does not answer"):
            async with self.session.get(url, timeout=timeout, allow_redirects=False) as reply:
                content = await read(reply, MOST_PAGE)
        return reply.status, content


def address(endpoint: str) -> str:
    """An endpoint's base address, ".../v1" where no path is given; UserError if it is none."""
    if "@" in endpoint:
        raise UserError("teacher.endpoints: an address holds no name or key; see api_key_env")
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port, (parts.hostname or "").encode("idna")
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or any(c.isspace() for c in endpoint):
        raise UserError(
            f"teacher.endpoints: {public_address(endpoint)!r} is no address such as http://localhost:8000/v1"
        )
    return endpoint.rstrip("/") + ("" if parts.path.strip("/") else "/v1")


def error_message(content: bytes) -> str:
    """What an error reply says."""
    try:
        return message_of(orjson.loads(content))
    except orjson.JSONDecodeError:
        return "" if content.lstrip().startswith(b"<") else content.decode("utf-8", "replace")


def message_of(data: Any) -> str:
    """What the JSON of an error reply says."""
    if not isinstance(data, dict):
        return _shown(data)
    inner = data.get("error", data)
    message = inner.get("message", inner) if isinstance(inner, dict) else inner
    return message if isinstance(message, str) else _shown(data.get("detail", message))


def _shown(data: Any) -> str:
    return "an error whose JSON is nested too deep" if _is_deep(data) else str(data)


def _is_deep(data: Any) -> bool:
    """Whether JSON is nested deeper than `DEEPEST`: some versions of Python could not show it."""
    level = [data] if isinstance(data, dict | list) else []
    for _ in range(DEEPEST):
        values = (one.values() if isinstance(one, dict) else one for one in level)
        level = [one for held in values for one in held if isinstance(one, dict | list)]
        if not level:
            return False
    return True


def _reason(error: Exception) -> str:
    """Why there is no connection, in a few words."""
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"cannot find the host {error.host}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return f"its certificate is not accepted: {error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return os.strerror(number).lower() if number else str(error)
    return str(error) or type(error).__name__


def is_too_long(status: int, message: str) -> bool:
    """Whether a refusal says that the prompt does not fit the model's context."""
    says_so = any(words in message.lower() for words in _CONTEXT)
    return says_so or status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def ending(status: int, message: str) -> PolytraceError:
    """The error that ends the run because the reply would be the same for every prompt."""
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return UserError(f"teacher.api_key_env: {message}; name a variable with a key")
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        return UserError(f"teacher.endpoints, teacher.model or teacher.api: {message}")
    if status < HTTPStatus.BAD_REQUEST:
        return UserError(f"teacher.endpoints: {message}; name the address that it sends to")
    return ShortError(
        f"teacher.endpoints: {message}; everything that came is kept; mend that and run the "
        f"same command again"
    )
