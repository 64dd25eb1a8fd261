"""Prompt sources, one file each. A source yields every row it reads, good or damaged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from schemas.records import Recorded


class BadTrace(NamedTuple):
    """What a row holds in the place of a trace, and why it cannot be one."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row as read: a prompt, or the reason why it is none.

    `number` is 1-based. Where `reason` is not empty the row is rejected with it; `text` and `gold`
    may then be empty. An empty `license` stands for the source's. `recorded` and `bad_traces` are
    all that the row holds of traces, also where it is rejected.
    """

    number: int
    text: str
    gold: str
    license: str = ""
    recorded: tuple[Recorded, ...] = ()
    bad_traces: tuple[BadTrace, ...] = ()
    reason: str = ""
    detail: str = ""


class Source(Protocol):
    """Where prompts come from.

    `label` names the data on cards and in records (a file name or a hub id, never a machine's
    path), `license` is its SPDX-like id.
    """

    label: str
    license: str

    def fingerprint(self) -> str:
        """Changes whenever the rows do (hash of the files, revision on the hub)."""

    def rows(self, *, traces: bool, most: int | None = None) -> Iterator[Row]:
        """The first `most` rows (default: all) in order; recorded traces only where `traces`."""

    def has_traces(self) -> bool:
        """Whether it is known where in a row recorded traces stand."""

    def first_traces(self) -> Sequence[Recorded]:
        """The recorded traces of the first rows."""
