"""A build's funnel, stage by stage: what went in, what came out, what was dropped and why.

In: a manifest. Out: one `StageFlow` a stage, in order; each begins with what the one before let
out.
"""

from collections.abc import Iterator
from typing import NamedTuple

from schemas.manifest import Manifest
from schemas.records import Stage


class Flow(NamedTuple):
    """Prompts, or traces, through a stage: `before` is `after` plus the counts of `dropped`."""

    before: int
    after: int
    dropped: tuple[tuple[str, int], ...]  # (reason, count), the most frequent first


class StageFlow(NamedTuple):
    """A stage of the funnel; `traces` is None where prompts are read, unless some are rejected."""

    stage: Stage
    prompts: Flow
    traces: Flow | None


def funnel(manifest: Manifest) -> Iterator[StageFlow]:
    """Every stage that the build had."""
    had = {Stage.RELEASE, *(shard.stage for shard in manifest.shards)}
    prompts, traces = manifest.prompts.in_, manifest.traces.in_
    for stage in Stage:
        if stage not in had:
            continue
        of_prompts = _flow(manifest, stage, "prompt", prompts)
        of_traces: Flow | None = _flow(manifest, stage, "trace", traces)
        if stage is Stage.PROMPTS and of_traces is not None and not of_traces.dropped:
            of_traces = None
        yield StageFlow(stage, of_prompts, of_traces)
        prompts = of_prompts.after
        traces = of_traces.after if of_traces else traces


def _flow(manifest: Manifest, stage: Stage, kind: str, before: int) -> Flow:
    dropped = [
        (one.reason, one.count)
        for one in manifest.rejected
        if one.stage is stage and one.kind == kind
    ]
    after = before - sum(count for _, count in dropped)
    return Flow(before, after, tuple(sorted(dropped, key=lambda one: (-one[1], one[0]))))
