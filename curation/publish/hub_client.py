"""The Hub's client: its settings, and its errors as one sentence that says what to do.

No token, signature or address of a storage server reaches a message or the log.
"""

import json
import logging
import os
import re
from typing import TYPE_CHECKING

from support.errors import PolytraceError, StoppedError, UserError
from support.redact import clean
from support.retry import GOES_ON, retry_after

if TYPE_CHECKING:
    import httpx2

SILENCE = 120.0  # seconds without a byte after which a connection counts as cut
LONGEST = 330  # seconds that a hub may ask to wait: its windows last 300
# Scheme, host, port and path: no user, no query, and nothing that looks like a token.
_ENDPOINT = re.compile(
    r"(?!.*hf_\w{8})https?://([\w.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?(/[\w.~%-]+)*", re.IGNORECASE
)
_BUSY = "another change was made there at the same time"
_DOWN = "the hub is out of order"
_PASSING = dict.fromkeys((408, 500, 502, 503, 504), _DOWN) | {
    409: _BUSY,
    412: _BUSY,
    429: "the hub asks to slow down",
}


def endpoint() -> str:
    """`HF_ENDPOINT`, as `huggingface_hub` reads it; UserError if it carries a secret."""
    url = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    if not _ENDPOINT.fullmatch(url):
        raise UserError(
            "HF_ENDPOINT carries credentials, a signature or a query, or is no address; write "
            "https://HOST alone, and the token in HF_TOKEN"
        )
    return url


def find_token(token: str | None) -> str | None:
    """`token`, or else the one that the client finds; None where there is none."""
    from huggingface_hub import get_token

    try:
        token = token or get_token()
    except Exception as error:  # of the exchange or the refresh of tokens; may quote them
        raise UserError(
            f"no token for the Hub could be had ({type(error).__name__}); set HF_TOKEN"
        ) from None
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise UserError("HF_TOKEN holds characters that no token has; set it again")
    return token


def configure() -> None:
    """Set time-outs, and keep secrets out of the client's log; UserError where it is offline."""
    from huggingface_hub import constants, set_client_factory

    if constants.is_offline_mode():
        raise UserError("HF_HUB_OFFLINE is set: unset it to publish")
    set_client_factory(_client)
    for handler in logging.getLogger("huggingface_hub").handlers:
        handler.addFilter(_without_secrets)


def _client() -> "httpx2.Client":
    """A connection that ends when the hub falls silent, or wants us to wait too long."""
    import httpx2

    return httpx2.Client(
        follow_redirects=True, timeout=SILENCE, event_hooks={"response": [_check_wait]}
    )


def _check_wait(response: "httpx2.Response") -> None:
    """StoppedError where the hub asks to wait longer than LONGEST."""
    seconds = _seconds(response) if response.status_code in (429, 503) else None
    if seconds is not None and seconds > LONGEST:
        raise StoppedError(
            f"the hub asks to wait {seconds:.0f} s ({response.status_code}); the same command goes "
            "on after that"
        )


def _without_secrets(record: logging.LogRecord) -> bool:
    """A filter of the log that removes secrets, such as the signed queries of addresses."""
    record.msg, record.args = clean(record.getMessage(), most=1000), ()
    return True


def as_our_error(error: Exception, repo: str, token: str | bool | None) -> PolytraceError:
    """An error of the client as one of ours; a StoppedError where another attempt may succeed."""
    import httpx2
    from huggingface_hub.errors import HFValidationError

    error = _root(error)
    if isinstance(error, PolytraceError):
        return error
    secrets = [token] if isinstance(token, str) else []
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        message = clean(getattr(error, "server_message", None) or "", *secrets)
        return _of_status(status, repo, f" ({status}{': ' + message if message else ''})")
    if isinstance(error, HFValidationError):
        return UserError(f"--repo {repo}: {clean(error, *secrets)}")
    cause = f"{type(error).__name__}: {clean(error, *secrets)}"
    cuts = (httpx2.TransportError, ConnectionError, TimeoutError, json.JSONDecodeError)
    if isinstance(error, cuts):
        return StoppedError(
            f"{repo}: the hub cannot be reached, or cut the connection ({cause}){GOES_ON}"
        )
    if type(error).__module__.startswith("hf_xet") or isinstance(error, RuntimeError):
        return StoppedError(
            f"{repo}: the upload failed ({cause}); the same command goes on, without Xet storage "
            "if HF_HUB_DISABLE_XET=1 is set"
        )
    return PolytraceError(f"{repo}: the Hub's client failed ({cause})")


def _of_status(status: int, repo: str, detail: str) -> PolytraceError:
    if status in _PASSING:
        return StoppedError(f"{repo}: {_PASSING[status]}{detail}{GOES_ON}")
    reason = {
        401: "the hub wants a valid token; set HF_TOKEN",
        403: f"the token lacks the right to write to {repo.partition('/')[0]}; set HF_TOKEN to one "
        "that has it, or choose another --repo",
        404: "the hub has no such repository or organisation, or hides it from this token; check "
        "--repo and HF_TOKEN",
    }.get(status, "the hub refuses")
    return UserError(f"{repo}: {reason}{detail}")


def requested_wait(error: Exception) -> float | None:
    """Seconds that the hub asks to wait; None where it asks for no wait."""
    response = getattr(_root(error), "response", None)
    return None if response is None else _seconds(response)


def _seconds(response: "httpx2.Response") -> float | None:
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    limit = parse_ratelimit_headers(response.headers)
    if response.status_code == 429 and limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    return retry_after(response.headers.get("Retry-After"))


def _root(error: Exception) -> Exception:
    """The client wraps what a thread raised in a bare RuntimeError."""
    while type(error) is RuntimeError and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error
