"""Filters over the scored canvases of a build: who passes, who is dropped and why.

In: scored canvases of some shards and the recipe's filters. Out: the canvases that pass, and
`rejected/release-NNNNN.parquet` with the others. Filters learn first, each from what the filters
before it let through.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from curation.context import Job
from curation.release import writer
from curation.run_store import shards
from curation.stages import shard_stages
from curation.stages.build_manifest import ReleaseTally
from schemas import arrow
from schemas.records import Canvas, Rejection, Scores, Stage, Verdict


def count_passing(job: Job, index: int) -> int:
    """How many canvases of one shard the filters let through, had they seen no other."""
    only = range(index, index + 1)
    fit(job, only)
    return sum(drop is None for _, _, drop in _judged(job, only, len(job.filters)))


def shards_to_fit(job: Job, spans: Sequence[range]) -> range:
    """The shards that filters learn from: up to the first edition that holds a canvas."""
    for span in spans:
        if any(shards.require_marker(job.run, Stage.CANVASES, index).rows for index in span):
            return range(spans[0].start, span.stop)
    return spans[0]


def fit(job: Job, indices: range) -> None:
    """Let every filter learn from what the filters before it let through."""
    for number, rule in enumerate(job.filters):
        rule.fit(pair for _, pair, drop in _judged(job, indices, number) if drop is None)


def _judged(
    job: Job, indices: range, rules: int
) -> Iterator[tuple[int, tuple[Canvas, Scores], tuple[int, Verdict] | None]]:
    """(shard, canvas with scores, the first of `rules` filters that drops it and why)."""
    for index in indices:
        for canvas, scores in shard_stages.shard_corpus(job, index):
            drop = None
            for number, rule in enumerate(job.filters[:rules]):
                verdict = rule.judge(canvas, scores)
                if not verdict.keep:
                    drop = (number, verdict)
                    break
            yield index, (canvas, scores), drop


def kept(job: Job, indices: range, tally: ReleaseTally) -> Iterator[tuple[Canvas, Scores]]:
    """The canvases that pass every filter; the others are written to `rejected/` shard by shard."""
    rejections: list[Rejection] = []
    shard = indices.start
    for index, (canvas, scores), drop in _judged(job, indices, len(job.filters)):
        job.bars.add(Stage.RELEASE, 1)
        if index != shard:
            _write_rejections(job.run, shard, rejections, tally)
            rejections, shard = [], index
        last = len(job.filters) if drop is None else drop[0] + 1
        for number in range(last):
            tally.seen[number] += 1
        if drop is None:
            tally.path_tokens += sum(canvas.path_tokens)
            tally.summary_tokens += canvas.summary_tokens
            yield canvas, scores
        else:
            number, verdict = drop
            tally.dropped[number][verdict.reason] += 1
            rejections.extend(_drop(canvas, job.recipe.filters[number].kind, verdict))
    _write_rejections(job.run, shard, rejections, tally)


def _drop(canvas: Canvas, kind: str, verdict: Verdict) -> Iterator[Rejection]:
    """The rejection of a canvas's prompt, then those of its traces."""
    prompt = canvas.prompt
    for index in (None, *sorted(path.trace.index for path in canvas.paths)):
        yield Rejection(
            stage=Stage.RELEASE,
            prompt_id=prompt.id,
            source=prompt.source,
            row=prompt.row,
            index=index,
            reason=verdict.reason if index is None else "prompt_rejected",
            detail=f"filter {kind}: {verdict.detail}",
        )


def _write_rejections(
    run: Path, index: int, rejections: list[Rejection], tally: ReleaseTally
) -> None:
    if not rejections:
        return
    path = run / "rejected" / f"{Stage.RELEASE}-{index:05d}.parquet"
    shards.write_table(run, path, arrow.table(Rejection, rejections))
    tally.files.append(writer.describe(path, f"rejected/{path.name}"))
    for reason in shards.count_reasons(rejections):
        tally.rejected[reason.kind, reason.reason] += reason.count
