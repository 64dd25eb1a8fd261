"""A build's funnel: how many prompts and traces each stage received, passed on and dropped."""

from collections.abc import Iterator
from typing import NamedTuple

from schemas.facts import Kind
from schemas.manifest import Manifest
from schemas.records import Stage


class Flow(NamedTuple):
    """Counts of prompts or of traces; `before` is `after` plus the counts of `dropped`."""

    before: int
    after: int
    dropped: tuple[tuple[str, int], ...]  # (reason, count), the most frequent first


class StageFlow(NamedTuple):
    """A stage of the funnel; `traces` is None where prompts are read and no trace is dropped."""

    stage: Stage
    prompts: Flow
    traces: Flow | None


def funnel(manifest: Manifest) -> Iterator[StageFlow]:
    """The stages of the build, in order."""
    stages = {Stage.RELEASE, *(shard.stage for shard in manifest.shards)}
    prompts, traces = manifest.prompts.in_, manifest.traces.in_
    for stage in (stage for stage in Stage if stage in stages):
        of_prompts = _flow(manifest, stage, "prompt", prompts)
        of_traces = _flow(manifest, stage, "trace", traces)
        is_shown = stage is not Stage.PROMPTS or of_traces.dropped
        yield StageFlow(stage, of_prompts, of_traces if is_shown else None)
        prompts, traces = of_prompts.after, of_traces.after


def _flow(manifest: Manifest, stage: Stage, kind: Kind, before: int) -> Flow:
    entries = [one for one in manifest.rejected if one.stage is stage and one.kind == kind]
    entries.sort(key=lambda one: (-one.count, one.reason))
    after = before - sum(one.count for one in entries)
    return Flow(before, after, tuple((one.reason, one.count) for one in entries))
