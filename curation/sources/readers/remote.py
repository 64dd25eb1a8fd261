"""Data behind URLs such as `s3://bucket/key`, by fsspec.

Files are read like local ones, a block at a time; credentials come from the environment alone. A
broken connection is opened again at the byte where it broke; a file that ends early or changes
while it is read is an error. Every fault becomes one sentence.
"""

import errno
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from support.errors import PolytraceError, StoppedError, UserError
from support.redact import CREDENTIALS, clean, public_address
from support.retry import GOES_ON, Answer, Say, retry

BLOCK_BYTES = 4 << 20
"""What one request fetches: all that is held of a file."""

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_FINAL = (errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENAMETOOLONG, errno.EMSGSIZE, errno.ENOENT)
_CLIENTS = ("aiohttp", "asyncio", "botocore", "fsspec", "httpx", "requests", "urllib3")
_CREDENTIAL_WORDS = ("Credential", "Token", "SSO", "ProfileNotFound")  # in names of boto's errors


def is_url(path: str) -> bool:
    """Whether a path is a URL for fsspec, not a path on this machine."""
    return _URL.match(path) is not None


def name_of(url: str) -> str:
    """The last part of a URL's path: no host or bucket, no folder, no query."""
    path = url.partition("?")[0].rstrip("/")
    if is_url(path):
        path = path.partition("://")[2].partition("/")[2]
    return path.rpartition("/")[2] or "data"


def connect(url: str, option: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it; `option` is the URL's field in errors.

    Raises UserError where the URL holds credentials, or where its client is not installed.
    """
    if CREDENTIALS.search(url):
        raise UserError(
            f"{option}: holds a user name, password, key or signature; secrets belong in the "
            f"environment"
        )
    import fsspec

    scheme = url.partition("://")[0].lower()
    try:
        options = {"auto_mkdir": True} if scheme in ("file", "local") else {}
        fs, root = fsspec.url_to_fs(url, **options)
    except ImportError as error:
        is_s3 = scheme in ("s3", "s3a")
        what = 'pip install -e ".[s3]" in the checkout' if is_s3 else clean(error)
        raise UserError(f"{option}: the client of {scheme}:// is not installed: {what}") from None
    except Exception as error:  # each client has its own, for options that the environment sets
        raise UserError(f"{option} {public_address(url)}: cannot be used: {clean(error)}") from None
    fs.invalidate_cache()
    return fs, root.rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file behind a URL, as it was when it was found; it is opened and named like a `Path`.

    `etag` is the storage's identifier of the content, empty where it has none.
    """

    name: str
    url: str
    size: int
    etag: str
    path: str = field(repr=False)
    fs: Any = field(repr=False)

    @property
    def suffix(self) -> str:
        """The end of the name from its last dot."""
        return "." + self.name.rpartition(".")[2] if "." in self.name else ""

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """The bytes from the first on; only to read."""
        assert mode == "rb"
        return io.BufferedReader(_Stream(self), BLOCK_BYTES)


def find(url: str) -> tuple[RemoteFile, ...]:
    """The file at `url`, or all files right in that folder, sorted by name; empty for no files.

    Raises UserError where there is neither, or no way to it.
    """
    fs, root = connect(url, "source path")
    try:
        info = fs.info(root)
        is_file = info["type"] == "file"
        entries = [info] if is_file else fs.ls(root, detail=True)
    except Exception as error:  # of the storage's client
        raise UserError(f"source path {public_address(url)}: {describe_fault(error)}") from None
    folder = url.partition("?")[0].rstrip("/")
    files = [
        RemoteFile(
            name=name_of(entry["name"]),
            url=url if is_file else f"{folder}/{name_of(entry['name'])}",
            size=_size(entry, url),
            etag=etag(entry),
            path=entry["name"],
            fs=fs,
        )
        for entry in entries
        if entry["type"] == "file" and not entry["name"].endswith("/")
    ]
    return tuple(sorted(files, key=lambda file: file.name))


def etag(info: dict[str, Any]) -> str:
    """The ETag in a storage's information about a file; empty where there is none."""
    return str(info.get("ETag") or info.get("etag") or "")


def _size(info: dict[str, Any], url: str) -> int:
    if not isinstance(info.get("size"), int):
        raise UserError(
            f"source path {public_address(url)}: its server does not say how large it is"
        )
    return cast(int, info["size"])


class _Stream(io.RawIOBase):
    """The bytes of a remote file: every fetch checked, and made again from where it broke."""

    def __init__(self, file: RemoteFile) -> None:
        self._file, self._at, self._handle = file, 0, None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._file.size - self._at)
        if wanted <= 0:
            return 0
        data = with_retries(
            lambda: self._fetch(wanted), f"source path {public_address(self._file.url)}"
        )
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _fetch(self, wanted: int) -> bytes:
        handle = self._handle or self._open()
        self._handle = None  # broken, unless this ends well
        handle.seek(self._at)
        data: bytes = handle.read(wanted)
        if not data:
            raise EOFError(f"it ended after {self._at} of {self._file.size} bytes")
        self._handle = handle
        return data

    def _open(self) -> Any:
        """A new handle: on the content that was found, for s3fs asks for it by its ETag."""
        file = self._file
        info = file.fs.info(file.path)
        if (info.get("size"), etag(info)) != (file.size, file.etag):
            raise _changed(file.url)
        return file.fs.open(file.path, "rb", block_size=BLOCK_BYTES, cache_type="none")


def with_retries(attempt: Callable[[], Answer], what: str, say: Say | None = None) -> Answer:
    """The result of `attempt`, which is called again after a temporary fault.

    Raises UserError for what only the user can mend, StoppedError where the same command goes on.
    """

    def as_our_error(error: Exception) -> PolytraceError:
        if type(error).__name__ == "FileExpired":  # of s3fs: the file has another ETag now
            return _changed(what)
        message = f"{what}: {describe_fault(error)}"
        return StoppedError(message + GOES_ON) if _passes(error) else UserError(message)

    return retry(attempt, as_our_error, say=say)


def describe_fault(error: Exception) -> str:
    """An error of a storage's client as part of a sentence: what is wrong, and what to do."""
    name = type(error).__name__
    if isinstance(error, ValueError) and "range requests" in str(error):
        return "its server sends no parts of a file (HTTP Range); fetch it, and give its path here"
    if isinstance(error, FileNotFoundError):
        what = "no such bucket" if code_of(error) == "NoSuchBucket" else "no such file or folder"
        return f"{what}; check the URL, and AWS_ENDPOINT_URL where the server is not Amazon's"
    if isinstance(error, PermissionError) or any(word in name for word in _CREDENTIAL_WORDS):
        return (
            f"access is refused ({clean(error)}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or what else the storage's client reads, to credentials that may do this"
        )
    if _passes(error):
        return f"the storage cannot be reached, or cut the connection ({name}: {clean(error)})"
    return f"the storage's client refuses ({name}: {clean(error)})"


def code_of(error: Exception) -> str:
    """S3's code for a fault, such as NoSuchBucket; empty for an error of another client."""
    response = getattr(error.__cause__ or error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _passes(error: Exception) -> bool:
    """Whether a fault is temporary."""
    status = getattr(error, "status", None)  # of an answer over HTTP
    if any(word in type(error).__name__ for word in _CREDENTIAL_WORDS) or status in range(400, 500):
        return status in (408, 429)
    if isinstance(error, EOFError | ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in _CLIENTS:
        is_final = isinstance(error, PermissionError | FileNotFoundError | FileExistsError)
        return not is_final and error.errno not in _FINAL
    is_wrong = isinstance(error, ValueError) or type(error).__name__.startswith("ParamValidation")
    return type(error).__module__.partition(".")[0] in _CLIENTS and not is_wrong


def _changed(what: str) -> UserError:
    return UserError(f"{what}: changed while it was read; start again when it stands still")
