"""Files that are there as a whole, or as they were before: write aside, sync, rename, sync.

In: a text, or a finished file under a temporary name. Out: the file in its place, on the disk.
"""

import os
from pathlib import Path


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
