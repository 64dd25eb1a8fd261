"""How much a server is given, from what it says of itself."""

import pytest

from curation.teachers.openai.load_limit import MOST, Load, next_limit, parse

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


@pytest.mark.parametrize(
    "text", ["", "up 1", METRICS.replace("vllm:", "sglang:"), METRICS.replace("3.0", "1e999")]
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
