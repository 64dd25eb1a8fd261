"""How much a server is given, from what it says of itself."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.teachers.openai.load_limit import (
    MOST,
    UNKNOWN,
    Load,
    Window,
    after_429,
    after_reply,
    next_limit,
    parse,
)

METRICS = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 90.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 5e-01
"""


def test_vllms_gauges_are_read_and_added_over_engines() -> None:
    assert parse(METRICS) == Load(running=7, waiting=2, kv_usage=0.5)
    old = METRICS.replace("kv_cache_usage", "gpu_cache_usage")
    assert parse(old) == Load(running=7, waiting=2, kv_usage=0.5)


SGLANG = """# HELP sglang:num_running_reqs The number of running requests.
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{dp_rank="0",model_name="m",tp_rank="0"} 3.0
sglang:num_running_reqs{dp_rank="1",model_name="m",tp_rank="0"} 4.0
sglang:num_running_reqs_offline_batch{model_name="m"} 70.0
sglang:num_queue_reqs{model_name="m",tp_rank="0"} 2.0
sglang:token_usage{dp_rank="0",model_name="m"} 0.25
sglang:token_usage{dp_rank="1",model_name="m"} 0.5
"""


def test_sglangs_gauges_are_read_like_vllms() -> None:
    assert parse(SGLANG) == Load(running=7, waiting=2, kv_usage=0.5)
    assert parse("\n".join(SGLANG.splitlines()[:6])) == Load(running=7, waiting=2, kv_usage=0.0)
    assert parse(METRICS + SGLANG) == parse(METRICS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "up 1",
        METRICS.replace("vllm:", "other:"),
        METRICS.replace("3.0", "1e999"),
        SGLANG.replace("num_queue_reqs", "num_grammar_queue_reqs"),
    ],
)
def test_others_are_not(text: str) -> None:
    assert parse(text) is None


def load(running: int, waiting: int, kv_usage: float = 0.1) -> Load:
    return Load(running=running, waiting=waiting, kv_usage=kv_usage)


@pytest.mark.parametrize("is_near", [False, True])
def test_it_grows_while_nothing_waits_and_all_is_used(is_near: bool) -> None:
    def limit(limit: int, in_flight: int, found: Load) -> int:
        return next_limit(limit, in_flight, found, is_near=is_near)

    assert limit(64, 64, load(64, 0)) == (72 if is_near else 96)
    assert limit(1, 1, load(1, 0)) == 2
    assert limit(MOST, MOST, load(MOST, 0)) == MOST
    assert limit(64, 20, load(20, 0)) == 64  # it is not this limit that holds it back
    assert limit(64, 64, load(64, 0, kv_usage=0.99)) == 64  # more would evict one another


def test_it_shrinks_by_what_waits_too_long_and_a_few_may_wait() -> None:
    def limit(limit: int, in_flight: int, found: Load) -> int:
        return next_limit(limit, in_flight, found, is_near=False)

    assert limit(256, 256, load(100, 156)) == 256 - (156 - 12)
    assert limit(112, 112, load(100, 12)) == 112
    assert limit(112, 150, load(100, 50)) == 112  # what waits is on its way out already
    assert limit(4, 4, load(1, 3)) == 3
    assert limit(2, 2, load(100, 500)) == 1  # others' requests: never nothing


LIMITS = st.floats(1, MOST)
TIMES = st.floats(0, 1e9)


@given(LIMITS, st.lists(st.integers(1, 8), max_size=200), st.integers(1, MOST))
def test_replies_only_ever_raise_a_limit_and_never_beyond_the_most(
    limit: float, replies: list[int], most: int
) -> None:
    window = Window(limit, 0.0)
    for samples in replies:
        grown = after_reply(window, samples, most)
        assert window.limit <= grown.limit <= max(most, limit)
        assert grown.limit - window.limit <= samples / window.limit + 1e-9
        assert grown.halved_at == window.halved_at
        window = grown


@given(st.integers(1, 1000))
def test_a_whole_round_of_replies_adds_about_one_sample(limit: int) -> None:
    window = Window(float(limit), 0.0)
    for _ in range(limit):
        window = after_reply(window, 1, MOST)
    assert limit + 0.5 <= window.limit <= limit + 1


@given(LIMITS, TIMES, st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_one_round_of_429_halves_a_limit_once(
    limit: float, now: float, delays: list[float]
) -> None:
    """All were sent before the first of them was answered."""
    window, answered = Window(limit, float("-inf")), now + 100
    for delay in sorted(delays):
        window = after_429(window, now, answered + delay)
    assert window.limit == max(1.0, limit / 2)
    again = after_429(window, window.halved_at, window.halved_at + 1)
    assert again.limit == max(1.0, window.limit / 2)


@given(st.lists(st.booleans(), max_size=300), TIMES)
def test_a_limit_never_falls_below_one_nor_is_lost(answers: list[bool], start: float) -> None:
    window = Window(UNKNOWN, float("-inf"))
    for step, is_reply in enumerate(answers):
        now = start + step
        window = after_reply(window, 1, MOST) if is_reply else after_429(window, now, now)
        assert 1 <= window.limit <= MOST


@settings(max_examples=20)
@given(st.integers(2, 60), st.integers(1, 5))
def test_it_settles_near_what_a_server_takes(capacity: int, latency: int) -> None:
    """A server that refuses whatever is over its capacity, in rounds of one latency each."""
    window, now, limits, refused, sent = Window(UNKNOWN, float("-inf")), 0.0, [], 0, 0
    for _ in range(8 * capacity + 40):
        began, now = now, now + latency
        flight = int(window.limit)
        for _ in range(min(flight, capacity)):
            window = after_reply(window, 1, MOST)
        if flight > capacity:
            window = after_429(window, began, now)
        limits.append(flight)
        refused, sent = refused + max(0, flight - capacity), sent + flight
    settled = limits[4 * capacity + 20 :]
    assert max(settled) <= capacity + 3
    assert sum(settled) / len(settled) >= 0.6 * capacity
