"""What is published of a run, to whatever destination: its files, and what changes for each.

In: a run without problems. Out: the release's files that its manifest names, compared with those at
the destination, and the text that a dry run prints.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from curation.release.verify import find_problems
from schemas.facts import FileFacts
from schemas.manifest import MANIFEST_FILE, RELEASE_FOLDER, Manifest
from support.errors import UserError
from support.files import lock
from support.retry import Say

DATA = re.compile(r"data/(train|validation)-[0-9a-f]{8,12}-\d{5}\.parquet")


class FileAction(StrEnum):
    """What publishing does with a file of the dataset."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    DELETED = "deleted"  # data of a former build


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A file: its path in the dataset and its size in bytes."""

    path: str
    size: int
    state: FileAction


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A run's release; `files` by path in `folder`."""

    folder: Path
    name: str
    build: str
    recipe_digest: str
    files: dict[str, FileFacts]


def check_destination(repo: str | None, to: str | None, *, public: bool, tag: str | None) -> None:
    """UserError unless exactly one destination is named, with options that it supports."""
    if (repo is None) == (to is None):
        raise UserError("say where to, once: --repo ORG/NAME (on the Hub), or --to URL")
    if to is not None and (public or tag is not None):
        raise UserError("--public and --revision are of the Hub; they go with --repo alone")


@contextmanager
def locked_release(run: Path, say: Say) -> Iterator[Release]:
    """`release_of` a run, which is locked meanwhile, so that no build changes it."""
    _require(run)
    with lock(run):
        yield release_of(run, say)


def release_of(run: Path, say: Say) -> Release:
    """The files of the release that the manifest names; UserError where the run has a problem."""
    _require(run)
    if problems := find_problems(run):
        raise UserError(
            f"{run}: not published, for it is not sound ({len(problems)} problems; the first: "
            f"{problems[0]}); look with polytrace verify {run}, repair with polytrace build"
        )
    manifest = Manifest.load(run / MANIFEST_FILE)
    if not manifest.release:
        raise UserError(
            f"{run}: not published, for it released nothing; polytrace inspect {run} says why"
        )
    folder = run / RELEASE_FOLDER
    prefix = f"{RELEASE_FOLDER}/"
    files = {
        file.path.removeprefix(prefix): file
        for file in manifest.named()
        if file.path.startswith(prefix)
    }
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.relative_to(folder).as_posix() not in files:
            say(f"{path}: left out, for it is not part of the build")
    return Release(
        folder=folder,
        name=manifest.name,
        build=manifest.build,
        recipe_digest=manifest.recipe_digest,
        files=files,
    )


def _require(run: Path) -> None:
    if not run.is_dir():
        raise UserError(f"{run}: no such run directory")


def compare(
    release: Release, sizes: Mapping[str, int], is_same: Callable[[str, FileFacts], bool]
) -> list[FileChange]:
    """What publishing does with every file of the release, and with data files of former builds.

    `sizes` are the bytes of the files at the destination, by path. `is_same` says whether the file
    there with this path, which has the right size, has the same content as the release's.
    """
    items = []
    for path, file in sorted(release.files.items()):
        state = FileAction.NEW
        if path in sizes:
            unchanged = sizes[path] == file.bytes and is_same(path, file)
            state = FileAction.UNCHANGED if unchanged else FileAction.CHANGED
        items.append(FileChange(path=path, size=file.bytes, state=state))
    for path, size in sorted(sizes.items()):
        if path not in release.files and DATA.fullmatch(path):
            items.append(FileChange(path=path, size=size, state=FileAction.DELETED))
    return items


def changes(items: Sequence[FileChange]) -> list[FileChange]:
    """The files that have to be sent or deleted."""
    return [item for item in items if item.state is not FileAction.UNCHANGED]


def count_changes(items: Sequence[FileChange]) -> str:
    """How many files and bytes are sent, and how many files are deleted, as part of a sentence."""
    sent = [item for item in items if item.state in (FileAction.NEW, FileAction.CHANGED)]
    deleted = sum(item.state is FileAction.DELETED for item in items)
    return (
        f"{len(sent)} of {len(items) - deleted} files, {sum(item.size for item in sent):,} bytes"
        + (f" (and {deleted} of a former build deleted)" if deleted else "")
    )


def preview(items: Sequence[FileChange], to: str) -> str:
    """What a dry run prints: one line for each file, then the totals."""
    lines = [f"{item.state:>9}  {item.size:>15,}  {item.path}" for item in items]
    return "\n".join([*lines, f"{count_changes(items)} to {to}; nothing was sent"])
