"""What is published, to whatever destination: its files, and what changes for each.

In: a run without problems, or a folder of files. Out: the files that are published, of a release
those that its manifest names, compared with those at the destination, and the text that a dry run
prints.
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
from support.files import lock, sha256
from support.retry import Say

DATA = re.compile(r"data/(train|validation)-[0-9a-f]{8,12}-\d{5}\.parquet")
WHOLE = re.compile(r"(?!\.gitattributes$).+", re.DOTALL)  # the Hub's own file stays


class RepoKind(StrEnum):
    """A kind of repository, by the Hub's name of it."""

    DATASET = "dataset"
    MODEL = "model"
    SPACE = "space"


class FileAction(StrEnum):
    """What publishing does with a file."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    DELETED = "deleted"  # of a former version


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A file: its path at the destination and its size in bytes."""

    path: str
    size: int
    state: FileAction


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What is published; `files` by path in `folder`, which are their paths at the destination.

    `digest` says what it was made of, and becomes a tag; None where nothing says so. A file at the
    destination that is none of `files` is deleted if `former` matches its path.
    """

    kind: RepoKind
    folder: Path
    files: dict[str, FileFacts]
    digest: str | None
    message: str
    former: re.Pattern[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(Publication):
    """A run's release; `digest` is its recipe's."""

    name: str
    build: str
    digest: str


def check_destination(
    repo: str | None, to: str | None, *, public: bool, tag: str | None, collection: str | None
) -> None:
    """UserError unless exactly one destination is named, with options that it supports."""
    if (repo is None) == (to is None):
        raise UserError("say where to, once: --repo ORG/NAME (on the Hub), or --to URL")
    if to is not None and (public or tag is not None or collection is not None):
        raise UserError(
            "--public, --revision and --collection are of the Hub; they go with --repo alone"
        )


def files_of(folder: Path) -> dict[str, FileFacts]:
    """The facts of every file in a folder, by its path there; UserError where one is a link."""
    files = {}
    for file in sorted(folder.rglob("*")):
        if file.is_symlink():
            raise UserError(f"{file}: is a link, and links are not published; put the file there")
        if not file.is_dir():
            path = file.relative_to(folder).as_posix()
            files[path] = FileFacts(path=path, bytes=file.stat().st_size, sha256=sha256(file))
    return files


@contextmanager
def locked_release(run: Path, say: Say) -> Iterator[Release]:
    """`release_of` a run, which is locked meanwhile, so that no build changes it."""
    require(run)
    with lock(run):
        yield release_of(run, say)


def release_of(run: Path, say: Say) -> Release:
    """The files of the release that the manifest names; UserError where the run has a problem."""
    require(run)
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
        kind=RepoKind.DATASET,
        folder=folder,
        files=files,
        digest=manifest.recipe_digest,
        message=f"Polytrace release {manifest.build}, recipe {manifest.recipe_digest}",
        former=DATA,
        name=manifest.name,
        build=manifest.build,
    )


def require(run: Path) -> None:
    """UserError where there is no such folder."""
    if not run.is_dir():
        raise UserError(f"{run}: no such run directory")


def compare(
    what: Publication, sizes: Mapping[str, int], is_same: Callable[[str, FileFacts], bool]
) -> list[FileChange]:
    """What publishing does with every file of its own, and with files of former versions.

    `sizes` are the bytes of the files at the destination, by path. `is_same` says whether the file
    there with this path, which has the right size, has the same content as ours.
    """
    items = []
    for path, file in sorted(what.files.items()):
        state = FileAction.NEW
        if path in sizes:
            unchanged = sizes[path] == file.bytes and is_same(path, file)
            state = FileAction.UNCHANGED if unchanged else FileAction.CHANGED
        items.append(FileChange(path=path, size=file.bytes, state=state))
    for path, size in sorted(sizes.items()):
        if path not in what.files and what.former.fullmatch(path):
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
        + (f" (and {deleted} of a former version deleted)" if deleted else "")
    )


def preview(items: Sequence[FileChange], to: str) -> str:
    """What a dry run prints: one line for each file, then the totals."""
    lines = [f"{item.state:>9}  {item.size:>15,}  {item.path}" for item in items]
    return "\n".join([*lines, f"{count_changes(items)} to {to}; nothing was sent"])
