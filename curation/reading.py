"""The first stage: every source into shards of prompts, and a census of what was read.

In: the recipe's sources and evaluation sets. Out: `prompts/NNNNN.parquet`, rejections beside them,
and `prompts/census.json`, the stage's completion mark. One pass; only hashes stay in memory.
"""

from collections import Counter
from dataclasses import asdict

from curation import chain, prompts, shards
from curation.decontaminate import build_index
from curation.job import Job
from schemas import arrow
from schemas.durable import replace_text
from schemas.facts import Count, Decontamination, Fact, SourceFacts
from schemas.recipe import digest
from schemas.records import Prompt, Rejection, Stage


class Census(Fact):
    """The completion mark of the prompts stage: how many shards, and what was read."""

    fingerprint: str
    shards: Count
    rows: Count
    prompts: Count
    sources: tuple[SourceFacts, ...]
    evaluation: tuple[Decontamination, ...]


def read_prompts(job: Job) -> Census:
    """Read every source into shards of prompts; rejected rows go beside them."""
    fingerprint = _prompts_fingerprint(job)
    if census := standing_census(job):
        return census
    (job.run / Stage.PROMPTS / "census.json").unlink(missing_ok=True)
    index, total = 0, 0
    rows: Counter[str] = Counter()
    kept: list[Prompt] = []
    dropped: list[Rejection] = []

    def flush() -> None:
        data = arrow.table(Prompt, kept)
        shards.write(job.run, Stage.PROMPTS, index, fingerprint, data, dropped)

    known = build_index(job.evaluation)
    outcomes = prompts.read_prompts(job.sources, known, traces=_wants_traces(job), limit=job.limit)
    for outcome in outcomes:
        rows[outcome.source] += 1
        job.bars.add(Stage.PROMPTS, 1)
        if isinstance(outcome, Prompt):
            kept.append(outcome)
        else:
            dropped.append(outcome)
        if len(kept) == job.recipe.shard_rows or len(dropped) == 20 * job.recipe.shard_rows:
            flush()
            index, total = index + 1, total + len(kept)
            kept, dropped = [], []
    if kept or dropped or not index:
        flush()
        index, total = index + 1, total + len(kept)
    job.bars.end(Stage.PROMPTS)
    for stage in Stage:
        shards.drop_after(job.run, stage, index)
    census = Census(
        fingerprint=fingerprint,
        shards=index,
        rows=rows.total(),
        prompts=total,
        sources=tuple(
            SourceFacts(
                label=s.label, licence=s.licence, fingerprint=s.fingerprint(), rows=rows[s.label]
            )
            for s in job.sources
        ),
        evaluation=tuple(Decontamination(**asdict(found)) for found in known.found()),
    )
    replace_text(job.run / Stage.PROMPTS / "census.json", shards.seal(census))
    return census


def standing_census(job: Job) -> Census | None:
    """The census of an earlier run over the same inputs, if all its shards are whole."""
    census = shards.unseal(Census, job.run / Stage.PROMPTS / "census.json")
    if census is None:
        return None
    if census.fingerprint != _prompts_fingerprint(job):
        return None
    marks = (
        shards.done(job.run, Stage.PROMPTS, i, census.fingerprint) for i in range(census.shards)
    )
    return census if all(marks) else None


def _prompts_fingerprint(job: Job) -> str:
    return digest(
        [
            chain.VERSION[Stage.PROMPTS],
            arrow.SCHEMA_VERSION,
            [source.fingerprint() for source in job.sources],
            [source.fingerprint() for source in job.evaluation],
            _wants_traces(job),
            job.limit,
            job.recipe.shard_rows,
        ]
    )


def _wants_traces(job: Job) -> bool:
    return job.recipe.teacher.kind == "recorded"
