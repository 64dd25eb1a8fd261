"""The time that the loopback server's engine takes. In: sequences and seconds; out: a wait, gauges.

With `max_running` it is like vLLM's: so many sequences run at once, the rest waits in order.
"""

import asyncio

from tests.servers.loopback.behaviour import Behaviour

# The names, labels and types of vLLM 0.32 (vllm/v1/metrics/loggers.py).
_GAUGES = (
    ("vllm:num_requests_running", "Number of requests in model execution batches."),
    ("vllm:num_requests_waiting", "Number of requests waiting to be processed."),
    ("vllm:num_requests_waiting_by_reason", "Number of waiting requests by reason."),
    ("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage."),
)
# Those of SGLang (python/sglang/srt/metrics/collector.py).
_SGLANG = (
    ("sglang:num_running_reqs", "The number of running requests."),
    ("sglang:num_queue_reqs", "The number of requests in the waiting queue."),
    ("sglang:token_usage", "The token usage."),
)


class Engine:
    """Sequences that run and wait."""

    def __init__(self) -> None:
        self.running = 0
        self.waiting = 0
        self._limit: int | None = None
        self._slots = asyncio.Semaphore(1)

    def limit(self, running: int | None) -> None:
        """Let so many sequences run from now on; who waits keeps the place where it waits."""
        if running != self._limit:
            self._limit, self._slots = running, asyncio.Semaphore(running or 1)

    async def run(self, sequences: int, seconds: float) -> None:
        """Return when all sequences of a request have had their seconds."""
        if self._limit is None:
            await self._go(sequences, seconds)
        else:
            slots = self._slots
            await asyncio.gather(*(self._queue(slots, seconds) for _ in range(sequences)))

    async def _queue(self, slots: asyncio.Semaphore, seconds: float) -> None:
        self.waiting += 1
        try:
            await slots.acquire()
        finally:
            self.waiting -= 1
        try:
            await self._go(1, seconds)
        finally:
            slots.release()

    async def _go(self, sequences: int, seconds: float) -> None:
        self.running += sequences
        try:
            if seconds:
                await asyncio.sleep(seconds)
        finally:
            self.running -= sequences

    def metrics(self, behaviour: Behaviour) -> str:
        """The gauges in Prometheus' text form."""
        if behaviour.gauges == "sglang":
            return self._sglang_metrics(behaviour)
        labels = f'engine="0",model_name="{behaviour.models[0]}"'
        full = self.running / self._limit if self._limit else 0.0
        values = (
            ((labels, self.running),),
            ((labels, self.waiting),),
            (
                (f'{labels},reason="capacity"', self.waiting),
                (f'{labels},reason="deferred"', 0),
            ),
            ((labels, full * behaviour.kv_when_full),),
        )
        lines: list[str] = []
        for (name, text), series in zip(_GAUGES, values, strict=True):
            lines += (f"# HELP {name} {text}", f"# TYPE {name} gauge")
            lines += (f"{name}{{{keys}}} {float(value)}" for keys, value in series)
        return "\n".join(lines) + "\n"

    def _sglang_metrics(self, behaviour: Behaviour) -> str:
        labels = f'model_name="{behaviour.models[0]}",tp_rank="0"'
        full = self.running / self._limit if self._limit else 0.0
        values = (self.running, self.waiting, full * behaviour.kv_when_full)
        lines: list[str] = []
        for (name, text), value in zip(_SGLANG, values, strict=True):
            lines += (f"# HELP {name} {text}", f"# TYPE {name} gauge")
            lines.append(f"{name}{{{labels}}} {float(value)}")
        return "\n".join(lines) + "\n"
