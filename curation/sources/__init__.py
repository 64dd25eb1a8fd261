"""Prompt sources, one file each. A source yields every row it reads, good or damaged."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from schemas.records import Recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row as read: a prompt, or the reason why it is none.

    `number` is 1-based. Where `reason` is not empty the row is rejected with it; `text` and `gold`
    may then be empty. An empty `licence` stands for the source's.
    """

    number: int
    text: str
    gold: str
    licence: str = ""
    recorded: tuple[Recorded, ...] = ()
    reason: str = ""
    detail: str = ""


class Source(Protocol):
    """Where prompts come from.

    `label` names the data on cards and in records (a file name or a hub id, never a machine's
    path), `licence` is its SPDX-like id.
    """

    label: str
    licence: str

    def fingerprint(self) -> str:
        """Changes whenever the rows do (hash of the files, revision on the hub)."""

    def rows(self, *, traces: bool) -> Iterator[Row]:
        """Every row in order, streamed; recorded traces are read only where `traces`."""
