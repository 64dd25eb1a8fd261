"""The breaker of one endpoint: what a server that died gets when it is back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import aiohttp
import pytest

from curation.teachers.openai.client import Connection, UnavailableError
from curation.teachers.openai.endpoint import CEILING_SECONDS, MOST_FAILURES, BreakerState, Endpoint
from curation.teachers.openai.endpoints import EndpointPool
from tests.servers.loopback import Behaviour, Loopback


@asynccontextmanager
async def endpoint(server: Loopback, in_flight: int) -> AsyncIterator[Endpoint]:
    """One that is up and holds its limit."""
    async with aiohttp.ClientSession() as session:
        one = Endpoint(Connection(session, server.url), in_flight)
        assert await one.probe("loop", "") is None
        one.up()
        one.in_flight = in_flight
        yield one


def fail(one: Endpoint, error: UnavailableError) -> None:
    for _ in range(MOST_FAILURES):
        one.fail(error)
    assert one.state is BreakerState.DOWN
    one.in_flight = 0


def test_a_server_that_says_500_and_then_is_gone_gets_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """As vLLM does when its engine dies: 500 to what is in flight, then it ends."""
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("curation.teachers.openai.endpoint.time", clock)

    async def check(server: Loopback) -> None:
        async with endpoint(server, 32) as one:
            server.set(Behaviour(health=503))
            fail(one, UnavailableError("HTTP 500"))
            assert await one.probe("loop", "") and one.limit == 32  # ill, but there
            server.kill()
            assert await one.probe("loop", "") and one.limit == 16
            now[0] += 2 * CEILING_SECONDS  # the time that it is gone does not count
            assert await one.probe("loop", "") and one.limit == 16  # it died once
            server.restart(Behaviour())
            assert await one.probe("loop", "") is None
            one.up()
            await one.measure()
            assert one.limit == 16
            now[0] += 1.1 * CEILING_SECONDS
            await one.measure()
            assert one.limit == 32

    with Loopback() as server:
        asyncio.run(check(server))


def test_a_server_that_was_only_ill_keeps_its_limit() -> None:
    async def check(server: Loopback) -> None:
        async with endpoint(server, 32) as one:
            fail(one, UnavailableError("HTTP 503"))
            assert await one.probe("loop", "") is None
            one.up()
            server.kill()
            assert await one.probe("loop", "") and one.limit == 32  # it held nothing of ours

    with Loopback() as server:
        asyncio.run(check(server))


def test_broken_connections_of_a_server_that_is_well_are_no_death() -> None:
    """A slow vLLM drops connections that it takes for idle, several at once."""

    async def check(server: Loopback) -> None:
        async with endpoint(server, 32) as one:
            fail(one, UnavailableError("reset"))
            assert await one.probe("loop", "") is None
            one.up()
            assert one.limit == 32

    with Loopback() as server:
        asyncio.run(check(server))


def test_a_refused_connection_is_a_death() -> None:
    async def check(server: Loopback) -> None:
        async with endpoint(server, 32) as one:
            one.fail(UnavailableError("refused", is_refused=True))
            assert one.state is BreakerState.DOWN and one.limit == 16
            one.fail(
                UnavailableError("refused", is_refused=True)
            )  # one death, however many it took
            assert one.limit == 16

    with Loopback() as server:
        asyncio.run(check(server))


def test_a_server_that_fails_while_its_load_is_looked_at_is_not_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No 429 came: the run goes on and waits for the server."""

    async def fails(self: Endpoint) -> None:
        monkeypatch.undo()
        for _ in range(MOST_FAILURES):
            self.fail(UnavailableError("Server disconnected"))

    async def check(server: Loopback) -> None:
        pool = EndpointPool(
            (server.url,), model="loop", revision="", in_flight=4, timeout=5, patience=5, key=None
        )
        monkeypatch.setattr(Endpoint, "measure", fails)
        changes = asyncio.Event()
        pool.on_change = changes.set
        pool.open()
        (one,) = pool.endpoints
        one.state, one.has_been_up = BreakerState.UP, True
        while one.state is not BreakerState.TRIAL and pool.fatal is None:
            changes.clear()
            await changes.wait()
        await pool.close()
        assert pool.fatal is None

    with Loopback() as server:
        asyncio.run(check(server))
