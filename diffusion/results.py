"""What an evaluation found: every decoded row with its commits, and a line for each cell.

Axes: K commits of a row.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from diffusion.arness import Arness, arness
from diffusion.statistics import wilson
from schemas.records import Grade


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A problem as it was decoded: the text of every slot, and commit by commit how it came.

    `scored` is the text that was graded; `steps_K`, `positions_K` (columns of the frame, headers
    counted), `confidences_K` and `tokens_K` are its commits in order, `nfe` its forward passes,
    `fill_id` the token that is no content, `slots_K` the slot of each commit.
    """

    id: str
    gold: str
    texts: tuple[str, ...]
    scored: str
    answer: str | None
    grade: Grade
    nfe: int
    fill_id: int
    steps_K: tuple[int, ...]
    positions_K: tuple[int, ...]
    confidences_K: tuple[float, ...]
    tokens_K: tuple[int, ...]
    slots_K: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A cell: accuracy with its 95 % interval (Wilson), costs, and means of ARness over rows.

    `arness`, `chance`, `corrected` and `local` are of all commits, `content_*` of those that are no
    fill; `by_slot` is Global-ARness@1 inside each slot. None where no row has an order. `unread`
    counts rows without a readable answer: they are wrong.
    """

    system: str
    steps: int | None
    count: int
    right: int
    unread: int
    accuracy: float
    low: float
    high: float
    nfe: float
    tokens_per_step: float
    content_tokens_per_step: float
    arness: float | None
    chance: float | None
    corrected: float | None
    local: float | None
    content_arness: float | None
    content_corrected: float | None
    content_local: float | None
    by_slot: tuple[float | None, ...]


def result(system: str, steps: int, rows: Sequence[Row]) -> Result:
    """The line of a cell; `steps` 0 stands for a rule that has none. ValueError without rows."""
    right = sum(row.grade is Grade.CORRECT for row in rows)
    accuracy, low, high = wilson(right, len(rows))
    everything = [_order(row, range(len(row.steps_K))) for row in rows]
    content = [_order(row, _content(row)) for row in rows]
    slots = 1 + max((slot for row in rows for slot in row.slots_K), default=-1)
    passes = sum(row.nfe for row in rows)
    return Result(
        system=system,
        steps=steps or None,
        count=len(rows),
        right=right,
        unread=sum(row.answer is None for row in rows),
        accuracy=accuracy,
        low=low,
        high=high,
        nfe=passes / len(rows),
        tokens_per_step=sum(len(row.steps_K) for row in rows) / passes,
        content_tokens_per_step=sum(len(_content(row)) for row in rows) / passes,
        arness=_mean(one.raw for one in everything if one),
        chance=_mean(one.chance for one in everything if one),
        corrected=_mean(one.corrected for one in everything if one),
        local=_mean(one.local for one in everything if one),
        content_arness=_mean(one.raw for one in content if one),
        content_corrected=_mean(one.corrected for one in content if one),
        content_local=_mean(one.local for one in content if one),
        by_slot=tuple(_in_slot(rows, slot) for slot in range(slots)),
    )


def _content(row: Row) -> list[int]:
    return [k for k, token in enumerate(row.tokens_K) if token != row.fill_id]


def _order(row: Row, among: Iterable[int]) -> Arness | None:
    chosen = list(among)
    return arness([row.steps_K[k] for k in chosen], [row.positions_K[k] for k in chosen])


def _in_slot(rows: Sequence[Row], slot: int) -> float | None:
    found = (_order(row, [k for k, s in enumerate(row.slots_K) if s == slot]) for row in rows)
    return _mean(one.raw for one in found if one)


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return fmean(known) if known else None
