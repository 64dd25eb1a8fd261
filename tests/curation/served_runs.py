"""Runs of the sampling service over a served teacher, and what came of them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from curation.prompts.dedup import prompt_id
from curation.sampling.service import FinishedShard, Progress, Shard, no_shortfall, run
from curation.teachers import Failure, Shortfall, openai_server
from curation.teachers.openai_batch import build
from schemas.records import FinishReason, Prompt, Trace
from support.signals import stop_at_once

P = 3


def prompt(text: str) -> Prompt:
    return Prompt(id=prompt_id(text), text=text, gold="1", source="s", row=1, license="l")


def shards(count: int = 3, size: int = 10) -> list[Shard]:
    return [
        Shard(index=s, prompts=[prompt(f"What is {s} + {n}?") for n in range(size)])
        for s in range(count)
    ]


class Closed:
    """What came, shard by shard."""

    def __init__(self) -> None:
        self.traces: dict[int, list[Trace]] = {}
        self.failures: list[Failure] = []

    def close(self, shard: FinishedShard) -> None:
        self.traces[shard.index] = list(shard.traces)
        self.failures += shard.failures

    @property
    def all(self) -> list[Trace]:
        return [trace for index in sorted(self.traces) for trace in self.traces[index]]


def sample(
    teacher: Any,
    folder: Path,
    parts: Iterable[Shard] | None = None,
    shortfall: Shortfall = no_shortfall,
) -> tuple[Progress, Closed]:
    """Sample P traces a prompt into journals in `folder`; by default of three shards."""
    closed = Closed()
    end = run(
        teacher,
        shards() if parts is None else parts,
        samples=P,
        folder=folder,
        have=lambda index: (),
        close=closed.close,
        shortfall=shortfall,
    )
    return end, closed


def by_batches(url: str, folder: Path, in_flight: int) -> None:
    """The same of two shards through the batch teacher, ended at once by a signal."""
    stop_at_once()
    sample(build(model="loop", endpoints=url, seeds=True, in_flight=in_flight), folder, shards(2))


def by_server(url: str, folder: Path, in_flight: int, size: int) -> None:
    """The same of two shards of `size` prompts through the teacher that asks a server."""
    teacher = openai_server.build(model="loop", endpoints=url, seeds=True, in_flight=in_flight)
    sample(teacher, folder, shards(2, size))


def usable(one: Prompt, traces: Sequence[Trace]) -> int:
    """P whole and distinct texts are wanted."""
    whole = {t.text for t in traces if t.text and t.finish_reason is FinishReason.STOP}
    return max(0, P - len(whole))


def by_prompt(traces: Iterable[Trace]) -> list[list[Trace]]:
    """The traces of each prompt."""
    groups: dict[str, list[Trace]] = {}
    for trace in traces:
        groups.setdefault(trace.prompt_id, []).append(trace)
    return list(groups.values())
