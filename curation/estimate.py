"""Estimate the tokens, hours and yield of a build: build a few prompts, and count the others.

The trial runs in a temporary folder through the same stages as a build, so a mistake in the recipe
shows here too. A missing server shows before the prompts are read, which may take a minute.
"""

import asyncio
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from curation import components, pipeline
from curation.context import Job
from curation.graders import AsksServer
from curation.release.token_usage import JudgeUsage, count_judge_usage
from curation.run_store import shards
from curation.stages import filter_stage, fingerprints, prompt_stage
from curation.teachers import ServedTeacher
from schemas import arrow
from schemas.recipe import Recipe
from schemas.records import Stage, Trace
from support.errors import UserError

TRIAL = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildEstimate:
    """Costs measured on `tried` prompts and scaled to `prompts`; times are of this machine."""

    rows: int
    prompts: int
    tried: int
    traces: int
    tokens: int
    sampling_seconds: float
    other_seconds: float
    released: int
    judge: JudgeUsage
    judge_names: tuple[str, ...] = ()

    @property
    def judge_tokens(self) -> JudgeUsage:
        """Replies of a judge, and tokens that it will read and write."""
        return JudgeUsage(*(round(count * self.prompts / self.tried) for count in self.judge))

    @property
    def teacher_tokens(self) -> int:
        """Tokens the teacher will write."""
        return round(self.tokens * self.prompts / self.tried)

    @property
    def hours(self) -> float:
        """The whole build on this machine."""
        return (self.sampling_seconds + self.other_seconds) * self.prompts / self.tried / 3600

    @property
    def canvases(self) -> int:
        """The expected yield."""
        return round(self.released * self.prompts / self.tried)

    def json(self) -> str:
        """The estimate as one object."""
        return json.dumps(
            {
                "prompts": self.prompts,
                "teacher_tokens": self.teacher_tokens,
                **self._judge_json(),
                "hours": round(self.hours, 4),
                "canvases": self.canvases,
                "tried": self.tried,
            }
        )

    def text(self) -> str:
        """The estimate for people."""
        return "\n".join(
            (
                f"tried {self.tried} prompts: {self.traces} traces, {self.tokens:,} tokens, "
                f"{self.sampling_seconds:.1f} s of sampling, "
                f"{self.other_seconds:.1f} s for the rest",
                f"{self.rows:,} rows hold {self.prompts:,} usable prompts",
                f"  teacher tokens   {self.teacher_tokens:,}",
                *self._judge_lines(),
                f"  hours            {self.hours:.2f} on this machine",
                f"  expected yield   {self.canvases:,} canvases "
                f"({self.released} of {self.tried} tried prompts)",
            )
        )

    def _judge_json(self) -> dict[str, int]:
        if not self.judge.replies:
            return {}
        used = self.judge_tokens
        return {"judge_tokens_read": used.read, "judge_tokens": used.written}

    def _judge_lines(self) -> tuple[str, ...]:
        if not self.judge.replies:
            return ()
        used = self.judge_tokens
        return (
            f"  judge tokens     {used.written:,} written, {used.read:,} read, for "
            f"{used.replies:,} replies of {', '.join(self.judge_names)}",
        )


def estimate_build(recipe: Recipe, limit: int | None = None) -> BuildEstimate:
    """Try the first prompts of `recipe` and scale up.

    `limit` caps the rows that are read, and scaled up to.

    Raises:
        UserError: a mistake in the recipe, or servers of `serve:` that cannot be started.
        ShortError: none of the teacher's or of the judge's servers answers.
    """
    with tempfile.TemporaryDirectory() as folder:
        trial = recipe.model_copy(update={"shard_rows": TRIAL})
        job = Job(recipe=trial, run=Path(folder), limit=limit)
        try:
            return _measure(job)
        finally:
            job.close()


def _measure(job: Job) -> BuildEstimate:
    """Try the second twenty prompts, after the first twenty have loaded every model."""
    job.check()
    job.check_servers()
    if isinstance(job.teacher, ServedTeacher):
        asyncio.run(job.teacher.reach())
    if isinstance(job.grader, AsksServer):
        job.grader.reach()
    source_index = prompt_stage.read_prompts(job)
    filled = [i for i in range(source_index.shards) if fingerprints.load_prompts(job, i)][:2]
    if not filled:
        raise UserError("nothing to estimate: every row was rejected; build to see the reasons")
    for index in filled[:-1]:
        _run(job, source_index, index)
    shard, judged_before = filled[-1], count_judge_usage(job.run)
    sampling_seconds, other_seconds = _run(job, source_index, shard)
    traces = list(arrow.records(Trace, shards.read(job.run, Stage.TRACES, shard)))
    return BuildEstimate(
        rows=source_index.rows,
        prompts=source_index.prompts,
        tried=len(fingerprints.load_prompts(job, shard)),
        traces=len(traces),
        tokens=sum(trace.completion_tokens or 0 for trace in traces),
        sampling_seconds=sampling_seconds,
        other_seconds=other_seconds,
        released=filter_stage.count_passing(job, shard),
        judge=count_judge_usage(job.run).less(judged_before),
        judge_names=components.judge_names(job.recipe.grader),
    )


def _run(job: Job, source_index: prompt_stage.SourceIndex, index: int) -> tuple[float, float]:
    """Seconds of sampling one shard, and of grading, assembling and scoring it."""
    executor = pipeline.InThisProcess(job)
    began = time.monotonic()
    first_shards = source_index.model_copy(update={"shards": index + 1})
    executor.submit(pipeline.Step.SAMPLE_TRACES, first_shards)
    sampled = time.monotonic()
    pipeline.finish_shards(job, executor, source_index, [index])
    return sampled - began, time.monotonic() - sampled
