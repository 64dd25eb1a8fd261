"""A dataset on the Hugging Face hub, streamed row by row; code from the hub is never run.

`repo` may also be a local folder in the hub's layout: the same library reads it the same way.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curation.sources.columns.fields import printable
from curation.sources.readers.reader import Reader, Record, digest_files, display_name, top_level
from support.capacity import raise_if_out_of_memory
from support.errors import UserError, first_line

TIMEOUT_SECONDS = 20.0

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPO = re.compile(r"[\w.-]+(?:/[\w.-]+)?")


class HubReader(Reader):
    """The rows of one split; the revision is resolved to a commit when the reader is created."""

    def __init__(self, *, repo: str, config: str | None, split: str, revision: str | None) -> None:
        self._repo, self._config, self._split = repo, config, split
        folder = Path(repo).expanduser()
        self._folder = folder if folder.is_dir() else None
        if self._folder is None and not _REPO.fullmatch(repo):
            raise UserError(f"source repo {repo!r}: neither a hub id (owner/name) nor a folder")
        self._revision = None if self._folder else resolve(repo, revision)

    def name(self) -> str:
        """Hub id@commit; of a local folder its own name."""
        return display_name(self._repo) if self._folder else f"{self._repo}@{self._revision}"

    def fingerprint(self) -> str:
        """Commit, config and split; of a local folder its files instead of the commit."""
        state = self._revision or ""
        if self._folder:
            state = digest_files(tuple(sorted(f for f in self._folder.rglob("*") if f.is_file())))
        return f"{state}/{self._config}/{self._split}"

    def records(self, paths: tuple[str, ...] | None) -> Iterator[Record]:
        """Every row in order."""
        number = 0
        try:
            rows = self._open()
            existing = rows.column_names
            if paths is not None and existing:
                rows = rows.select_columns(top_level(existing, paths))
            for number, value in enumerate(rows, 1):
                yield Record(number=number, where=f"{self.name()}, row {number}", value=value)
        except UserError:
            raise
        except Exception as error:  # the library raises dozens of kinds, from itself and from below
            raise_if_out_of_memory(error)
            raise self._failed(number, error) from None

    def _open(self) -> Any:
        from datasets import load_dataset

        where = str(self._folder) if self._folder else self._repo
        return load_dataset(
            where, self._config, split=self._split, revision=self._revision, streaming=True
        )

    def _failed(self, number: int, error: Exception) -> UserError:
        at = f"after row {number}" if number else f"config {self._config}, split {self._split}"
        return UserError(
            f"{self.name()}: cannot be read ({at}): {printable(first_line(error), 160)}; "
            "check repo, config and split, or run the same command again"
        )


def resolve(repo: str, revision: str | None) -> str:
    """The commit a revision stands for now (default: the main branch); UserError if unreachable."""
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi

    try:
        commit = HfApi().dataset_info(repo, revision=revision, timeout=TIMEOUT_SECONDS).sha
    except Exception as error:  # offline, unknown, gated, timeout: each is its own class
        raise_if_out_of_memory(error)
        at = f" at revision {revision!r}" if revision else ""
        raise UserError(
            f"source {repo}{at}: the Hugging Face hub did not answer or has no such dataset "
            f"({printable(first_line(error), 160)}); check name and network, or give it the path "
            "of local files"
        ) from None
    if not commit:
        raise UserError(f"source {repo}: the hub names no commit; set source.revision")
    return commit
