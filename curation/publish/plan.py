"""What is published of a run, wherever to: the release's files, and what becomes of each there.

In: a sound run. Out: the files that its manifest vouches for, and the words that tell of them.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from curation.release.verify import find_problems
from schemas.facts import FileFacts
from schemas.manifest import MANIFEST_FILE, RELEASE_FOLDER, Manifest
from support.errors import UserError
from support.files import lock
from support.retry import Say

DATA = re.compile(r"data/(train|validation)-[0-9a-f]{8,12}-\d{5}\.parquet")


class FileAction(StrEnum):
    """What becomes of a file of the dataset."""

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
    """A run's release: the corpus' name, its build, the recipe's digest, `files` by path in it."""

    folder: Path
    name: str
    build: str
    digest: str
    files: dict[str, FileFacts]


def check_destination(repo: str | None, to: str | None, *, public: bool, tag: str | None) -> None:
    """UserError unless one destination is named, and nothing is asked of it that it cannot do."""
    if (repo is None) == (to is None):
        raise UserError("say where to, once: --repo ORG/NAME (on the Hub), or --to URL")
    if to is not None and (public or tag is not None):
        raise UserError("--public and --revision are of the Hub; they go with --repo alone")


@contextmanager
def locked_release(run: Path, say: Say) -> Iterator[Release]:
    """`release_of` a run that no build can change meanwhile."""
    _require(run)
    with lock(run):
        yield release_of(run, say)


def release_of(run: Path, say: Say) -> Release:
    """The files that the manifest vouches for; UserError unless the run is sound."""
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
    files = {
        path.relative_to(RELEASE_FOLDER).as_posix(): file
        for file in manifest.named()
        if (path := PurePosixPath(file.path)).is_relative_to(RELEASE_FOLDER)
    }
    for stranger in sorted(p for p in folder.rglob("*") if p.is_file()):
        if stranger.relative_to(folder).as_posix() not in files:
            say(f"{stranger}: left out, for it is not part of the build")
    return Release(
        folder=folder,
        name=manifest.name,
        build=manifest.build,
        digest=manifest.recipe_digest,
        files=files,
    )


def _require(run: Path) -> None:
    if not run.is_dir():
        raise UserError(f"{run}: no such run directory")


def compare(
    release: Release, there: Mapping[str, int], is_same: Callable[[str, FileFacts], bool]
) -> list[FileChange]:
    """What becomes of every file of the release, and of those of former builds.

    `there` are the sizes of the files at the destination; `is_same` says whether one of the right
    size has the content of the release's file of that path.
    """
    items = []
    for path, file in sorted(release.files.items()):
        state = FileAction.NEW
        if path in there:
            same = there[path] == file.bytes and is_same(path, file)
            state = FileAction.UNCHANGED if same else FileAction.CHANGED
        items.append(FileChange(path=path, size=file.bytes, state=state))
    for path, size in sorted(there.items()):
        if path not in release.files and DATA.fullmatch(path):
            items.append(FileChange(path=path, size=size, state=FileAction.DELETED))
    return items


def changes(items: Sequence[FileChange]) -> list[FileChange]:
    """What is not as it should be."""
    return [item for item in items if item.state is not FileAction.UNCHANGED]


def count_changes(items: Sequence[FileChange]) -> str:
    """How much is sent and deleted, as part of a sentence."""
    sent = [item for item in items if item.state in (FileAction.NEW, FileAction.CHANGED)]
    gone = sum(item.state is FileAction.DELETED for item in items)
    return (
        f"{len(sent)} of {len(items) - gone} files, {sum(item.size for item in sent):,} bytes"
        + (f" (and {gone} of a former build deleted)" if gone else "")
    )


def preview(items: Sequence[FileChange], to: str) -> str:
    """What a dry run prints: a line a file, and what they come to."""
    lines = [f"{item.state:>9}  {item.size:>15,}  {item.path}" for item in items]
    return "\n".join([*lines, f"{count_changes(items)} to {to}; nothing was sent"])
