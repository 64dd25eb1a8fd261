"""How many requests a server should hold, from its own metrics, as pure functions.

The text of vLLM's `/metrics` and the present limit give the next limit. A server is saturated when
requests wait in it. A few should always wait, so that it never idles between two replies; more than
a few only delay every reply.
"""

import re
from dataclasses import dataclass
from math import isfinite

START = 256  # samples in flight at first: what vLLM runs at once by default, or less
UNKNOWN = 64  # at a server that tells no load
MOST = 4096
_LINE = re.compile(
    r"^vllm:(num_requests_running|num_requests_waiting|kv_cache_usage_perc|gpu_cache_usage_perc)"
    r"(?:\{[^}]*\})?\s+([0-9.eE+-]+)",
    re.MULTILINE,
)
_FULL = 0.95  # of the KV cache: more sequences would only evict one another


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Sequences that run and that wait, and the share of the KV cache in use, in [0, 1]."""

    running: int
    waiting: int
    kv_usage: float


def parse(metrics: str) -> Load | None:
    """The load in Prometheus text, summed over engines; None where it is not vLLM's."""
    values: dict[str, list[float]] = {}
    for name, number in _LINE.findall(metrics):
        try:
            value = float(number)
        except ValueError:
            return None
        if not isfinite(value):
            return None
        values.setdefault(name, []).append(value)
    if "num_requests_running" not in values or "num_requests_waiting" not in values:
        return None
    usage = values.get("kv_cache_usage_perc", values.get("gpu_cache_usage_perc", [0.0]))
    return Load(
        running=int(sum(values["num_requests_running"])),
        waiting=int(sum(values["num_requests_waiting"])),
        kv_usage=max(usage),
    )


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
