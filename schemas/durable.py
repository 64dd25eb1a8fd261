"""Files that are there as a whole, or as they were before: write aside, sync, rename, sync.

In: a text, or a finished file under a temporary name. Out: the file in its place, on the disk.
Also the lock that keeps two commands from one run directory.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import UserError

_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def is_disk_fault(error: BaseException) -> bool:
    """Whether a disk is full, over its quota, read-only or broken: what the user alone can mend."""
    return isinstance(error, OSError) and error.errno in _DISK_FAULTS


def replace_text(path: Path, text: str) -> None:
    """Write a small text file atomically and durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="\n")
    commit(part, path)


def commit(part: Path, path: Path) -> None:
    """Make `part` durable, rename it to `path`, make the rename durable."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make new and renamed entries of a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def lock(run: Path) -> Iterator[None]:
    """Hold the run directory; UserError if another command holds it. Ends with the process."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        file = (run / ".lock").open("w")
    except OSError as error:
        raise UserError(
            f"{run}: cannot write there ({error.strerror}); choose another --out"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{run}: another command is at work there; wait for it or choose another --out"
            ) from None
        yield
