"""The Hub's own client, made patient and discreet: what it raises becomes one line of ours.

In: a repo id, and the environment (`HF_ENDPOINT`; the token, unless given, from where
`huggingface_hub` reads it). Out: calls that were tried again while that could help, or an error
that says what to do. No token, signature or address of a storage server reaches a message or the
log.
"""

import json
import logging
import os
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from support.errors import PolytraceError, StoppedError, UserError
from support.redact import hidden
from support.text import one_line

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub import HfApi

WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before a call is tried again
LONGEST = 330  # seconds that a hub may ask to wait: its windows last 300
SILENCE = 120.0  # seconds without a byte after which a connection counts as cut
PASSING = {408, 409, 412, 429, 500, 502, 503, 504}  # 409 and 412: somebody else was at work there

_GOES_ON = "; the same command goes on"
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_SECRET = re.compile(r"token=|signature=|credential=|password=|hf_\w{8}", re.IGNORECASE)
_QUERY = re.compile(r"\?[^\s'\"<>]*")
Answer = TypeVar("Answer")
Say = Callable[[str], None]


class HubClient:
    """`api` for one dataset, and `patiently` to call it; UserError if nothing can come of it."""

    def __init__(
        self, repo: str, say: Say, *, token: str | None = None, anonymous: bool = False
    ) -> None:
        """`token`: instead of the environment's; `anonymous`: go on without one."""
        if not _REPO.fullmatch(repo):
            raise UserError(f"--repo {one_line(repo)!r}: not a dataset's id; write ORG/NAME")
        self.repo, self.organisation = repo, repo.partition("/")[0]
        self.endpoint = endpoint()
        self._say = say
        self._token = _token(token)
        if self._token is None and not anonymous:
            raise UserError(
                "no token for the Hub: set HF_TOKEN to one that may write to "
                f"{self.organisation} ({self.endpoint}/settings/tokens)"
            )
        self.api = self._api()

    def _api(self) -> "HfApi":
        from huggingface_hub import HfApi, constants, set_client_factory

        if constants.is_offline_mode():
            raise UserError("HF_HUB_OFFLINE is set: unset it to publish")
        set_client_factory(_client)
        for handler in logging.getLogger("huggingface_hub").handlers:
            handler.addFilter(_without_query)
        return HfApi(endpoint=self.endpoint, token=self._token or False, library_name="polytrace")

    def patiently(self, attempt: Callable[[], Answer]) -> Answer:
        """What `attempt` gives. It is called again while faults pass; it must bear that."""
        for wait in (*WAITS, None):
            try:
                return attempt()
            except PolytraceError:
                raise
            except Exception as error:  # the client raises dozens of kinds
                told = self.told(error)
                if wait is None or not _passes(error):
                    raise told from None
                seconds = max(wait, float(_asked(error) or 0))
                self._say(f"{str(told).removesuffix(_GOES_ON)}; trying again in {seconds:.0f} s")
                time.sleep(seconds)
        raise AssertionError("unreachable")

    def without_xet_where_unknown(self) -> None:
        """Xet storage is the client's way wherever `hf_xet` is installed; not every hub has it."""
        from huggingface_hub import constants, get_session
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        url = f"{self.endpoint}/api/datasets/{self.repo}/xet-write-token/main"
        if not constants.HF_HUB_DISABLE_XET:
            answer = get_session().get(url, headers=build_hf_headers(token=self._token))
            constants.HF_HUB_DISABLE_XET = answer.status_code == 404

    def told(self, error: Exception) -> PolytraceError:
        """An error of the client as one of ours."""
        error = _root(error)
        if isinstance(error, PolytraceError):
            return error
        status = _status(error)
        if status is None:
            return self._without_status(error)
        said = self.clean(getattr(error, "server_message", None) or "")
        because = f" ({status}{': ' + said if said else ''})"
        if status in PASSING:
            about = {
                409: "another change was made there at the same time",
                412: "another change was made there at the same time",
                429: "the hub asks to slow down",
            }.get(status, "the hub is out of order")
            return StoppedError(f"{self.repo}: {about}{because}{_GOES_ON}")
        about = {
            401: "the hub wants a valid token; set HF_TOKEN",
            403: f"the token lacks the right to write to {self.organisation}; set HF_TOKEN to one "
            "that has it, or choose another --repo",
            404: "the hub has no such dataset or organisation, or hides it from this token; check "
            "--repo and HF_TOKEN",
        }.get(status, "the hub refuses")
        return UserError(f"{self.repo}: {about}{because}")

    def _without_status(self, error: Exception) -> PolytraceError:
        from huggingface_hub.errors import HFValidationError

        what = f"{type(error).__name__}: {self.clean(error)}"
        if isinstance(error, HFValidationError):
            return UserError(f"--repo {self.repo}: {self.clean(error)}")
        if _is_cut(error):
            return StoppedError(
                f"{self.repo}: the hub cannot be reached, or cut the connection ({what}){_GOES_ON}"
            )
        if type(error).__module__.startswith("hf_xet") or isinstance(error, RuntimeError):
            return StoppedError(
                f"{self.repo}: the upload failed ({what}); the same command goes on, without Xet "
                "storage if HF_HUB_DISABLE_XET=1 is set"
            )
        return PolytraceError(f"{self.repo}: the Hub's client failed ({what})")

    def clean(self, said: object) -> str:
        """A short line of foreign text without the token and without queries of addresses."""
        text = hidden(str(said), [self._token])
        return one_line(_QUERY.sub("?…", text))[:200]


def endpoint() -> str:
    """`HF_ENDPOINT`, as `huggingface_hub` reads it; UserError if it carries a secret."""
    url = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise UserError("HF_ENDPOINT: not an address; write https://HOST") from None
    if "@" in url or "?" in url or "#" in url or _SECRET.search(url):
        raise UserError(
            "HF_ENDPOINT carries credentials, a signature or a query; write https://HOST alone, "
            "and the token in HF_TOKEN"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or one_line(url) != url:
        raise UserError("HF_ENDPOINT: not an address; write https://HOST")
    return url


def _token(given: str | None) -> str | None:
    from huggingface_hub import get_token

    try:
        token = given or get_token()
    except Exception as error:  # of the exchange or the refresh of tokens; may quote them
        raise UserError(
            f"no token for the Hub could be had ({type(error).__name__}); set HF_TOKEN"
        ) from None
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise UserError("HF_TOKEN holds characters that no token has; set it again")
    return token


def _client() -> "httpx2.Client":
    """A connection that ends when the hub falls silent, or wants us to wait too long."""
    import httpx2

    return httpx2.Client(
        follow_redirects=True, timeout=SILENCE, event_hooks={"response": [_check_wait]}
    )


def _check_wait(response: "httpx2.Response") -> None:
    seconds = _seconds(response) if response.status_code in (429, 503) else None
    if seconds is not None and seconds > LONGEST:
        raise StoppedError(
            f"the hub asks to wait {seconds} s ({response.status_code}); the same command goes on "
            "after that"
        )


def _seconds(response: "httpx2.Response") -> int | None:
    """How long a hub asks to wait."""
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    limit = parse_ratelimit_headers(response.headers)
    if response.status_code == 429 and limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds
    after = response.headers.get("Retry-After", "").strip()
    return int(after) if after.isdecimal() and after.isascii() else None


def _asked(error: Exception) -> int | None:
    response = getattr(_root(error), "response", None)
    return None if response is None else _seconds(response)


def _status(error: Exception) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _passes(error: Exception) -> bool:
    error = _root(error)
    return _status(error) in PASSING or _is_cut(error)


def _is_cut(error: Exception) -> bool:
    import httpx2

    kinds = (httpx2.TransportError, ConnectionError, TimeoutError, json.JSONDecodeError)
    return _status(error) is None and isinstance(error, kinds)


def _root(error: Exception) -> Exception:
    """The client wraps what a thread raised in a bare RuntimeError."""
    while type(error) is RuntimeError and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _without_query(record: logging.LogRecord) -> bool:
    """Addresses of storage servers are signed in their query: it is not logged."""
    record.msg, record.args = _QUERY.sub("?…", record.getMessage()), ()
    return True
