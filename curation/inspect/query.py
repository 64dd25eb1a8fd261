"""Find canvases of a run or of a released dataset.

In: a `ReleaseReader` and a `Query`. Out: the locations of the canvases that match. A search reads
only the columns that it needs, row group by row group, so memory does not grow with the corpus.
"""

import heapq
import math
import random
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import count, islice, takewhile
from operator import and_, eq
from typing import NamedTuple, TypeVar

import pyarrow.compute as pc

from curation.release.reader import ReleaseReader, RowLocation, begins, holds, selected
from schemas.records import Level
from support.display.digits import rounded
from support.display.text import one_line
from support.errors import UserError

T = TypeVar("T")
NEAREST = 3  # ids that are suggested


class SearchHit(NamedTuple):
    """A row that matches; SeqDep is in nats a token, at the query's level."""

    place: RowLocation
    id: str
    seqdep: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The conditions of a search; all of them must hold.

    `above` and `below` bound SeqDep at `level`, nats a token, and order by it. `canvas` is a number
    from 1, train first, or the start of an id; `seed` draws at random.
    """

    canvas: str | None = None
    id: str | None = None
    grep: str | None = None
    reason: str | None = None
    above: float | None = None
    below: float | None = None
    level: Level | None = None
    seed: int | None = None
    limit: int = 1

    @property
    def is_by_seqdep(self) -> bool:
        """Whether SeqDep selects and orders."""
        return self.above is not None or self.below is not None

    @property
    def is_search(self) -> bool:
        """Whether anything has to match."""
        return self.is_by_seqdep or any(v is not None for v in (self.id, self.grep, self.reason))

    @property
    def rank(self) -> Callable[[SearchHit], float] | None:
        """The order of the hits: the highest SeqDep first where it must lie above a bound."""
        if not self.is_by_seqdep:
            return None
        sign = 1.0 if self.above is None else -1.0
        return lambda hit: sign * (hit.seqdep or 0.0)

    @property
    def seqdep_column(self) -> str:
        """The release's column of SeqDep at the query's level."""
        return f"seqdep_{self.level or Level.PATH}_nats_per_token"

    def check(self) -> None:
        """UserError where the conditions do not go together."""
        for name, value in (("id", self.id), ("grep", self.grep), ("canvas", self.canvas)):
            if any("\ud800" <= char <= "\udfff" for char in value or ""):
                raise UserError(f"--{name}: is not valid UTF-8")
        if self.canvas is not None and (self.is_search or self.seed is not None):
            raise UserError("--canvas: names one canvas; leave out the searches and --seed")
        if self.seed is not None and self.is_search:
            raise UserError("--seed: draws from all canvases; leave out the searches")
        if self.reason is not None and self.is_by_seqdep:
            raise UserError("--reason: what was rejected has no SeqDep; leave out --seqdep-…")
        if self.level is not None and not self.is_by_seqdep:
            raise UserError("--level: give --seqdep-above or --seqdep-below with it")
        if any(math.isnan(v) for v in (self.above, self.below) if v is not None):
            raise UserError("--seqdep-above, --seqdep-below: NaN is no bound")
        if self.above is not None and self.below is not None and self.above >= self.below:
            raise UserError(f"no SeqDep lies above {self.above:g} and below {self.below:g}")


class SearchResult(NamedTuple):
    """The locations of the rows to show, and how many rows match in all."""

    places: tuple[RowLocation, ...]
    total: int


def find(corpus: ReleaseReader, query: Query) -> SearchResult:
    """At most `limit` canvases that match, in order; UserError with a hint where none does."""
    if not len(corpus):
        raise UserError(
            f"{corpus.where}: no canvas was released; the overview, without options, says why"
        )
    if query.canvas is not None:
        return _named(corpus, query.canvas)
    if not query.is_search:
        numbers: Sequence[int] = range(len(corpus))
        chosen: Sequence[int] = numbers[: query.limit]
        if query.seed is not None:
            chosen = random.Random(query.seed).sample(numbers, len(chosen))
        return SearchResult(corpus.places(chosen), len(numbers))
    hits, total = first(_hits(corpus, query), query.limit, query.rank)
    if not total:
        raise UserError(_nothing(corpus, query))
    if query.id is not None and total > 1:
        raise UserError(_ambiguous(query.id, total, _hits(corpus, query)))
    return SearchResult(tuple(hit.place for hit in hits), total)


def first(
    items: Iterable[T], limit: int, rank: Callable[[T], float] | None = None
) -> tuple[list[T], int]:
    """The first `limit` items, or those of lowest rank, and how many items there are in all."""
    counter = count()
    counted = (item for item, _ in zip(items, counter, strict=False))
    if rank is not None:
        chosen = heapq.nsmallest(limit, counted, key=rank)
    else:
        chosen = list(islice(counted, limit))
        deque(counted, maxlen=0)
    return chosen, next(counter)


def _hits(corpus: ReleaseReader, query: Query) -> Iterator[SearchHit]:
    column = query.seqdep_column
    conditions = []
    if query.id is not None:
        conditions.append(("id", begins("id", query.id)))
    if query.grep is not None:
        conditions.append(("prompt", holds("prompt", query.grep)))
    if query.above is not None:
        conditions.append((column, pc.field(column) > query.above))
    if query.below is not None:
        conditions.append((column, pc.field(column) < query.below))
    columns = sorted({"id", column, *(name for name, _ in conditions)})
    keep = reduce(and_, (condition for _, condition in conditions), pc.scalar(True))
    starts = {start[1:3]: start.number for start in corpus.groups}
    for path in corpus.files:
        for group, data in selected(path, columns, keep):
            for row in data.to_pylist():
                place = RowLocation(starts[path, group] + row["at"], path, group, row["at"])
                yield SearchHit(place, row["id"], row[column])


def _named(corpus: ReleaseReader, which: str) -> SearchResult:
    """The canvas with this number, or else the one whose id begins with `which`."""
    total = len(corpus)
    if re.fullmatch(r"[1-9][0-9]{0,14}", which) and int(which) <= total:
        return SearchResult(corpus.places([int(which) - 1]), total)
    query = Query(id=which)
    hits, matches = first(_hits(corpus, query), 1)
    if not matches or not which or which == "0":  # numbers are counted from 1
        raise UserError(
            f"no canvas {which!r}: give a number from 1 to {total}, or how its id begins"
            f"{_fate(corpus, which)}"
        )
    if matches > 1:
        raise UserError(_ambiguous(which, matches, _hits(corpus, query)))
    return SearchResult((hits[0].place,), total)


def _ambiguous(prefix: str, total: int, hits: Iterable[SearchHit]) -> str:
    ids = ", ".join(one_line(hit.id) for hit in islice(hits, 5))
    return f"{total} canvases begin with {prefix!r} ({ids}, …): give more of the id"


def _nothing(corpus: ReleaseReader, query: Query) -> str:
    """Why no canvas matches, and what could be searched for instead."""
    total = len(corpus)
    if query.id is not None and not any(True for _ in _hits(corpus, Query(id=query.id))):
        return f"no canvas {query.id!r} among {total:,}{_fate(corpus, query.id)}"
    options = {
        "--id": query.id,
        "--grep": query.grep,
        "--seqdep-above": query.above,
        "--seqdep-below": query.below,
    }
    conditions = " ".join(f"{name} {v!r}" for name, v in options.items() if v is not None)
    return f"no canvas of {total:,} matches {conditions}{_range(corpus, query)}"


def _fate(corpus: ReleaseReader, prefix: str) -> str:
    """Where the prompt whose id begins with `prefix` was rejected; else the ids most like it."""
    columns = ("prompt_id", "stage", "reason", "index")
    keep = begins("prompt_id", prefix) & pc.field("index").is_null()
    for file in corpus.manifest.rejections() if corpus.manifest and prefix else ():
        for _, data in selected(corpus.where / file.path, columns, keep):
            for row in data.to_pylist():
                reason = one_line(row["reason"])
                return (
                    f"; prompt {one_line(row['prompt_id'])} was rejected at stage "
                    f"{one_line(row['stage'])}: see --reason {reason} --id {prefix}"
                )
    ids = (hit.id for hit in _hits(corpus, Query()))
    near = heapq.nlargest(NEAREST, ids, key=lambda one: _shared(one, prefix))
    return f"; nearest ids: {', '.join(map(one_line, near))}" if near else ""


def _shared(left: str, right: str) -> int:
    """How many characters two texts begin with in common."""
    return sum(takewhile(bool, map(eq, left, right)))


def _range(corpus: ReleaseReader, query: Query) -> str:
    """The range of SeqDep in the corpus, if the query bounds SeqDep."""
    if not query.is_by_seqdep:
        return ""
    values = [v for hit in _hits(corpus, Query(level=query.level)) if (v := hit.seqdep) is not None]
    level = query.level or Level.PATH
    if not values:
        return f"; SeqDep at {level} level was not measured"
    return f"; SeqDep at {level} level goes from {rounded(min(values))} to {rounded(max(values))}"
