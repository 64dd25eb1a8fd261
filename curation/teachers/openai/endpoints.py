"""All endpoints of a teacher: which takes the next request, which are up, and when to give up.

One task an endpoint watches it: while it is up the task measures its limit, while it is down the
task asks for its health. When none has been up for longer than the patience, or one serves another
model, `fatal` holds the error that ends the run.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from tqdm import tqdm

from curation.teachers.openai import load_limit
from curation.teachers.openai.client import Connection
from curation.teachers.openai.endpoint import BreakerState, Endpoint
from curation.teachers.openai.reply_body import READ_BYTES, ReplyMemory
from curation.teachers.openai.request_form import STANDARD, RequestForm
from support.capacity import allow_files
from support.errors import ShortError, UserError

if TYPE_CHECKING:
    import aiohttp

START_SECONDS = 60.0  # patience with endpoints none of which has answered yet
_TICK = 1.0  # seconds between two looks at a server's metrics
_HEALTH = (0.25, 2.0)  # first and longest wait between two looks at a server that is down
_TRIAL = (0.1, 0.5)  # the same between two trials of a server that says it is well
_SPARE_FILES = 256


class EndpointPool:
    """The endpoints while sampling goes on.

    Args:
        urls: base addresses.
        model: the model they must serve, and its revision ("": any).
        revision: see `model`.
        in_flight: samples in flight at each endpoint; None: found from its metrics, or from
            its answers with 429.
        timeout: seconds one request may take.
        patience: seconds without any endpoint after which the run ends short.
        key: sent as a bearer token; in no message and no log.
        form: the fields of the first request.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        model: str,
        revision: str,
        in_flight: int | None,
        timeout: float,
        patience: float,
        key: str | None,
        form: RequestForm = STANDARD,
    ) -> None:
        self._urls = urls
        self._form = form
        self._model, self._revision = model, revision
        self._in_flight, self._timeout, self._patience = in_flight, timeout, patience
        self._key = key
        self.endpoints: list[Endpoint] = []
        self.fatal: Exception | None = None
        self.on_change: Callable[[], None] = lambda: None
        self.place = "teacher"  # in the recipe; lines on standard error name it
        self._tasks: list[asyncio.Task[None]] = []
        self._without_metrics: list[Endpoint] = []  # those that a line has been printed for
        self._session: aiohttp.ClientSession | None = None

    @property
    def is_open(self) -> bool:
        """Whether the endpoints are watched."""
        return self._session is not None

    def open(self) -> None:
        """Start to watch every endpoint; in a running event loop."""
        self._connect()
        self._tasks = [asyncio.create_task(self._watch(one)) for one in self.endpoints]

    async def reach(self) -> None:
        """Ask every endpoint once, in place of `open`; ShortError where none is well now."""
        self._connect()
        try:
            probes = (one.probe(self._model, self._revision) for one in self.endpoints)
            problems = await asyncio.gather(*probes)
        finally:
            await self.close()
        if all(problems):
            raise ShortError(
                f"teacher.endpoints: {self._urls[0]}{self._others()} cannot be reached: "
                f"{problems[0]}; start the server (or mend the address) and run the same command "
                f"again"
            )

    def _connect(self) -> None:
        import aiohttp

        most = self._most_in_flight()
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._session = aiohttp.ClientSession(
            # The default limit of 100 would throttle unseen; vLLM drops idle connections after 5 s.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4),
            timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=10),
            headers=headers,
            read_bufsize=READ_BYTES,
        )
        memory = ReplyMemory()
        connections = [Connection(self._session, url, self._key, memory) for url in self._urls]
        self.endpoints = [Endpoint(one, self._in_flight, most, self._form) for one in connections]

    def _most_in_flight(self) -> int:
        """How many requests an endpoint may have: each is a connection, and so an open file."""
        wanted = (self._in_flight or load_limit.MOST) * len(self._urls) + _SPARE_FILES
        files = allow_files(wanted)
        spare = min(_SPARE_FILES, files * 3 // 4)
        most = max(1, (files - spare) // len(self._urls))
        if most < (self._in_flight or load_limit.START):
            self._say(
                f"{most} samples are in flight at a time, because this shell lets a process open "
                f"{files} files; ulimit -n {wanted} allows more"
            )
        return most

    async def close(self) -> None:
        """Leave nothing running."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def pick(self) -> Endpoint | None:
        """The endpoint with the largest free share of its limit, if any has room."""
        best = max(self.endpoints, key=lambda one: one.room(), default=None)
        return best if best is not None and best.room() > 0 else None

    @property
    def in_flight(self) -> int:
        """Samples in flight at all endpoints."""
        return sum(one.in_flight for one in self.endpoints)

    def note(self) -> str:
        """What goes on, for the progress bar."""
        for one in self.endpoints:
            if one.state is BreakerState.DOWN:
                return f"{self.in_flight} in flight, waiting for {one.url}: {one.cause}"[:120]
            if (pause := one.paused_until - time.monotonic()) > 1:
                return f"{self.in_flight} in flight, {one.url} asks for {pause:.0f} s of rest"
        return f"{self.in_flight} in flight"

    async def _watch(self, endpoint: Endpoint) -> None:
        trial, is_reported = _TRIAL[0], False
        try:
            while True:
                endpoint.changed.clear()
                if endpoint.state is BreakerState.DOWN:
                    if endpoint.has_been_up and trial == _TRIAL[0]:
                        self._say(f"{endpoint.url} fails ({endpoint.cause}); nothing is sent there")
                        is_reported = True
                    is_first = not endpoint.has_been_up
                    if not is_first:  # a server that says it is well and fails all the same
                        await asyncio.sleep(trial)
                        trial = min(_TRIAL[1], trial * 2)
                    await self._revive(endpoint)
                    if is_first:
                        await endpoint.measure()  # first, so that the first requests are enough
                        endpoint.up()
                    else:
                        endpoint.try_out()
                elif endpoint.state is BreakerState.UP:
                    await endpoint.measure()
                    self._report_missing_metrics(endpoint)
                    self._check_rest(endpoint)
                    trial = _TRIAL[0]
                    if is_reported:
                        self._say(f"{endpoint.url} is back")
                        is_reported = False
                self.on_change()
                with suppress(TimeoutError):
                    await asyncio.wait_for(endpoint.changed.wait(), _TICK)
        except Exception as error:  # unforeseen ones too: the run must not hang
            self.fatal = error
            self.on_change()

    def _report_missing_metrics(self, endpoint: Endpoint) -> None:
        is_new = endpoint not in self._without_metrics
        if self._in_flight is None and not endpoint.has_metrics and is_new:
            self._without_metrics.append(endpoint)
            self._say(
                f"{endpoint.url} does not report its load (vLLM and SGLang do, at /metrics), so "
                f"{endpoint.limit} samples are in flight at first, half as many after each answer "
                "with 429 (too many requests), and slowly more while there is none; "
                f"{self.place}.in_flight sets a number of your own"
            )

    def _check_rest(self, endpoint: Endpoint) -> None:
        """ShortError when no endpoint has answered anything but 429 for too long."""
        if endpoint.state is BreakerState.DOWN:  # meanwhile: that is another matter
            return
        now = time.monotonic()
        for one in self.endpoints:
            is_busy = one.busy_since is not None and now - one.busy_since > self._patience
            if one.state is not BreakerState.DOWN and not is_busy:
                return
        raise ShortError(
            f"teacher.endpoints: {endpoint.url} has answered nothing but 429 (too many requests) "
            f"for {self._patience:g} s; everything that came is kept; run the same command later"
        )

    async def _revive(self, endpoint: Endpoint) -> None:
        """Return when the server is well; ShortError when no endpoint has been for too long."""
        pause = _HEALTH[0]
        while problem := await endpoint.probe(self._model, self._revision):
            endpoint.cause = problem
            self._check_patience(endpoint)
            await asyncio.sleep(pause)
            pause = min(_HEALTH[1], pause * 2)
        self._check_patience(endpoint)

    def _check_patience(self, endpoint: Endpoint) -> None:
        if any(one.state is BreakerState.UP or one.in_flight for one in self.endpoints):
            return
        since = max(one.down_since for one in self.endpoints)
        is_new = not any(one.has_been_up for one in self.endpoints)
        patience = min(START_SECONDS, self._patience) if is_new else self._patience
        if time.monotonic() - since < patience:
            return
        what = "cannot be reached" if is_new else "is gone"
        raise ShortError(
            f"teacher.endpoints: {endpoint.url}{self._others()} {what} after {patience:g} s: "
            f"{endpoint.cause}; start the server (or mend the address) and run the same command "
            f"again: everything that came is kept"
        )

    def _others(self) -> str:
        """How many endpoints there are beside the one that is named."""
        return f" (and {len(self._urls) - 1} more)" if len(self._urls) > 1 else ""

    def _say(self, line: str) -> None:
        """A line of its own, above the progress bar."""
        say(line, self.place)


def say(line: str, place: str = "teacher") -> None:
    """A line of its own, above the progress bar; `place` is the part of the recipe."""
    tqdm.write(f"{time.strftime('%H:%M:%S')} {place}: {line}", file=sys.stderr)


def read_key(variable: str | None) -> str | None:
    """The key in an environment variable; UserError where the variable is not set."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if any(not c.isprintable() for c in key):
        raise UserError(f"teacher.api_key_env: {variable} holds a character that no key has")
    if key:
        return key
    raise UserError(f"teacher.api_key_env: the environment has no {variable}; export it")
