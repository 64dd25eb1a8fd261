"""Replace a run's release by a new one; after a kill at any moment, one of the two is there."""

import shutil
from pathlib import Path

from schemas.manifest import RELEASE_FOLDER

_REPLACED = "release.old"  # the former release, during a swap


def put_in_place(run: Path, fresh: Path) -> None:
    """Put the fresh release in place; the former one is kept under its build id.

    Both are renamed before anything is deleted, so that a kill in between loses no released file.
    """
    current, old = run / RELEASE_FOLDER, run / _REPLACED
    if current.exists():
        names = [path.name for path in (current / "data").glob("*.parquet")]
        # A release without files, or whose files are all in the fresh one, need not be kept.
        is_kept = any(not (fresh / "data" / name).exists() for name in names)
        former = run / f"release.{names[0].split('-')[1]}" if is_kept else old
        shutil.rmtree(former, ignore_errors=True)
        current.rename(former)
    fresh.rename(current)
    shutil.rmtree(old, ignore_errors=True)


def restore(run: Path) -> None:
    """Undo a swap that was killed half-way."""
    current, old = run / RELEASE_FOLDER, run / _REPLACED
    if old.exists() and not current.exists():
        old.rename(current)
    shutil.rmtree(old, ignore_errors=True)
