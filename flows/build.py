"""The build flow. A task is one stage over one shard, and makes one call into `curation`.

In: a recipe. Out: a run directory and an `Outcome`. Prefect starts the stages in order, works on
several shards at a time, and shows how far a build is. The run directory alone says what is done,
so a build can be stopped at any moment and started again.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from prefect import flow, task
from prefect.futures import PrefectFuture
from pydantic import BaseModel, ConfigDict

from curation.context import Job
from curation.run_store import shards
from curation.stages import fingerprints, measure_controls, shard_stages
from curation.stages import read_prompts as reading
from curation.stages import release as finish
from curation.stages import sample_traces as trace_stage
from curation.stages import write_summaries as summary_stage
from curation.stages.read_prompts import Census
from flows.experiment import checked
from flows.finetune_eval import finetune_eval
from flows.page import REPORT, is_fresh, write_report
from flows.progress import Meter
from flows.runtime.runners import runner_of
from schemas.outcome import Outcome
from schemas.recipe import Recipe
from schemas.records import Stage
from support.files import lock

Watch = Callable[[Meter], AbstractContextManager[object]]


class Spec(BaseModel):
    """A job as plain values, the only thing that tasks receive; holds no secrets.

    `build` differs between builds, so that a worker process that is used again makes new parts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str  # canonical JSON
    run: str
    limit: int | None
    build: str


_HERE = uuid4().hex  # this process


@lru_cache(maxsize=1)
def job_of(spec: Spec) -> Job:
    """The job in this process; its parts are made once."""
    return Job(
        recipe=Recipe.model_validate_json(spec.recipe),
        run=Path(spec.run),
        limit=spec.limit,
        shown=spec.build.startswith(_HERE),
    )


@task(name="read prompts")
def read_prompts(spec: Spec) -> Census:
    """Read all sources into shards of prompts."""
    return reading.read_prompts(job_of(spec))


@task(name="sample traces")
def sample_traces(spec: Spec, census: Census) -> None:
    """Sample the traces of all shards, in one long-lived service."""
    trace_stage.sample_traces(job_of(spec), census)


@task(name="grade", task_run_name="grade {index}")
def grade(spec: Spec, index: int) -> shards.Mark:
    """Grade the traces of one shard."""
    return shard_stages.grade(job_of(spec), index)


@task(name="assemble", task_run_name="assemble {index}")
def assemble(spec: Spec, index: int) -> shards.Mark:
    """Assemble the canvases of one shard."""
    return shard_stages.assemble(job_of(spec), index)


@task(name="write summaries")
def write_summaries(spec: Spec, census: Census) -> None:
    """Let the teacher write the summaries of all canvases, if the recipe asks for that."""
    summary_stage.write_summaries(job_of(spec), census)


@task(name="score", task_run_name="score {index}")
def score(spec: Spec, index: int) -> shards.Mark:
    """Measure the SeqDep of one shard."""
    return shard_stages.score(job_of(spec), index)


@task(name="score controls")
def score_controls(spec: Spec, census: Census) -> None:
    """Measure the controls of the path level on a few canvases."""
    measure_controls.measure(job_of(spec), census)


@task(name="release")
def release(spec: Spec, census: Census) -> Outcome:
    """Filter the canvases, and write the dataset, its card and the manifest."""
    return finish.make(job_of(spec), census)


@task(name="write page")
def show(run: str) -> None:
    """Write `report.html`."""
    write_report(Path(run) / REPORT, Path(run))


def _finish_shards(spec: Spec, census: Census, meter: Meter) -> None:
    """Grade, assemble and score every shard; the stages of one shard wait for each other."""
    graded: list[PrefectFuture[shards.Mark]] = []
    joined: list[PrefectFuture[shards.Mark]] = []
    for index in range(census.shards):
        graded.append(grade.submit(spec, index))
        joined.append(assemble.submit(spec, index, wait_for=graded[-1:]))  # type: ignore[call-overload]
    before: list[Any] = list(joined)
    if job_of(spec).recipe.summary.by == "teacher":
        before = [write_summaries.submit(spec, census, wait_for=joined)] * census.shards  # type: ignore[call-overload]
        meter.follow(Stage.SUMMARIES, before[:1])
    scored = [
        score.submit(spec, index, wait_for=before[index : index + 1])  # type: ignore[call-overload]
        for index in range(census.shards)
    ]
    meter.follow(Stage.GRADED, graded)
    meter.follow(Stage.CANVASES, joined)
    meter.follow(Stage.SCORED, scored)
    bars, is_elsewhere = job_of(spec).bars, job_of(spec).recipe.task_runner != "threads"
    for future in dict.fromkeys((*graded, *joined, *before, *scored)):
        mark = future.result()
        if is_elsewhere and isinstance(mark, shards.Mark):
            bars.add(mark.stage, mark.rows, more=mark.rows)
    if measure_controls.is_wanted(job_of(spec)):
        score_controls.submit(spec, census).result()
    bars.end(*Stage)


def run_build(recipe: Recipe, run: Path, limit: int | None, watch: Watch = nullcontext) -> Outcome:
    """Run the flow `build` with the task runner that the recipe names.

    Args:
        recipe: What to build.
        run: The run directory.
        limit: Read at most this many rows of the sources.
        watch: A context around the work, which is given the progress meter.
    """

    @flow(name="build", task_runner=runner_of(recipe))
    def build(recipe: Recipe, run: str, limit: int | None) -> Outcome:
        """Build a corpus, and start an experiment on it if the recipe names one."""
        return conduct(recipe, Path(run), limit, watch)

    return build(recipe, str(run), limit)


def conduct(recipe: Recipe, run: Path, limit: int | None, watch: Watch = nullcontext) -> Outcome:
    """Build, and start the experiment; called in a flow, whose task runner works on the shards."""
    began = time.monotonic()
    experiment = checked(recipe.handoff, run) if recipe.handoff is not None else None
    outcome = _build(recipe, run, limit, watch)
    if outcome.canvases and not (outcome.reused and is_fresh(run)):
        show(str(run))
    if experiment is not None and outcome.canvases:
        folder = finetune_eval(experiment, str(run))
        outcome = outcome.model_copy(update={"experiment": folder})
    return outcome.model_copy(update={"seconds": round(time.monotonic() - began, 1)})


def _build(recipe: Recipe, run: Path, limit: int | None, watch: Watch) -> Outcome:
    path = str(run if recipe.task_runner == "threads" else run.absolute())
    build = f"{_HERE} {uuid4().hex}"
    spec = Spec(recipe=recipe.model_dump_json(), run=path, limit=limit, build=build)
    job_of.cache_clear()
    job = job_of(spec)
    meter = Meter(fingerprints.stages_of(recipe), job.bars)
    with lock(run), watch(meter):
        try:
            if earlier := finish.standing(job):  # another build may have ended before the lock
                return earlier
            finish.check_former(job)
            census = read_prompts(spec)
            finish.write_recipe(job)
            meter.add(Stage.PROMPTS)
            sample_traces(spec, census)
            meter.add(Stage.TRACES)
            _finish_shards(spec, census, meter)
            return release(spec, census)
        finally:
            job.close()
