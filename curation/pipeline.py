"""One build from recipe to release: the stages in their order.

`run_build` runs them in this process; the Prefect flow, `flows/build.py`, hands the same steps to
its workers. The run directory records which steps are done, so a build may be stopped anywhere and
started again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from curation.context import Job
from curation.run_store.shards import ShardMarker, refuse_newer
from curation.sampling.spending import begin_anew
from curation.stages import (
    measure_controls,
    prompt_stage,
    release_stage,
    shard_stages,
    summary_stage,
    trace_stage,
)
from curation.stages.prompt_stage import SourceIndex
from schemas.outcome import Outcome
from schemas.recipe import Recipe
from schemas.records import Stage
from support.files import lock


class Step(StrEnum):
    """A piece of work that one worker does; its value is the name that users see in Prefect.

    A `Stage` is a folder of the run, and `STAGES` says which one a step fills.
    """

    READ_PROMPTS = "read prompts"
    SAMPLE_TRACES = "sample traces"
    TAKE_TRACES = "take recorded traces"
    GRADE = "grade"
    ASSEMBLE = "assemble"
    WRITE_SUMMARIES = "write summaries"
    SCORE = "score"
    SCORE_CONTROLS = "score controls"
    RELEASE = "release"


OF_ONE_SHARD = frozenset((Step.TAKE_TRACES, Step.GRADE, Step.ASSEMBLE, Step.SCORE))
# What a step calls, after the job: with the index of a shard (OF_ONE_SHARD), with nothing
# (READ_PROMPTS), or with the source index (all others).
WORK: Mapping[Step, Callable[..., Any]] = {
    Step.READ_PROMPTS: prompt_stage.read_prompts,
    Step.SAMPLE_TRACES: trace_stage.sample_traces,
    Step.TAKE_TRACES: trace_stage.take_recorded,
    Step.GRADE: shard_stages.grade,
    Step.ASSEMBLE: shard_stages.assemble,
    Step.WRITE_SUMMARIES: summary_stage.write_summaries,
    Step.SCORE: shard_stages.score,
    Step.SCORE_CONTROLS: measure_controls.measure,
    Step.RELEASE: release_stage.make_release,
}
STAGES: Mapping[Step, Stage] = {
    Step.READ_PROMPTS: Stage.PROMPTS,
    Step.SAMPLE_TRACES: Stage.TRACES,
    Step.TAKE_TRACES: Stage.TRACES,
    Step.GRADE: Stage.GRADED,
    Step.ASSEMBLE: Stage.CANVASES,
    Step.WRITE_SUMMARIES: Stage.SUMMARIES,
    Step.SCORE: Stage.SCORED,
}


class Submitted(Protocol):
    """A step that was submitted; Prefect's futures are such."""

    def result(self) -> Any:
        """What the step returned, when it has ended; its error is raised here."""


class Executor(Protocol):
    """Who does the steps of a build."""

    is_remote: bool
    """Whether steps may run where this process's progress bars are not seen."""

    def submit(
        self, step: Step, *arguments: object, after: Sequence[Any] = (), share: float = 1.0
    ) -> Any:
        """Start a step as soon as those of `after` have ended.

        `share` is the part of its stage's progress that the step makes up.
        """


class InThisProcess:
    """Does every step at once, in the order in which they are submitted."""

    is_remote = False

    def __init__(self, job: Job) -> None:
        self._job = job

    def submit(
        self, step: Step, *arguments: object, after: Sequence[Any] = (), share: float = 1.0
    ) -> Submitted:
        """Do the step now."""
        done: Future[Any] = Future()
        done.set_result(WORK[step](self._job, *arguments))
        return done


def run_build(recipe: Recipe, run: Path, limit: int | None = None) -> Outcome:
    """Build a corpus in this process, without Prefect; go on where an earlier build stopped.

    Args:
        recipe: What to build.
        run: The run directory; it is made where it is missing.
        limit: Read at most this many rows of the sources.

    Raises:
        UserError: a mistake in the recipe, or the directory holds another corpus.
        ShortError: samples could not be had; the same call goes on.
    """
    job = Job(recipe=recipe, run=run, limit=limit)
    try:
        job.check()
        if earlier := up_to_date(job):
            return earlier
        check_resources(job)
        return run_steps(job, InThisProcess(job))
    finally:
        job.close()


def check_resources(job: Job) -> None:
    """Try servers, scorer and run directory. Takes seconds, so only where there is work to do."""
    trace_stage.check_servers(job)
    shard_stages.check_grader(job)
    job.check_scorer()
    with lock(job.run):  # a directory that is in use, or cannot be written to, shows before
        refuse_newer(job.run)


def up_to_date(job: Job) -> Outcome | None:
    """The outcome of a finished run of this very recipe; None where anything is to be done."""
    if not release_stage.has_manifest(job):
        return None  # and no folder is made: the recipe may yet turn out to be a mistake
    with lock(job.run):
        return release_stage.up_to_date_outcome(job)


def run_steps(job: Job, executor: Executor) -> Outcome:
    """All steps in order, each done by `executor`; `job` is the build in this process."""
    with lock(job.run):
        # Another build may have ended before the lock was taken.
        if earlier := release_stage.up_to_date_outcome(job):
            return earlier
        release_stage.check_previous_release(job)
        begin_anew(job.run)
        if not job.recipe.grow:  # a corpus that grows keeps what it read, or is refused
            release_stage.begin(job)
        source_index: SourceIndex = executor.submit(Step.READ_PROMPTS).result()
        release_stage.begin(job)
        if not release_stage.has_manifest(job):  # it keeps the recipe that made the release
            release_stage.write_recipe(job)
        if not job.teacher.is_record:
            executor.submit(Step.SAMPLE_TRACES, source_index).result()
        finish_shards(job, executor, source_index, range(source_index.shards))
        if measure_controls.is_wanted(job):
            executor.submit(Step.SCORE_CONTROLS, source_index).result()
        job.bars.end(*Stage)
        outcome: Outcome = executor.submit(Step.RELEASE, source_index).result()
        return outcome


def finish_shards(
    job: Job, executor: Executor, source_index: SourceIndex, indices: Iterable[int]
) -> None:
    """Grade, assemble, summarise and score shards; the steps of one shard wait for each other.

    Recorded traces are taken here too, so that all workers take them.
    """
    shards = list(indices)
    share = 1 / max(1, len(shards))
    is_record = job.teacher.is_record
    taken = [executor.submit(Step.TAKE_TRACES, i, share=share) for i in shards if is_record]
    graded = [
        executor.submit(Step.GRADE, i, after=taken[k : k + 1], share=share)
        for k, i in enumerate(shards)
    ]
    assembled = [
        executor.submit(Step.ASSEMBLE, i, after=[before], share=share)
        for i, before in zip(shards, graded, strict=True)
    ]
    written = assembled
    if job.recipe.summary.by == "teacher":
        # One service writes the summaries of all shards up to the last one that is wanted here:
        # an estimate wants only the first ones.
        if shards:
            source_index = source_index.model_copy(update={"shards": max(shards) + 1})
        summaries = executor.submit(Step.WRITE_SUMMARIES, source_index, after=assembled)
        written = [summaries] * len(shards)
    scored = [
        executor.submit(Step.SCORE, i, after=[before], share=share)
        for i, before in zip(shards, written, strict=True)
    ]
    for step in dict.fromkeys((*taken, *graded, *assembled, *written, *scored)):
        mark = step.result()
        if executor.is_remote and isinstance(mark, ShardMarker):
            job.bars.add(mark.stage, mark.rows, more=mark.rows)
