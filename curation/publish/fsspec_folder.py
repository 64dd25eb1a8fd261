"""Publish a release to a folder behind a URL: `polytrace publish RUN --to s3://bucket/prefix`.

In: a run without problems, a URL of fsspec. Out: a folder that holds the release's files and
`polytrace.json`, an index of them. The index says `complete: false` from before the first change
until after the last; a file that it lists is not sent again. The card names the files of its own
build alone, so it is sent after all of them, and a former build's files are deleted after that.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from curation.publish.plan import (
    DATA,
    FileAction,
    FileChange,
    Release,
    changes,
    compare,
    count_changes,
    locked_release,
    preview,
    release_of,
)
from curation.sources.readers.remote import code_of, connect, etag, is_url, with_retries
from schemas.facts import Count, Fact, FileFacts
from support.display.text import one_line
from support.errors import StoppedError, UserError
from support.retry import GOES_ON, Say

INDEX = "polytrace.json"
MOST_INDEX = 64 * 10**6  # bytes; a file takes some two hundred
CARD = "README.md"


class UploadedFile(Fact):
    """A file that was sent: its size and hash; `etag` is the storage's, "" where it has none."""

    path: str
    bytes: Count
    sha256: str
    etag: str


class FolderIndex(Fact):
    """A published folder's index; while it is not `complete`, `files` are those sent so far."""

    name: str
    build: str
    recipe: str
    complete: bool
    files: tuple[UploadedFile, ...]


def publish(run: Path, to: str, *, say: Say) -> str:
    """Make the folder hold the run's release; returns its URL.

    Raises: UserError for a damaged or empty run, refused access, a folder with other content;
    StoppedError where the same command continues.
    """
    folder = _Folder(to, say)
    with locked_release(run, say) as release:
        published = folder.published(release)
        items = _compare(release, published, folder)
        say(f"{count_changes(items)} to {folder.url}")
        done = published and (published.complete, published.build, published.recipe)
        if changes(items) or done != (True, release.build, release.digest):
            _send(folder, release, items, published)
    return folder.url


def dry_run(run: Path, to: str, *, say: Say) -> str:
    """What `publish` would do, one line for each file; nothing is changed, locally or remotely."""
    folder = _Folder(to, say)
    release = release_of(run, say)
    return preview(_compare(release, folder.published(release), folder), folder.url)


class _Folder:
    """The folder behind a URL; `listed` are size and ETag of its files, by path in it."""

    def __init__(self, to: str, say: Say) -> None:
        if not is_url(to):
            raise UserError(f"--to {one_line(to)!r}: not a URL; write s3://BUCKET/PREFIX")
        self._fs, self._root = connect(to, "--to")
        self._say = say
        self.url = one_line(to).rstrip("/")
        self.listed: dict[str, tuple[int, str]] = {}

    def published(self, release: Release) -> FolderIndex | None:
        """What was published here before; UserError where the folder is not free for `release`."""
        self.listed = dict(self._list(""))
        index = self._index() if INDEX in self.listed else None
        folders = {PurePosixPath(path).parent.as_posix() for path in release.files} | {"data"}
        for folder in sorted(folders - {"."}):
            self.listed |= dict(self._list(folder))
        if index is None:
            for path in self.listed:
                if path in release.files or DATA.fullmatch(path):
                    raise UserError(
                        f"{self.url}: holds {path}, but no {INDEX} that says whose it is; choose "
                        "another --to, or empty the folder"
                    )
        elif index.name != release.name:
            raise UserError(
                f"{self.url}: holds the corpus {one_line(index.name)!r}, not {release.name!r}; "
                "choose another --to"
            )
        return index

    def send(self, source: Path, path: str, sha256: str) -> UploadedFile:
        """Upload a file, and check that all of it has arrived."""
        self._call(lambda: self._fs.put_file(str(source), self._path(path)))
        info = self._call(lambda: self._fs.info(self._path(path)))
        size = source.stat().st_size
        if info["size"] != size:
            raise StoppedError(
                f"{self.url}: of {path} only {info['size']} of {size} bytes arrived{GOES_ON}"
            )
        return UploadedFile(path=path, bytes=size, sha256=sha256, etag=etag(info))

    def sha256(self, path: str) -> str:
        """The hash of a file in the folder, read block by block."""

        def attempt() -> str:
            with self._fs.open(self._path(path), "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()

        return str(self._call(attempt))

    def write(self, index: FolderIndex) -> None:
        """Replace the folder's index."""
        text = index.model_dump_json(indent=1) + "\n"
        self._call(lambda: self._fs.pipe_file(self._path(INDEX), text.encode()))

    def delete(self, path: str) -> None:
        """Delete a file, if it is there."""

        def attempt() -> None:
            with suppress(FileNotFoundError):
                self._fs.rm_file(self._path(path))

        self._call(attempt)

    def _index(self) -> FolderIndex:
        text = self._call(lambda: self._fs.cat_file(self._path(INDEX), start=0, end=MOST_INDEX + 1))
        try:
            if len(text) > MOST_INDEX:
                raise ValueError("longer than an index")
            return FolderIndex.model_validate_json(text)
        except ValueError:  # pydantic's are among them
            raise UserError(
                f"{self.url}: its {INDEX} is damaged, or of another program; choose another --to, "
                "or empty the folder"
            ) from None

    def _list(self, folder: str) -> Iterator[tuple[str, tuple[int, str]]]:
        """The files right in a folder below this one; none where there is no such folder."""
        path = self._path(folder)

        def attempt() -> list[dict[str, Any]]:
            try:
                listing: list[dict[str, Any]] = self._fs.ls(path, detail=True)
                return listing
            except FileNotFoundError as error:
                if code_of(error) == "NoSuchBucket":
                    raise
                return []

        for info in self._call(attempt):
            if info["type"] == "file":
                name = info["name"].rpartition("/")[2]
                yield f"{folder}/{name}".lstrip("/"), (info["size"], etag(info))

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}".rstrip("/")

    def _call(self, attempt: Any) -> Any:
        return with_retries(attempt, self.url, self._say)


def _compare(release: Release, published: FolderIndex | None, folder: _Folder) -> list[FileChange]:
    """Compare files by what the index says was sent.

    A file is unchanged if it was sent with this SHA-256 and its ETag is still the same. Without an
    ETag the listing gives the size alone, so the file is read.
    """
    listed = folder.listed
    arrived = {file.path: file for file in published.files} if published else {}

    def is_same(path: str, file: FileFacts) -> bool:
        known = arrived.get(path)
        return (
            known is not None
            and (known.bytes, known.sha256) == (file.bytes, file.sha256)
            and known.etag == listed[path][1]
            and (bool(known.etag) or folder.sha256(path) == known.sha256)
        )

    return compare(release, {path: size for path, (size, _) in listed.items()}, is_same)


def _send(
    folder: _Folder, release: Release, items: Sequence[FileChange], published: FolderIndex | None
) -> None:
    """Send data, then what describes it, the card last; then delete a former build's data."""
    stale = {item.path for item in items if item.state in (FileAction.NEW, FileAction.CHANGED)}
    before = published.files if published else ()
    arrived = {file.path: file for file in before if file.path not in stale}

    def write_index(*, complete: bool) -> None:
        named = [path for path in sorted(arrived) if path in release.files or not complete]
        folder.write(
            FolderIndex(
                name=release.name,
                build=release.build,
                recipe=release.digest,
                complete=complete,
                files=tuple(arrived[path] for path in named),
            )
        )

    write_index(complete=False)
    for path in sorted(stale, key=lambda path: (path == CARD, not DATA.fullmatch(path), path)):
        arrived[path] = folder.send(release.folder / path, path, release.files[path].sha256)
        write_index(complete=False)
    for item in items:
        if item.state is FileAction.DELETED:
            folder.delete(item.path)
            arrived.pop(item.path, None)
    write_index(complete=True)
