"""Prompt sources, one file each. A source yields every row it reads, good or damaged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from schemas.records import Recorded


class BadTrace(NamedTuple):
    """Why an entry of a row cannot be a trace: a slug, and a sentence about the entry."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row as read: a prompt, or the reason why it cannot be one.

    `number` counts from 1. A row whose `reason` is not empty is rejected with it; `text` and `gold`
    may then be empty. An empty `license` means the source's. `recorded` and `bad_traces` hold all
    traces of the row, also where it is rejected. `choices`, `more_golds` and `tests` are those of a
    `Prompt`.
    """

    number: int
    text: str
    gold: str
    license: str = ""
    recorded: tuple[Recorded, ...] = ()
    bad_traces: tuple[BadTrace, ...] = ()
    reason: str = ""
    detail: str = ""
    choices: tuple[str, ...] = ()
    more_golds: tuple[str, ...] = ()
    tests: str = ""


class Source(Protocol):
    """Where prompts come from.

    `label` names the data on cards and in records (a file name or a hub id, never a machine's
    path), `license` is its SPDX-like id.
    """

    label: str
    license: str

    def fingerprint(self) -> str:
        """A text that changes whenever the rows do: hash of the files, revision on the hub."""

    def rows(self, *, traces: bool, most: int | None = None) -> Iterator[Row]:
        """The first `most` rows (default: all) in order; recorded traces only where `traces`."""

    def has_traces(self) -> bool:
        """Whether the source knows which columns hold recorded traces."""

    def first_traces(self) -> Sequence[Recorded]:
        """The recorded traces of the first rows."""


@runtime_checkable
class ShowsScores(Protocol):
    """A source that tells labels from scores."""

    def first_scores(self) -> Sequence[object]:
        """What the first rows hold in the place of labels and is neither 0 nor 1, but a number."""
