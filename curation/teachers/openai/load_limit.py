"""How many samples a server should hold at once, as pure functions.

The text of the `/metrics` of vLLM or SGLang and the present limit give the next limit. A server is
saturated when requests wait in it. A few should always wait, so that it never idles between two
replies; more than a few only delay every reply.

Where a server shows no metrics, its replies steer, as TCP's congestion control does (additive
increase, multiplicative decrease; Chiu and Jain 1989): the limit grows by one with each full round
of replies, and is halved by a 429, once for all requests that were under way then.
"""

import re
from dataclasses import dataclass
from math import isfinite, nextafter
from typing import NamedTuple

START = 256  # samples in flight at first: what vLLM runs at once by default, or less
UNKNOWN = 64  # at a server that tells no load
MOST = 4096
_LINE = re.compile(
    r"^(vllm:num_requests_running|vllm:num_requests_waiting"
    r"|vllm:kv_cache_usage_perc|vllm:gpu_cache_usage_perc"
    r"|sglang:num_running_reqs|sglang:num_queue_reqs|sglang:token_usage)"
    r"(?:\{[^}]*\})?\s+([0-9.eE+-]+)",
    re.MULTILINE,
)
# The gauges of one server: what runs, what waits, and the names of the KV cache's use.
_GAUGES = (
    (
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    ),
    ("sglang:num_running_reqs", "sglang:num_queue_reqs", ("sglang:token_usage",)),
)
_FULL = 0.95  # of the KV cache: more sequences would only evict one another


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Sequences that run and that wait, and the share of the KV cache in use, in [0, 1]."""

    running: int
    waiting: int
    kv_usage: float


def parse(metrics: str) -> Load | None:
    """The load in Prometheus text, summed over engines; None where no gauge of ours is in it."""
    values: dict[str, list[float]] = {}
    for name, number in _LINE.findall(metrics):
        try:
            value = float(number)
        except ValueError:
            return None
        if not isfinite(value):
            return None
        values.setdefault(name, []).append(value)
    for running, waiting, usages in _GAUGES:
        if running in values and waiting in values:
            usage = next((values[name] for name in usages if name in values), [0.0])
            return Load(
                running=int(sum(values[running])),
                waiting=int(sum(values[waiting])),
                kv_usage=max(usage),
            )
    return None


def next_limit(limit: int, in_flight: int, load: Load, *, is_near: bool) -> int:
    """The limit of samples in flight for the next second.

    It grows by half while the server takes all it is given at once, by an eighth once it is known
    to be near (`is_near`: requests have waited), stays while a few wait (an eighth of what runs),
    and shrinks to what is in flight less what waits beyond that.
    """
    margin = max(2, load.running // 8)
    if load.waiting > margin:
        return max(1, min(limit, in_flight - (load.waiting - margin)))
    is_used = in_flight >= 0.9 * limit
    if load.waiting == 0 and is_used and load.kv_usage < _FULL:
        return min(MOST, limit + max(1, limit // (8 if is_near else 2)))
    return limit


class Window(NamedTuple):
    """A limit of samples in flight that replies steer, and when it was last halved (seconds)."""

    limit: float
    halved_at: float


def after_reply(window: Window, samples: int, most: int) -> Window:
    """Additive increase: a whole round of replies without a 429 adds one sample.

    `samples` came with this reply. A window above `most` stays as it is.
    """
    limit = max(1.0, window.limit)
    return window._replace(limit=max(limit, min(float(most), limit + samples / limit)))


def after_429(window: Window, sent: float, now: float) -> Window:
    """Multiplicative decrease: half, for the first 429 to a request that was sent since the last.

    `sent` is when the refused request was sent. What was sent before the last decrease says
    nothing about the limit that holds since.
    """
    if sent < window.halved_at:
        return window
    # A request that is sent in the same tick of the clock as the decrease comes after it.
    return Window(max(1.0, window.limit / 2), max(now, nextafter(sent, float("inf"))))
