"""The build flow: each step of `curation.pipeline` is a Prefect task.

In: a recipe. Out: a run directory and an `Outcome`. Prefect starts the steps on the recipe's task
runner, works on several shards at a time, and shows how far a build is. The run directory alone
says what is done, so a build can be stopped at any moment and started again.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from prefect import flow, task
from pydantic import BaseModel, ConfigDict

from curation.context import Job
from curation.pipeline import OF_ONE_SHARD, STAGES, WORK, Step, run_steps
from curation.stages import fingerprints
from flows.page import REPORT, is_fresh, write_report
from flows.progress import Meter
from flows.runtime.runners import runner_of
from schemas.outcome import Outcome
from schemas.recipe import Recipe

Watch = Callable[[Meter], AbstractContextManager[object]]


class JobSpec(BaseModel):
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
def job_of(spec: JobSpec) -> Job:
    """The job in this process; its parts are made once."""
    return Job(
        recipe=Recipe.model_validate_json(spec.recipe),
        run=Path(spec.run),
        limit=spec.limit,
        shown=spec.build.startswith(_HERE),
    )


@task
def work(spec: JobSpec, step: Step, *arguments: object) -> Any:
    """A step over all shards, in the process of the worker that got the task."""
    return WORK[step](job_of(spec), *arguments)


@task(task_run_name="{step} {index}")
def work_on_shard(spec: JobSpec, step: Step, index: int) -> Any:
    """A step over one shard, in the process of the worker that got the task."""
    return WORK[step](job_of(spec), index)


@task(name="write page")
def show(run: str) -> None:
    """Write `report.html`."""
    write_report(Path(run) / REPORT, Path(run))


class Conducted:
    """Submits steps as Prefect tasks to the recipe's task runner, and moves the progress meter."""

    def __init__(self, spec: JobSpec, recipe: Recipe, meter: Meter) -> None:
        self.is_remote = recipe.task_runner != "threads"
        self._spec, self._meter = spec, meter

    def submit(
        self, step: Step, *arguments: object, after: Sequence[Any] = (), share: float = 1.0
    ) -> Any:
        """Submit a task that starts when the tasks of `after` have ended."""
        kind = work_on_shard if step in OF_ONE_SHARD else work
        named = kind.with_options(name=step.value)
        future = named.submit(self._spec, step, *arguments, wait_for=after)  # type: ignore[call-overload]
        if (stage := STAGES.get(step)) is not None:
            future.add_done_callback(lambda _: self._meter.add(stage, share))
        return future


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
        return run_stages(recipe, Path(run), limit, watch)

    return build(recipe, str(run), limit)


def run_stages(recipe: Recipe, run: Path, limit: int | None, watch: Watch = nullcontext) -> Outcome:
    """Build, and start the experiment; called in a flow, whose task runner works on the shards."""
    began = time.monotonic()
    start = _experiment_on(run, recipe.handoff) if recipe.handoff is not None else None
    outcome = _build(recipe, run, limit, watch)
    if not (outcome.reused and is_fresh(run)):
        show(str(run))
    if start is not None and outcome.canvases:
        outcome = outcome.model_copy(update={"experiment": start()})
    return outcome.model_copy(update={"seconds": round(time.monotonic() - began, 1)})


def _experiment_on(run: Path, name: str) -> Callable[[], str]:
    """What starts the experiment on the corpus and returns its folder; a mistake is raised here.

    It imports PyTorch, which takes seconds that a build without an experiment need not wait for.
    """
    from flows.experiment import checked
    from flows.finetune_eval import finetune_eval

    experiment = checked(name, run)
    return lambda: finetune_eval(experiment, str(run))


def _build(recipe: Recipe, run: Path, limit: int | None, watch: Watch) -> Outcome:
    path = str(run if recipe.task_runner == "threads" else run.absolute())
    build = f"{_HERE} {uuid4().hex}"
    spec = JobSpec(recipe=recipe.model_dump_json(), run=path, limit=limit, build=build)
    job_of.cache_clear()
    job = job_of(spec)
    meter = Meter(fingerprints.stages_of(recipe), job.bars)
    try:
        with watch(meter):
            return run_steps(job, Conducted(spec, recipe, meter))
    finally:
        job.close()
