"""One OpenAI-compatible server: how many samples it takes at once, and whether it can be reached.

Both are learned from the outcomes of requests and from the server's own metrics; so is which fields
its requests carry. The circuit
breaker: an endpoint is UP until a connection is refused or three requests in a row fail. Then it is
DOWN, and nothing is sent. When its health check succeeds again it is on TRIAL: one request is sent,
whose success makes it UP. A server that was gone gets half of its former load for a minute, because
the load may have ended it.
"""

import asyncio
import re
import time
from enum import Enum, auto
from http import HTTPStatus
from math import inf

import orjson

from curation.teachers.openai import load_limit
from curation.teachers.openai.client import Connection, RejectedError, UnavailableError
from curation.teachers.openai.load_limit import Window
from curation.teachers.openai.request_form import STANDARD, RequestForm, adapted
from curation.teachers.openai.wire import ServerSampling
from support.display.text import shorten
from support.errors import UserError

CEILING_SECONDS = 60.0  # how long a server that died gets half of what it had
SHORTEST_REST, LONGEST_REST = 0.5, 60.0  # seconds after a 429
MOST_FAILURES = 3  # in a row, until nothing more is sent
MOST_NAMES = 20  # of models, in a message
_SHA = re.compile(r"/snapshots/([0-9a-f]{40})(?:/|$)")


class BreakerState(Enum):
    """Whether requests may be sent."""

    UP = auto()
    TRIAL = auto()
    DOWN = auto()


class Endpoint:
    """A server; `limit` bounds the samples in flight. None: it is found, up to `most`.

    `form` are the fields of its requests, until it refuses one.
    """

    def __init__(
        self,
        connection: Connection,
        limit: int | None,
        most: int = load_limit.MOST,
        form: RequestForm = STANDARD,
    ) -> None:
        self.connection = connection
        self.url = connection.url
        self.form = form
        self._set_by_hand = limit
        self._most = most
        self._window = Window(min(most, limit or load_limit.UNKNOWN), -inf)
        self._ceiling: tuple[int, float] | None = None  # samples, and since when
        self._had = 0  # samples in flight when it went down; 0 once the ceiling is set
        self.state = BreakerState.DOWN
        self.cause = "connecting"
        self.has_been_up = False
        self.down_since = self.last_success = time.monotonic()
        self.paused_until = 0.0
        self.busy_since: float | None = None  # nothing but 429 came since
        self._busy = 0
        self.in_flight = 0
        self.is_vllm = False
        self.has_metrics = False
        self._is_tried = False  # the request on trial has been sent
        self._is_near = False  # near its capacity: requests have waited there
        self._failures = 0
        self.changed = asyncio.Event()

    @property
    def limit(self) -> int:
        """Samples that may be in flight now."""
        return min(self._limit, self._ceiling[0]) if self._ceiling else self._limit

    @property
    def _limit(self) -> int:
        return int(self._window.limit)

    @_limit.setter
    def _limit(self, limit: int) -> None:
        self._window = self._window._replace(limit=limit)

    @property
    def _is_steered(self) -> bool:
        """Whether replies alone say how much the server takes."""
        return self._set_by_hand is None and not self.has_metrics

    def room(self) -> float:
        """The free share of the limit, in (0, 1]; 0 where nothing may be sent."""
        if self.state is BreakerState.TRIAL:
            return 0.0 if self._is_tried else 0.01  # after every endpoint that is up
        if self.state is BreakerState.DOWN or time.monotonic() < self.paused_until:
            return 0.0
        return max(0.0, 1 - self.in_flight / self.limit)

    def succeed(self, samples: int = 0) -> None:
        """An answer came, with so many samples."""
        if self._is_steered and self.in_flight >= 0.9 * self.limit:  # else the limit holds nobody
            self._window = load_limit.after_reply(self._window, samples, self._most)
        self.last_success = time.monotonic()
        self._failures = 0
        self.busy_since, self._busy = None, 0
        if self.state is BreakerState.TRIAL:
            self.up()

    def fail(self, cause: UnavailableError) -> None:
        """No answer came; after too many failures in a row nothing more is sent."""
        self._failures += 1
        if self.state is BreakerState.DOWN:
            return
        if cause.is_refused or self.state is BreakerState.TRIAL or self._failures >= MOST_FAILURES:
            if cause.is_timeout and self._set_by_hand is None:
                self._limit = max(1, self._limit // 2)  # more than it can answer in time
            if self.state is BreakerState.UP:
                self.down_since = time.monotonic()
                self._had = max(1, min(self.limit, self.in_flight))
            if cause.is_refused:
                self._die()
            self.state, self.cause = BreakerState.DOWN, str(cause)
            self.changed.set()

    def rest(self, seconds: float, *, sent: float) -> float:
        """The server asks for `seconds` of rest (429); returns how long it gets.

        `sent` is when the request was sent. Without metrics the limit shrinks as well.

        The rest grows with the number of such answers in a row.
        """
        now = time.monotonic()
        self.busy_since = now if self.busy_since is None else self.busy_since
        self._busy += 1
        if self._is_steered:
            self._window = load_limit.after_429(self._window, sent, now)
        seconds = max(seconds, min(LONGEST_REST, SHORTEST_REST * 2 ** min(self._busy // 64, 10)))
        self.paused_until = max(self.paused_until, now + seconds)
        self._failures = 0
        if self.state is BreakerState.TRIAL:
            self.up()
        return self.paused_until - now

    def not_tried(self) -> None:
        """The request that was to be the trial was never sent."""
        self._is_tried = False

    def adapt(self, refusal: RejectedError, sampling: ServerSampling) -> RequestForm:
        """The form of the next request after a refusal, which may be the same."""
        self.form = adapted(
            self.form,
            refusal.status,
            str(refusal),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
        )
        return self.form

    def begin(self, samples: int) -> None:
        """A request for so many samples is sent."""
        self.in_flight += samples
        self._is_tried = True

    def try_out(self) -> None:
        """The server's health check succeeds again: allow one request."""
        self.state, self._is_tried = BreakerState.TRIAL, False

    def up(self) -> None:
        """The server is well."""
        self.state, self.has_been_up, self._failures, self._had = BreakerState.UP, True, 0, 0
        self._is_near = False
        if self._ceiling:  # a large model takes minutes to start: they are not its minute
            self._ceiling = (self._ceiling[0], time.monotonic())
        self.changed.set()

    def _die(self) -> None:
        """The server's process is gone, perhaps for its load: it will get half of that."""
        if self._had:
            self._ceiling = (max(1, self._had // 2), time.monotonic())
            self._had = 0

    async def probe(self, model: str, revision: str) -> str | None:
        """Why the server is not well, None where it is; UserError if it serves another model."""
        for path in (f"{self.connection.root}/health", f"{self.url}/models"):
            try:
                status, content = await self.connection.get(path)
            except UnavailableError as error:
                if error.is_refused:  # vLLM answers 500 when its engine dies, and then is gone
                    self._die()
                return str(error)
            if path.endswith("/health"):  # a gateway may hide it
                if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    return f"HTTP {status} from {path}"
                continue
            if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise UserError(
                    f"teacher.endpoints: {path} answers {status}: "
                    f"set teacher.api_key_env to the name of a variable that holds a key"
                )
            has_route = status not in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
            if has_route and status != HTTPStatus.OK:
                return f"HTTP {status} from {path}"
            if has_route:
                self._check(content, model, revision)
        return None

    async def measure(self) -> None:
        """Find the limit for the next second from the server's metrics, unless set by hand."""
        if self._ceiling and time.monotonic() - self._ceiling[1] > CEILING_SECONDS:
            doubled = self._ceiling[0] * 2
            self._ceiling = (doubled, time.monotonic()) if doubled < self._limit else None
        if self._set_by_hand is not None:
            return
        try:
            status, content = await self.connection.get(f"{self.connection.root}/metrics")
        except UnavailableError:
            return
        text = content.decode("utf-8", "replace") if status == HTTPStatus.OK else ""
        load = load_limit.parse(text)
        had_metrics, self.has_metrics = self.has_metrics, load is not None
        if load is None:
            return
        if not had_metrics:
            self._limit = min(self._most, load_limit.START)
        limit = load_limit.next_limit(self._limit, self.in_flight, load, is_near=self._is_near)
        self._is_near |= limit < self._limit
        self._limit = min(self._most, limit)

    def _check(self, content: bytes, model: str, revision: str) -> None:
        try:
            data = orjson.loads(content)
            served = {one["id"]: one for one in data["data"]}
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return  # some servers list no models; a wrong one is refused by the first request
        if not all(isinstance(name, str) for name in served):
            return  # the same
        if model not in served:
            shown = [repr(shorten(name, 100)) for name in sorted(served)[:MOST_NAMES]]
            more = [f"{len(served) - MOST_NAMES} more"] if len(served) > MOST_NAMES else []
            names = ", ".join([*shown, *more]) or "no model"
            raise UserError(f"teacher.model: {self.url} serves {names}, not {model!r}")
        card = served[model]
        self.is_vllm = card.get("owned_by") == "vllm"
        root, revision_said = card.get("root"), card.get("revision")
        match = _SHA.search(root) if isinstance(root, str) else None
        stated = revision_said if isinstance(revision_said, str) else ""
        stated = stated[:64] or (match[1] if match else "")
        if revision and stated and not stated.startswith(revision):
            raise UserError(
                f"teacher.revision: {self.url} serves revision {stated}, not {revision}"
            )
