"""Files that are there as a whole, or as they were before: write aside, sync, rename, sync.

In: a text, or a finished file under a temporary name. Out: the file in its place, on the disk.
Also the lock that keeps two commands from one run directory.
"""

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.errors import UserError

_URL = re.compile(r"[a-z][a-z0-9+.-]+:/")  # a Path has but one of its slashes
_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def is_disk_fault(error: BaseException) -> bool:
    """Whether a disk is full, over its quota, read-only or broken: what the user alone can mend."""
    return isinstance(error, OSError) and error.errno in _DISK_FAULTS


def replace_text(path: Path, text: str) -> None:
    """Write a small text file atomically and durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)  # a link there would be written through
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


def refuse_links(run: Path) -> None:
    """UserError where a run directory holds a link to a file, there or not, outside of it.

    A run that came from elsewhere may not have us write there. Links to folders are followed: that
    is how a stage is kept on another disk.
    """
    home = Path(os.path.realpath(run))
    for folder, _, files in os.walk(run):
        for name in files:
            path = Path(folder, name)
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(home):
                raise UserError(f"{path}: is a link to a file outside of {run}; remove the link")


@contextmanager
def lock(run: Path) -> Iterator[None]:
    """Hold the run directory; UserError if another command holds it. Ends with the process.

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
