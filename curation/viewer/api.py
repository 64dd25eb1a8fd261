"""What the page asks for: the state of the index, lines, a canvas, a search that streams.

Parquet is read in threads, a row group at a time, so that the page stays answered meanwhile. A
search ends when the page closes its connection.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import orjson
from aiohttp import web

from curation.inspect.terminal_view import LONGEST
from curation.release.reader import ReleaseReader
from curation.viewer import shown
from curation.viewer.numbers import MEASURES, Numbers, selection
from curation.viewer.search import Searched, TextHit, search
from support.display.digits import rounded
from support.display.text import one_line
from support.errors import PolytraceError, UserError

PAGE_ROWS = 50  # lines of one page
TELL_SECONDS = 0.2  # between two lines about the progress of a search

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RangeOf:
    """A measure that some row has, with its lowest and highest value as text."""

    key: str
    label: str
    short: str
    low: str
    high: str


@dataclass(frozen=True, slots=True)
class State:
    """What is shown: how many rows there are, and of how many the numbers were read."""

    name: str
    notice: str
    rows: int
    indexed: int
    measures: tuple[RangeOf, ...]
    error: str


@dataclass(frozen=True, slots=True)
class LinesPage:
    """A page of lines from position `after` on, of `total` that match; `next` is where it ends."""

    rows: list[shown.ListRow]
    total: int
    after: int
    next: int | None


@dataclass(frozen=True, slots=True)
class SearchStep:
    """A line of a search: how many rows were searched, and what is new.

    In the last one `done` is true. Then `next` is where a search for more begins, and `error` says
    what ended the search early.
    """

    read: int
    of: int
    rows: list[shown.ListRow] = field(default_factory=list)
    found: list[TextHit] = field(default_factory=list)
    done: bool = False
    next: int | None = None
    error: str = ""


class Api:
    """The answers to the page, over one release."""

    def __init__(self, corpus: ReleaseReader) -> None:
        self._corpus = corpus
        self._numbers = Numbers(corpus)
        self._is_read = asyncio.Event()  # or there is a fault
        self._fault: PolytraceError | None = None

    async def fill(self) -> None:
        """Read the numbers of all rows."""
        try:
            async for _ in _in_threads(self._numbers.fill()):
                pass
        except PolytraceError as error:
            self._fault = error
        self._is_read.set()

    async def _read_numbers(self) -> Numbers:
        await self._is_read.wait()
        if self._fault is not None:
            raise self._fault
        return self._numbers

    async def state(self, _: web.Request) -> web.Response:
        """What the page shows above the lines."""
        measures: tuple[RangeOf, ...] = ()
        if self._is_read.is_set() and self._fault is None:
            measures = tuple(await asyncio.to_thread(lambda: list(_ranges(self._numbers))))
        manifest = self._corpus.manifest
        return _json(
            State(
                name=one_line(manifest.name if manifest else self._corpus.where.resolve().name),
                notice=one_line((manifest.notice if manifest else "") or ""),
                rows=len(self._corpus),
                indexed=self._numbers.read,
                measures=measures,
                error=one_line(str(self._fault)) if self._fault else "",
            )
        )

    async def lines(self, request: web.Request) -> web.Response:
        """A page of lines; without a filter and an order, no number has to be read first."""
        chosen = selection(request.query)
        after, limit = _whole(request, "after", 0), _whole(request, "limit", PAGE_ROWS)
        limit = min(max(1, limit), PAGE_ROWS)
        if chosen.has_filter or chosen.sort:
            numbers = await self._read_numbers()
            order = await asyncio.to_thread(numbers.order, chosen)
            total, wanted = len(order), [int(n) for n in order[after : after + limit]]
        else:
            total = len(self._corpus)
            wanted = list(range(total)[after : after + limit])
        found = await asyncio.to_thread(shown.list_rows, self._corpus, wanted)
        end = after + len(found)
        return _json(LinesPage(found, total, after, end if end < total else None))

    async def canvas(self, request: web.Request) -> web.Response:
        """One canvas."""
        number, limit = self._number(request), _limit(request)
        return _json(await asyncio.to_thread(shown.canvas, self._corpus, number, limit))

    async def long_cot(self, request: web.Request) -> web.Response:
        """The long-CoT form of one canvas."""
        number, limit = self._number(request), _limit(request)
        return _json(await asyncio.to_thread(shown.long_cot, self._corpus, number, limit))

    async def search(self, request: web.Request) -> web.StreamResponse:
        """Lines of JSON while the search goes on, up to a page of rows."""
        text, after = request.query.get("text", ""), _whole(request, "after", 0)
        chosen, among = selection(request.query), None
        if chosen.has_filter:
            numbers = await self._read_numbers()
            among = await asyncio.to_thread(numbers.matching, chosen)
        steps = _in_threads(search(self._corpus, text, after, among))
        first = await anext(steps, None)  # raises what is wrong before the answer has begun
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        try:
            async for step in self._told(first, steps, after):
                await response.write(orjson.dumps(step) + b"\n")
        except PolytraceError as error:
            last = SearchStep(after, len(self._corpus), error=one_line(str(error)), done=True)
            await response.write(orjson.dumps(last) + b"\n")
        await response.write_eof()
        return response

    async def _told(
        self, first: Searched | None, others: AsyncIterator[Searched], after: int
    ) -> AsyncIterator[SearchStep]:
        """What the page is told of a search, which ends when a page of rows is full."""
        left, told, total = PAGE_ROWS, time.monotonic(), len(self._corpus)
        step, read, more = first, after, None
        while step is not None and more is None:
            read, found = step.end, step.found[:left]
            left -= len(found)
            if not left and (len(step.found) > len(found) or read < total):
                more = found[-1].number + 1
            if found or time.monotonic() - told > TELL_SECONDS:
                numbers = [one.number for one in found]
                rows = await asyncio.to_thread(shown.list_rows, self._corpus, numbers)
                yield SearchStep(read, total, rows, found)
                told = time.monotonic()
            step = None if more is not None else await anext(others, None)
        yield SearchStep(read, total, done=True, next=more)

    def _number(self, request: web.Request) -> int:
        number = int(request.match_info["number"])
        if number >= len(self._corpus):
            raise UserError(f"canvas {number + 1:,}: there are {len(self._corpus):,}")
        return number


def _ranges(numbers: Numbers) -> Iterator[RangeOf]:
    for key, label, short, _ in MEASURES:
        if found := numbers.range_of(key):
            yield RangeOf(key, label, short, rounded(found[0]), rounded(found[1]))


def _json(answer: object) -> web.Response:
    return web.Response(body=orjson.dumps(answer), content_type="application/json")


def _whole(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    with suppress(ValueError):
        if text.isascii() and len(text) < 15 and int(text) >= 0:
            return int(text)
    raise UserError(f"{name}: {text[:40]!r} is no whole number from 0 on")


def _limit(request: web.Request) -> int | None:
    return None if request.query.get("whole") == "1" else LONGEST


async def _in_threads(items: Iterator[T]) -> AsyncIterator[T]:
    """The items, each made in a thread."""
    while (item := await asyncio.to_thread(next, items, None)) is not None:
        yield item
