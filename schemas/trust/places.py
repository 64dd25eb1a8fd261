"""Which files an untrusted recipe may name: those below the working directory, and bundled ones."""

import os
from collections.abc import Iterator
from pathlib import Path

from support.errors import UserError
from support.paths import ROOT, locate

_BUNDLED = (ROOT / "tiny", ROOT / "models", ROOT / "flows" / "recipes")


def place_fault(path: str) -> str | None:
    """Why a recipe may not name this path; None if it may.

    Links are followed, and a folder may hold no link that leads out.
    """
    first = next(iter(Path(path).parts), "")  # of `./~/x` too, which readers expand as `~/x`
    if first.startswith("~") or "\0" in path:
        return f"{path!r} is no plain path"
    try:
        place = Path(os.path.realpath(locate(path)))
    except (OSError, UserError):
        return f"{path[:80]!r} is no plain path"
    if not _is_inside(place):
        return f"{path} lies outside the working directory"
    if place.is_dir() and (link := next(_links_out(place), None)) is not None:
        return f"{path} holds a link that leads out of the working directory ({link})"
    return None


def exists(path: str) -> bool:
    """Whether there is such a file or folder, here or bundled."""
    try:
        return Path(locate(path)).exists()
    except (OSError, UserError, ValueError):
        return False


def _is_inside(place: Path) -> bool:
    home = Path(os.path.realpath(Path.cwd()))
    return any(place.is_relative_to(root) for root in (home, *_BUNDLED))


def _links_out(folder: Path) -> Iterator[str]:
    """Links that lead out, also those behind a link to another folder of the directory."""
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        if (place := os.path.realpath(parent)) in seen:
            folders.clear()
            continue
        seen.add(place)
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink() and not _is_inside(Path(os.path.realpath(path))):
                yield os.path.relpath(path, folder)
