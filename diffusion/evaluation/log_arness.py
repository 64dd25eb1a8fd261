"""The ARness of a log of commits, over all its rows, with intervals.

In: the rows that `commit_log.py` reads. Out: means over rows, each with its 95 % interval
(bootstrap over rows), of all commits that stayed and of content alone.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from diffusion.evaluation.arness import Arness
from diffusion.evaluation.commit_log import LoggedRow, read_log
from diffusion.evaluation.rows import content, order_of, stayed
from support.display.text import visible
from support.errors import UserError
from support.stats import Interval, mean


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanArness:
    """Means over the `rows` that have an order; the fields are those of `Arness`."""

    rows: int
    raw: Interval
    chance: float
    corrected: Interval
    local: Interval

    def plain(self) -> dict[str, Any]:
        """As JSON has it; an interval is an object with value, low and high."""
        return {
            one.name: value._asdict() if isinstance(value, Interval) else value
            for one in fields(self)
            for value in [getattr(self, one.name)]
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LogArness:
    """What a log says of the order in which its rows were decoded.

    `rows` counts all rows, `unfinished` those that left a position masked, as far as the log tells.
    `commits` are those that stayed, the last of each position; `churn` is the share of all commits
    that were taken back or replaced. `tokens_per_step` counts the steps that committed something.
    `order` is of all commits, `content` of those that are no end token; None if no end token is
    known, or if no row has an order.
    """

    rows: int
    unfinished: int
    commits: int
    churn: float
    tokens_per_step: float
    order: MeanArness
    content: MeanArness | None

    def plain(self) -> dict[str, Any]:
        """As JSON has it; `content` is null where there is none."""
        return asdict(self) | {
            "order": self.order.plain(),
            "content": self.content and self.content.plain(),
        }


def arness_of_log(
    file: Path, *, mask_id: int | None = None, end_ids: Collection[int] = ()
) -> LogArness:
    """Measure a log in one of the forms of docs/arness.md.

    `mask_id` is needed for a log of states, `end_ids` for `content`. Raises UserError for a log
    that cannot be read, that has no tokens where `end_ids` are given, or no row with an order.
    """
    rows = list(read_log(file, mask_id).values())
    name = visible(str(file))
    if end_ids and not any(row.tokens_K for row in rows):
        raise UserError(f"{name}: has no tokens, so --end-id has nothing to leave out")
    kept = [_kept(row) for row in rows]
    order = _mean([_order(row, some) for row, some in zip(rows, kept, strict=True)])
    if order is None:
        raise UserError(
            f"{name}: no row has an order: each has fewer than two commits, or made all in one step"
        )
    commits, stayed_commits = sum(len(row.steps_K) for row in rows), sum(map(len, kept))
    return LogArness(
        rows=len(rows),
        unfinished=sum(
            bool(row.open) or (row.masks is not None and row.masks > len(some))
            for row, some in zip(rows, kept, strict=True)
        ),
        commits=stayed_commits,
        churn=1 - stayed_commits / commits,
        tokens_per_step=stayed_commits / sum(len(set(row.steps_K)) for row in rows),
        order=order,
        content=_content(rows, kept, frozenset(end_ids)),
    )


def _kept(row: LoggedRow) -> set[int]:
    """The numbers of the commits that stayed to the end."""
    return {k for k in stayed(row.positions_K) if row.positions_K[k] not in row.open}


def _order(row: LoggedRow, among: Collection[int]) -> Arness | None:
    return order_of(row.steps_K, row.positions_K, sorted(among))


def _content(
    rows: list[LoggedRow], kept: list[set[int]], end_ids: frozenset[int]
) -> MeanArness | None:
    if not any(end_ids or row.end_ids for row in rows):
        return None
    return _mean(
        [
            _order(row, some & set(content(row.tokens_K, end_ids or row.end_ids)))
            for row, some in zip(rows, kept, strict=True)
        ]
    )


def _mean(orders: list[Arness | None]) -> MeanArness | None:
    known = [one for one in orders if one is not None]
    if not known:
        return None
    return MeanArness(
        rows=len(known),
        raw=mean([one.raw for one in known]),
        chance=fmean(one.chance for one in known),
        corrected=mean([one.corrected for one in known]),
        local=mean([one.local for one in known]),
    )
