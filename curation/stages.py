"""The stages of a build as plain functions over one shard: prompts to scored canvases.

Every function is idempotent: it first looks for a mark with the fingerprint of its inputs and, if
that stands and its files are whole, does nothing. A fingerprint covers the inputs' sha256, the
recipe's slice that matters, and `VERSION`, which is bumped by hand when a stage's meaning changes.
`release.py` holds the last stage.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from curation import groups, sampling, shards
from curation import prompts as prompt_reading
from curation.job import Job
from curation.shards import Mark
from curation.teachers import Failure
from schemas import arrow
from schemas.errors import ShortError
from schemas.recipe import digest, locate
from schemas.records import (
    Canvas,
    GradedTrace,
    Prompt,
    Rejection,
    Scores,
    Stage,
    Trace,
)
from scorers.revision import directory_revision

VERSION = {stage: 1 for stage in Stage}


class SourceFact(BaseModel):
    """What was read from a source or an evaluation set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    licence: str
    fingerprint: str


class Census(BaseModel):
    """The completion mark of the prompts stage: how many shards, and what was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fingerprint: str
    shards: int
    rows: int
    prompts: int
    sources: tuple[SourceFact, ...]
    evaluation: tuple[SourceFact, ...]


# --- prompts -----------------------------------------------------------------------------------


def read_prompts(job: Job) -> Census:
    """Read every source into shards of prompts; rejected rows go beside them."""
    fingerprint = _prompts_fingerprint(job)
    if census := standing_census(job):
        return census
    (job.run / Stage.PROMPTS / "census.json").unlink(missing_ok=True)
    index, rows, total = 0, 0, 0
    kept: list[Prompt] = []
    dropped: list[Rejection] = []

    def flush() -> None:
        data = arrow.table(Prompt, kept)
        shards.write(job.run, Stage.PROMPTS, index, fingerprint, data, dropped)

    outcomes = prompt_reading.read_prompts(
        job.sources, job.evaluation, traces=_wants_traces(job), limit=job.limit
    )
    for outcome in outcomes:
        rows += 1
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
    shards.drop_after(job.run, Stage.PROMPTS, index)
    census = Census(
        fingerprint=fingerprint,
        shards=index,
        rows=rows,
        prompts=total,
        sources=_facts(job.sources),
        evaluation=_facts(job.evaluation),
    )
    shards.replace_text(
        job.run / Stage.PROMPTS / "census.json", census.model_dump_json(indent=1) + "\n"
    )
    return census


def standing_census(job: Job) -> Census | None:
    """The census of an earlier run over the same inputs, if all its shards are whole."""
    try:
        text = (job.run / Stage.PROMPTS / "census.json").read_bytes()
        census = Census.model_validate_json(text)
    except (OSError, ValidationError):
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
            VERSION[Stage.PROMPTS],
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


def _facts(sources: Sequence[prompt_reading.Source]) -> tuple[SourceFact, ...]:
    return tuple(
        SourceFact(label=s.label, licence=s.licence, fingerprint=s.fingerprint()) for s in sources
    )


def load_prompts(job: Job, index: int) -> list[Prompt]:
    """The prompts of a shard."""
    return list(arrow.records(Prompt, shards.read(job.run, Stage.PROMPTS, index)))


# --- traces ------------------------------------------------------------------------------------


def sample_traces(job: Job, census: Census) -> None:
    """Sample every shard that is not complete; ShortError when samples could not be had."""
    todo = [i for i in range(census.shards) if not standing(job, Stage.TRACES, i)]
    if not todo:
        return
    short: list[Failure] = []

    def close(index: int, traces: Sequence[Trace], failures: Sequence[Failure]) -> None:
        retryable = [failure for failure in failures if failure.retryable]
        if retryable:
            short.extend(retryable)
            return
        _close_traces(job, index, traces, failures)

    began, shown = time.monotonic(), 0

    def show(now: sampling.Progress) -> None:
        nonlocal shown
        rate = now.completion_tokens / max(1e-9, time.monotonic() - began)
        note = f"{rate:,.0f} tokens/s, {now.failures} failures"
        job.bars.add(Stage.TRACES, now.done - shown, now.wanted, note)
        shown = now.done

    sampling.run(
        job.teacher,
        (sampling.Shard(index=i, prompts=load_prompts(job, i)) for i in todo),
        samples=job.recipe.samples or job.recipe.paths,
        folder=job.run / Stage.TRACES,
        have=lambda index: _earlier_traces(job, index),
        close=close,
        progress=show,
    )
    if short:
        raise ShortError(
            f"{len(short)} samples could not be had (first: {short[0].reason}: {short[0].detail}); "
            f"everything else is kept; run the same command again to get the rest"
        )


def _close_traces(
    job: Job, index: int, traces: Sequence[Trace], failures: Sequence[Failure]
) -> None:
    """Close a shard's journal into Parquet; traces that no longer belong are set aside."""
    prompts = {prompt.id: prompt for prompt in load_prompts(job, index)}
    keys = {trace.key for trace in traces}
    path = shards.shard_path(job.run, Stage.TRACES, index)
    if any(trace.key not in keys for trace in _earlier_traces(job, index)):
        aside = path.parent / "superseded" / f"{path.stem}-{shards.sha256(path)[:12]}.parquet"
        aside.parent.mkdir(exist_ok=True)
        path.replace(aside)
    rejections = [
        Rejection(
            stage=Stage.TRACES,
            prompt_id=failure.prompt_id,
            source=prompts[failure.prompt_id].source,
            row=prompts[failure.prompt_id].row,
            index=failure.index,
            reason=failure.reason,
            detail=failure.detail,
        )
        for failure in failures
    ]
    fingerprint = _fingerprint(job, Stage.TRACES, index)
    shards.write(
        job.run, Stage.TRACES, index, fingerprint, arrow.table(Trace, traces), rejections
    )


def _earlier_traces(job: Job, index: int) -> list[Trace]:
    if not shards.shard_path(job.run, Stage.TRACES, index).exists():
        return []
    return list(arrow.records(Trace, shards.read(job.run, Stage.TRACES, index)))


# --- grades, canvases, scores ------------------------------------------------------------------


def grade(job: Job, index: int) -> Mark:
    """Grade the traces of a shard against their golds."""
    fingerprint = _fingerprint(job, Stage.GRADED, index)
    if mark := shards.done(job.run, Stage.GRADED, index, fingerprint):
        return mark
    golds = {prompt.id: prompt.gold for prompt in load_prompts(job, index)}
    traces = list(arrow.records(Trace, shards.read(job.run, Stage.TRACES, index)))
    answers = job.graders.grade([(trace.text, golds[trace.prompt_id]) for trace in traces])
    graded = [
        GradedTrace(trace=t, text=t.text[: a.end], grade=a.grade, answer=a.answer)
        for t, a in zip(traces, answers, strict=True)
    ]
    job.bars.add(Stage.GRADED, len(graded))
    data = arrow.table(GradedTrace, graded)
    return shards.write(job.run, Stage.GRADED, index, fingerprint, data, ())


def assemble(job: Job, index: int) -> Mark:
    """Join the graded traces of a shard into canvases."""
    fingerprint = _fingerprint(job, Stage.CANVASES, index)
    if mark := shards.done(job.run, Stage.CANVASES, index, fingerprint):
        return mark
    by_prompt: dict[str, list[GradedTrace]] = {}
    for graded in arrow.records(GradedTrace, shards.read(job.run, Stage.GRADED, index)):
        by_prompt.setdefault(graded.trace.prompt_id, []).append(graded)
    canvases: list[Canvas] = []
    rejections: list[Rejection] = []
    for prompt in load_prompts(job, index):
        bare = replace(prompt, recorded=())  # the chosen traces are on the canvas already
        group = groups.assemble(bare, by_prompt.get(prompt.id, []), job.rules, job.counter)
        rejections.extend(group.rejections)
        if group.canvas is not None:
            canvases.append(group.canvas)
        job.bars.add(Stage.CANVASES, 1)
    data = arrow.table(Canvas, canvases)
    return shards.write(job.run, Stage.CANVASES, index, fingerprint, data, rejections)


def score(job: Job, index: int) -> Mark:
    """Measure the SeqDep of a shard's canvases and of their long-CoT twins."""
    fingerprint = _fingerprint(job, Stage.SCORED, index)
    if mark := shards.done(job.run, Stage.SCORED, index, fingerprint):
        return mark
    canvases = list(load_canvases(job, index))
    data = arrow.table(Scores, _scores(job, canvases))
    return shards.write(job.run, Stage.SCORED, index, fingerprint, data, ())


def _scores(job: Job, canvases: Sequence[Canvas]) -> list[Scores]:
    spec, scorer = job.recipe.scorer, job.scorer
    if spec is None or scorer is None:
        empty = Scores(
            prompt_id="", path=None, step=None, summary_gain=None, scorer="", scorer_revision=""
        )
        return [replace(empty, prompt_id=canvas.prompt.id) for canvas in canvases]
    from scorers import seqdep

    texts = [
        seqdep.Texts(
            prompt=canvas.prompt.text,
            paths=tuple(path.text for path in canvas.paths),
            summary=canvas.summary,
            long_cot=groups.long_cot(canvas),
        )
        for canvas in canvases
    ]
    measured = seqdep.score(
        scorer,
        texts,
        batch_tokens=spec.batch_tokens,
        step_tokens=spec.step_tokens,
        progress=lambda n: job.bars.add(Stage.SCORED, n),
    )
    return [
        Scores(
            prompt_id=canvas.prompt.id,
            path=one.path,
            step=one.step,
            summary_gain=one.summary_gain,
            scorer=scorer.name,
            scorer_revision=scorer.revision,
        )
        for canvas, one in zip(canvases, measured, strict=True)
    ]


def load_canvases(job: Job, index: int) -> Iterator[Canvas]:
    """The canvases of a shard."""
    return arrow.records(Canvas, shards.read(job.run, Stage.CANVASES, index))


def corpus(job: Job, census: Census) -> Iterator[tuple[Canvas, Scores]]:
    """Every canvas with its scores, in order, one shard in memory at a time."""
    for index in range(census.shards):
        scores = arrow.records(Scores, shards.read(job.run, Stage.SCORED, index))
        yield from zip(load_canvases(job, index), scores, strict=True)


# --- fingerprints ------------------------------------------------------------------------------


def standing(job: Job, stage: Stage, index: int) -> Mark | None:
    """The mark of a shard whose inputs are unchanged and whose files are whole."""
    try:
        fingerprint = _fingerprint(job, stage, index)
    except FileNotFoundError:
        return None
    return shards.done(job.run, stage, index, fingerprint)


def _fingerprint(job: Job, stage: Stage, index: int) -> str:
    """What a shard of `stage` depends on; FileNotFoundError where an input is missing."""
    recipe = job.recipe
    facts: list[object] = [stage, VERSION[stage], arrow.SCHEMA_VERSION]
    match stage:
        case Stage.TRACES:
            samples = recipe.samples or recipe.paths
            facts.append(_input(job, Stage.PROMPTS, index))
            facts.extend(
                job.teacher.key(prompt, i)
                for prompt in load_prompts(job, index)
                for i in range(job.teacher.wanted(prompt, samples))
            )
        case Stage.GRADED:
            facts += [_input(job, Stage.PROMPTS, index), _input(job, Stage.TRACES, index)]
        case Stage.CANVASES:
            facts += [_input(job, Stage.PROMPTS, index), _input(job, Stage.GRADED, index)]
            facts += [asdict(job.rules), [_revision(path) for path in recipe.canvas.tokenizer]]
        case Stage.SCORED:
            facts.append(_input(job, Stage.CANVASES, index))
            if recipe.scorer is not None:
                facts += [_revision(recipe.scorer.path), recipe.scorer.step_tokens]
                facts.append(recipe.scorer.batch_tokens)
        case _:
            raise AssertionError(f"{stage} is not made shard by shard")
    return digest(facts)


def _input(job: Job, stage: Stage, index: int) -> str:
    mark = shards.read_mark(job.run, stage, index)
    if mark is None:
        raise FileNotFoundError(f"{stage} shard {index} has not been made")
    return mark.sha256


def _revision(path: str) -> str:
    """The state of a model directory; a hub id stands for itself."""
    here = locate(path)
    return directory_revision(Path(here)) if Path(here).is_dir() else path
