"""Atomic and durable files: written beside their place, synced, renamed, and synced again.

Also the hash of a file, and the lock that keeps two commands from one run directory.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal, Protocol

from support.errors import UserError

PART = ".part"
"""The end of a name under which a file or a folder is written before it is whole."""

PRIVATE = 0o600
"""The mode of files that may hold what a server said, raw: their owner reads them, and no other."""

MOST_JSON = 128 * 10**6  # bytes; the index of a model with 100,000 tensors has ten million
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/")  # a Path has but one of its slashes
_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def is_disk_fault(error: BaseException) -> bool:
    """Whether a disk is full, over its quota, read-only or broken: only the user can mend that."""
    return isinstance(error, OSError) and error.errno in _DISK_FAULTS


def read_json(file: Path, most: int = MOST_JSON) -> Any:
    """The JSON of a file that others wrote.

    Raises OSError where it cannot be read; ValueError where it is no JSON, is nested too deep, or
    holds more than `most` bytes.
    """
    with file.open("rb") as opened:
        data = opened.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it holds more than {most:,} bytes")
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("its JSON is nested too deep") from None


@contextmanager
def atomic_write(path: Path, *, durable: bool = True, alone: bool = True) -> Iterator[Path]:
    """Yields a path beside `path`; the file written there replaces `path` when the block ends.

    It is synced before it is renamed, unless it need not be `durable`: then a power cut may leave a
    damaged file. Where the block raises, or the disk fails, it is deleted and `path` stays as it
    was. `alone=False` where several processes may write the same file at once: the last one counts.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ("" if alone else f".{os.urandom(8).hex()}") + PART)
    part.unlink(missing_ok=True)  # a link there would be written through
    try:
        yield part
        if durable:
            fsync(part)
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    if durable:
        fsync(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """As `atomic_write`, for a folder of files: yields an empty folder that replaces `path`."""
    part = path.with_name(path.name + PART)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        replace_folder(part, path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def replace_folder(part: Path, path: Path) -> None:
    """Make a finished folder of files durable, and replace `path` by it."""
    for file in part.iterdir():
        fsync(file)
    fsync(part)
    if path.exists():
        shutil.rmtree(path)
    part.rename(path)
    fsync(path.parent)


def replace_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a small text file atomically; `durable` as for `atomic_write`."""
    with atomic_write(path, durable=durable) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def fsync(path: Path) -> None:
    """Make the bytes of a file, or the new and renamed entries of a folder, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def private(path: str, flags: int) -> int:
    """An `opener` for `open`: a new file is readable by its owner alone from the first on."""
    return os.open(path, flags, PRIVATE)


class Openable(Protocol):
    """A `Path`, or an object that is opened in the same way."""

    def open(self, mode: Literal["rb"], /) -> BufferedReader:
        """The file's bytes."""


def sha256(file: Openable) -> str:
    """The hash of a file in hex digits, read in pieces."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def refuse_links(run: Path) -> None:
    """UserError where a run directory holds a link to a file outside of it, existing or not.

    Such a link, in a run from elsewhere, would have us write outside. Links to folders are allowed:
    that is how a stage is kept on another disk.
    """
    home = Path(os.path.realpath(run))
    for folder, _, files in os.walk(run):
        for name in files:
            path = Path(folder, name)
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(home):
                raise UserError(f"{path}: is a link to a file outside of {run}; remove the link")


@contextmanager
def lock(run: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the run directory; UserError if another command holds it. Ends with the process.

    Several `shared` holders may be at work there together, and nobody else beside them.
    UserError also where a link in it would have us write a file outside.
    """
    if _URL.match(str(run)):
        raise UserError(
            f"{run}: is a URL; a run directory lies on a file system of this machine, and its "
            "release goes elsewhere with polytrace publish RUN --to URL"
        )
    try:
        run.mkdir(parents=True, exist_ok=True)
        refuse_links(run)
        file = (run / ".lock").open("w+")  # NFS shares a lock only of a file that may be read
    except OSError as error:
        raise UserError(
            f"{run}: cannot write there ({error.strerror}); choose another --out"
        ) from None
    with file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{run}: another command is at work there; wait for it or choose another --out"
            ) from None
        except OSError as error:
            raise UserError(
                f"{run}: its file system has no locks ({error.strerror}), so another command could "
                "be at work there unseen; choose another --out, or mount it with locks (flock)"
            ) from None
        yield
