"""The loopback server itself. In: HTTP on 127.0.0.1, a `Behaviour` on POST /control.

Out: answers and faults; a log of requests that survives SIGKILL (`behaviour.served_of` reads it).
"""

import asyncio
import os
import signal
import socket
import struct
import time
from collections import Counter, deque
from dataclasses import dataclass
from hashlib import blake2b

import orjson
from aiohttp import web

from tests.servers.loopback.behaviour import COUNTERS, Behaviour, behaviour_of
from tests.servers.loopback.engine import Engine
from tests.servers.loopback.protocol import (
    Asked,
    BadRequestError,
    answer_body,
    asked_of,
    error_body,
    models_body,
    too_long_body,
    unsupported_body,
)
from tests.servers.loopback.text import Sample, sample, share

_MAX_BODY = 64 * 2**20  # bytes
_FOR_EVER = 86_400.0  # seconds
_KINDS = {
    400: "BadRequestError",
    401: "Unauthorized",
    404: "NotFoundError",
    429: "RateLimitError",
    503: "ServiceUnavailableError",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent."""

    status: int
    body: bytes
    retry_after: str | None = None

    def response(self) -> web.Response:
        """As aiohttp has it."""
        headers = {"Content-Type": "application/json"}
        if self.retry_after is not None:
            headers["Retry-After"] = self.retry_after
        return web.Response(status=self.status, body=self.body, headers=headers)


class Server:
    """The state of a server process; `log` is a file descriptor opened for appending."""

    def __init__(self, key: str | None, log: int) -> None:
        self._key = key
        self._log = log
        self._engine = Engine()
        self._received = 0
        self._in_flight = 0
        self._admitted = 0  # completions that the engine has
        self._unseeded: dict[bytes, int] = {}
        self._arrivals: deque[float] = deque()  # of the last second, those that were let in
        self._scripted: Counter[str] = Counter()  # replies given, by the text they answer
        self._note()
        self.behave(Behaviour())

    def behave(self, behaviour: Behaviour) -> None:
        """Change the behaviour; the counters and the outage begin now."""
        self._behaviour = behaviour
        self._left: dict[str, int] = {name: getattr(behaviour, name) for name in COUNTERS}
        self._dark_until = time.monotonic() + behaviour.outage_s
        self._engine.limit(behaviour.max_running)

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/control", self._control)
        return app

    async def _complete(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            asked = asked_of(body, chat=request.path == "/v1/chat/completions")
        except BadRequestError as error:
            return _error(400, str(error)).response()
        number = self._received
        self._received += 1
        self._in_flight += 1
        prompt = asked.prompt[:200].encode("utf-8", "replace").decode()
        line = (asked.n, asked.seed, self._in_flight, asked.digest.hex(), prompt, asked.fields)
        self._note(number, time.monotonic(), *line)
        answer = None
        try:
            answer = self._gate(request) or await self._answer(asked)
            if answer is None:
                _reset(request)
        finally:  # also where the client goes away
            self._in_flight -= 1
            self._note(number, time.monotonic(), answer.status if answer else None)
        return answer.response() if answer else web.Response()

    def _gate(self, request: web.Request) -> Answer | None:
        """What any part of /v1 may be refused for."""
        if time.monotonic() < self._dark_until:
            return _error(503, "outage", self._behaviour.retry_after)
        if self._key and request.headers.get("Authorization") != f"Bearer {self._key}":
            return Answer(401, b'{"error":"Unauthorized"}')
        return None

    async def _answer(self, asked: Asked) -> Answer | None:
        """None is a reset connection."""
        now = self._behaviour
        if now.die_substring is not None and now.die_substring in asked.whole:
            os.kill(os.getpid(), signal.SIGKILL)
        if now.status is not None:
            return _error(now.status, "as told", now.retry_after)
        if self._is_too_much(now):
            return _error(429, "Rate limit reached", now.retry_after)
        if self._due("reset_next"):
            return None
        if self._due("hang_next"):
            await asyncio.sleep(_FOR_EVER)  # cancelled as the client goes away
        if self._due("fail_next"):
            return _error(now.fail_status, "as told", now.retry_after)
        if (refusal := _refusal(asked, now)) is not None:
            return refusal
        spoilt = next((name for name in COUNTERS[3:] if self._due(name)), None)
        self._admitted += 1
        try:
            await self._engine.run(asked.n, _seconds(asked, now))
        finally:
            self._admitted -= 1
        if spoilt == "malformed_next":
            return Answer(200, b'{"id": "chatcmpl-0", "choices": [{"index": 0, "mess')
        return Answer(200, answer_body(asked, self._samples(asked, now, spoilt), now))

    def _is_too_much(self, now: Behaviour) -> bool:
        """Whether one more completion is over a limit; one that is not counts from now on."""
        if now.most_at_once is not None and self._admitted >= now.most_at_once:
            return True
        if now.most_a_second is None:
            return False
        moment = time.monotonic()
        while self._arrivals and self._arrivals[0] < moment - 1:
            self._arrivals.popleft()
        if len(self._arrivals) >= now.most_a_second:
            return True
        self._arrivals.append(moment)
        return False

    def _due(self, counter: str) -> bool:
        """Whether a counter strikes this request."""
        if self._left[counter] <= 0:
            return False
        self._left[counter] -= 1
        return True

    def _samples(self, asked: Asked, now: Behaviour, spoilt: str | None) -> list[Sample]:
        if any(text in asked.whole for text, _ in now.script):
            samples = [self._in_turn(asked, now) for _ in range(asked.n)]
        else:
            seeds = self._seeds(asked)
            samples = [sample(asked.prompt, asked.context, seed, now) for seed in seeds]
        if spoilt == "abort_next":
            return [Sample(text=s.text[: len(s.text) // 2], finish_reason="abort") for s in samples]
        return {"empty_next": [], "fewer_next": samples[:-1]}.get(spoilt or "", samples)

    def _in_turn(self, asked: Asked, now: Behaviour) -> Sample:
        """The next reply of the script."""
        text = next(text for text, _ in now.script if text in asked.whole)
        replies = [reply for one, reply in now.script if one == text]
        self._scripted[text] += 1
        reply = replies[(self._scripted[text] - 1) % len(replies)]
        return Sample(text=reply, finish_reason="stop")

    def _seeds(self, asked: Asked) -> list[str]:
        """A name for the randomness of each sibling: vLLM gives sibling i the seed + i."""
        if asked.greedy:
            return ["greedy"] * asked.n
        if asked.seed is not None:
            return [str(asked.seed + i) for i in range(asked.n)]
        # Without a seed the same request draws anew each time, as on a real server.
        key = blake2b(asked.context, digest_size=8).digest()
        first = self._unseeded.get(key, 0)
        self._unseeded[key] = first + asked.n
        return [f"unseeded {i}" for i in range(first, first + asked.n)]

    async def _models(self, request: web.Request) -> web.Response:
        answer = self._gate(request) or Answer(200, models_body(self._behaviour))
        return answer.response()

    async def _health(self, request: web.Request) -> web.Response:
        is_dark = time.monotonic() < self._dark_until
        return web.Response(status=503 if is_dark else self._behaviour.health)

    async def _metrics(self, request: web.Request) -> web.Response:
        if time.monotonic() < self._dark_until:
            return web.Response(status=503)
        if not self._behaviour.metrics:
            return web.Response(status=404)
        return web.Response(text=self._engine.metrics(self._behaviour))

    async def _control(self, request: web.Request) -> web.Response:
        try:
            self.behave(behaviour_of(await request.read()))
        except (TypeError, ValueError) as error:
            return web.Response(status=400, text=str(error))
        return web.Response()

    def _note(self, *line: object) -> None:
        """Append to the log at once: what the kernel has survives the end of this process."""
        os.write(self._log, orjson.dumps(line) + b"\n")


def _seconds(asked: Asked, now: Behaviour) -> float:
    seconds = now.latency_s
    if now.jitter_s:
        seconds += now.jitter_s * share("jitter", asked.digest)
    if now.tail_s and share("tail", asked.digest) < now.tail_share:
        seconds += now.tail_s
    return seconds


def _refusal(asked: Asked, now: Behaviour) -> Answer | None:
    """What is wrong with this very prompt."""
    if asked.model not in now.models:
        message = f"The model `{asked.model}` does not exist."
        return Answer(404, error_body(404, "NotFoundError", message, "model"))
    for field in now.refused_fields:
        if field in asked.fields:
            return Answer(400, unsupported_body(field))
    if now.context_limit is not None and len(asked.whole) > now.context_limit:
        return Answer(400, too_long_body(asked, now.context_limit))
    if now.refuse_substring is not None and now.refuse_substring in asked.whole:
        return _error(400, "The prompt was refused.")
    if now.poison_substring is not None and now.poison_substring in asked.whole:
        return _error(500, "EngineCore encountered an issue.")
    return None


def _error(status: int, message: str, retry_after: str | None = None) -> Answer:
    kind = _KINDS.get(status, "InternalServerError")
    return Answer(status, error_body(status, kind, message), retry_after)


def _reset(request: web.Request) -> None:
    """Close the connection with RST instead of FIN."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
