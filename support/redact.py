"""Remove keys and tokens from foreign text before it is printed or kept.

A server may repeat the header that carried the key, in its own words and encodings.
"""

import base64
import html
import os
import re
import tempfile
import traceback
from collections.abc import Mapping
from urllib.parse import quote, quote_plus, urlsplit, urlunsplit

from support.display.text import one_line

HIDDEN = "***"
CREDENTIALS = re.compile(
    r"://[^/\s@]*@|[?&](?:x-(?:amz|goog)-[a-z-]+|(?:[a-z0-9]+[_-])*(?:api)?(?:signature|sig|token|key"
    r"|secret|password|passwd|pwd|auth|authorization|credentials?))=",
    re.IGNORECASE,
)
"""A user, a password, a key or a signature in an address."""
LEAST = 8  # characters of a variable's value that can be a secret: "EMPTY" is none
UNCLEAR = "(not shown: not a plain address)"
# Scheme; user and password; host, port and path; query. A stray @ may end a password: no match.
_ADDRESS = re.compile(
    r"((?:[a-z][a-z0-9+.-]*://)?)(?:[^/?#]*@)?"
    r"((?:[\w.-]+|\[[0-9a-f:.]+\])(?::\d+)?(?:/[\w/.~%!$&'()*+,;=:-]*)?)(?:[?#][^@]*)?",
    re.IGNORECASE,
)
_NAMES = re.compile(r"(TOKEN|KEY|KEY_ID|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/\s@]*@")
_QUERY = re.compile(r"\?[^\s'\"<>]+")
_ESCAPE = re.compile(r"%[0-9A-F]{2}")


def hide_secrets(text: str, *secrets: str | None) -> str:
    """A text without `secrets` and those of the environment, in whatever form, the longest first.

    They may be plain, escaped, URL-encoded or in base64.
    """
    known = (*environment_secrets(), *secrets)
    forms = {form for secret in known if secret for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return text


def log_fault() -> str:
    """Write the traceback of the exception that is handled into a new file; the file's name."""
    handle, log = tempfile.mkstemp(prefix="polytrace-", suffix=".log")  # a random name
    with open(handle, "w", encoding="utf-8", errors="replace") as file:
        file.write(hide_secrets(traceback.format_exc()))
    return log


def environment_secrets(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Values of the variables that are named as secrets are, such as HF_TOKEN."""
    values = (value.strip() for name, value in environment.items() if _NAMES.search(name))
    return tuple(value for value in values if len(value) >= LEAST)


def clean(message: object, *secrets: str | None, most: int = 200) -> str:
    """Foreign text as one line of at most `most` characters, to be a part of a message.

    It holds no secret of the environment and none of `secrets`, and no user, password or query of
    an address in it: storage servers put signatures into queries.
    """
    text = hide_secrets(str(message), *secrets)
    return one_line(_QUERY.sub("?…", _USER.sub("…@", text)))[:most]


def without_credentials(url: str) -> str:
    """A URL without user, password, query and fragment, all else as it is, to be published.

    `public_address` is for messages, and shows nothing of what it does not understand.
    """
    try:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        return "<withheld>"


def public_address(address: str) -> str:
    """An address without user, password, query and fragment; nothing of one that is unclear."""
    match = _ADDRESS.fullmatch(address)
    return match[1] + match[2] if match else UNCLEAR


def _forms(secret: str) -> set[str]:
    data = secret.encode("utf-8", "surrogatepass")
    quoted = {quote(data, safe=""), quote_plus(data)}
    quoted |= {_ESCAPE.sub(lambda match: match[0].lower(), text) for text in quoted}
    escaped = {secret.replace("/", "\\/"), html.escape(secret), html.escape(secret, quote=False)}
    # Alone, behind "Bearer ", and as the password or the user of a Basic header.
    headers = (data, b"Bearer " + data, b":" + data, data + b":")
    encoded = {base64.b64encode(text).decode() for text in headers}
    return {secret} | quoted | escaped | encoded | {text.rstrip("=") for text in encoded}
