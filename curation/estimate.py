"""Estimate the tokens, hours and yield of a build: build a few prompts, and count the others.

The trial runs in a temporary folder through the same stages as a build, so a mistake in the recipe
shows here too. A missing server shows before the prompts are read, which may take a minute.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from curation import components, pipeline
from curation.context import Job
from curation.graders import AsksServer, NamesQuestions, Submission
from curation.release.token_usage import counted_replies
from curation.run_store import shards
from curation.sampling import journal
from curation.sampling.spending import SAMPLED, Tokens, is_uncounted, sum_of, tokens_of
from curation.stages import filter_stage, fingerprints, prompt_stage
from curation.teachers import ServedTeacher
from schemas import arrow
from schemas.budget import Budget, Price
from schemas.recipe import Recipe
from schemas.records import Prompt, Stage, Trace
from support import stats
from support.errors import UserError
from support.stats import Interval

TRIAL = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildEstimate:
    """Costs measured on `tried` prompts and scaled to `prompts`; times are of this machine.

    `tokens_T` are the tokens of the teacher for each tried prompt, summaries included, `judged_T`
    those of a judge, in `replies` replies. Of `uncounted` samples the server told none: each counts
    as `max_tokens`. Intervals are those of a bootstrap over the tried prompts (95 %).
    """

    rows: int
    prompts: int
    tried: int
    traces: int
    tokens_T: tuple[Tokens, ...]
    price: Price | None
    budget: Budget | None
    uncounted: int
    sampling_seconds: float
    other_seconds: float
    released: int
    judged_T: tuple[Tokens, ...]
    replies: int
    judge_names: tuple[str, ...] = ()

    @property
    def judge_tokens(self) -> Interval:
        """Tokens a judge will write."""
        return self._scaled([each.completion for each in self.judged_T])

    @property
    def tokens(self) -> int:
        """Tokens that the teacher wrote for the tried prompts."""
        return sum(each.completion for each in self.tokens_T)

    @property
    def teacher_tokens(self) -> Interval:
        """Tokens the teacher will write."""
        return self._scaled([each.completion for each in self.tokens_T])

    @property
    def money(self) -> Interval | None:
        """What the tokens of teacher and judge will cost; None without a price."""
        if self.price is None:
            return None
        pairs = zip(self.tokens_T, self.judged_T, strict=True)
        return self._scaled([self.price.of(*one) + self.price.of_judge(*two) for one, two in pairs])

    @property
    def paid_prompts(self) -> int | None:
        """Prompts that the budget lasts for, if nothing is spent yet; None without a budget."""
        if self.budget is None:
            return None
        hours = self.sampling_seconds * self.prompts / self.tried / 3600
        costs = (
            (self.budget.tokens, self.teacher_tokens.value + self.judge_tokens.value),
            (self.budget.money, self.money.value if self.money else 0.0),
            (self.budget.hours, hours),
        )
        shares = [limit / cost for limit, cost in costs if limit is not None and cost > 0]
        return int(self.prompts * min([1.0, *shares]))

    def _scaled(self, values_T: Sequence[float]) -> Interval:
        """The sum over all prompts."""
        return Interval(*(value * self.prompts for value in stats.mean(values_T)))

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
        tokens, money = self.teacher_tokens, self.money
        facts: dict[str, object] = {
            "prompts": self.prompts,
            "teacher_tokens": round(tokens.value),
            "teacher_tokens_interval": [round(tokens.low), round(tokens.high)],
            **self._judge_json(),
            "hours": round(self.hours, 4),
            "canvases": self.canvases,
            "tried": self.tried,
        }
        if money is not None and self.price is not None:
            facts |= {
                "money": round(money.value, 6),
                "money_interval": [round(money.low, 6), round(money.high, 6)],
                "currency": self.price.currency or None,
            }
        if self.paid_prompts is not None:
            facts["paid_prompts"] = self.paid_prompts
        return json.dumps(facts)

    def text(self) -> str:
        """The estimate for people."""
        tokens, money, paid = self.teacher_tokens, self.money, self.paid_prompts
        spread = f"(95 %: {tokens.low:,.0f} to {tokens.high:,.0f})"
        costs = [f"  teacher tokens   {tokens.value:,.0f} {spread}"]
        if self.uncounted:
            costs.append(
                f"                   the server told none of {self.uncounted:,} samples, which "
                "count as max_tokens"
            )
        if money is not None and self.price is not None:
            value, low, high = map(self.price.amount, money)
            costs.append(f"  money            {value} (95 %: {low} to {high})")
        if paid is not None:
            number = "all" if paid == self.prompts else f"about {paid:,} of"
            costs.append(f"  budget           pays for {number} {self.prompts:,} prompts")
        return "\n".join(
            (
                f"tried {self.tried} prompts: {self.traces} traces, {self.tokens:,} tokens, "
                f"{self.sampling_seconds:.1f} s of sampling, "
                f"{self.other_seconds:.1f} s for the rest",
                f"{self.rows:,} rows hold {self.prompts:,} usable prompts",
                *costs,
                *self._judge_lines(),
                f"  hours            {self.hours:.2f} on this machine",
                f"  expected yield   {self.canvases:,} canvases "
                f"({self.released} of {self.tried} tried prompts)",
            )
        )

    @property
    def _judge_read(self) -> int:
        return round(sum_of(self.judged_T).prompt * self.prompts / self.tried)

    def _judge_json(self) -> dict[str, object]:
        if not self.replies:
            return {}
        written = self.judge_tokens
        return {
            "judge_tokens_read": self._judge_read,
            "judge_tokens": round(written.value),
            "judge_tokens_interval": [round(written.low), round(written.high)],
        }

    def _judge_lines(self) -> tuple[str, ...]:
        if not self.replies:
            return ()
        written, replies = self.judge_tokens, self.replies * self.prompts / self.tried
        unknown = self.price is not None and self.price.judge is None
        return (
            f"  judge tokens     {written.value:,.0f} (95 %: {written.low:,.0f} to "
            f"{written.high:,.0f}) written, {self._judge_read:,} read, for {replies:,.0f} replies "
            f"of {', '.join(self.judge_names)}"
            + ("; not in the money, because price.judge is not set" if unknown else ""),
        )


def estimate_build(recipe: Recipe, limit: int | None = None) -> BuildEstimate:
    """Try the first prompts of `recipe` and scale up.

    `limit` caps the rows that are read, and scaled up to.

    Raises:
        UserError: a mistake in the recipe, or servers of `serve:` that cannot be started.
        ShortError: none of the teacher's or of the judge's servers answers.
    """
    with tempfile.TemporaryDirectory() as folder:
        trial = recipe.model_copy(update={"shard_rows": TRIAL, "budget": None})
        job = Job(recipe=trial, run=Path(folder), limit=limit)
        try:
            return replace(_measure(job), budget=recipe.budget)
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
    shard, judged_before = filled[-1], {reply.key for reply in counted_replies(job.run)}
    sampling_seconds, other_seconds = _run(job, source_index, shard)
    prompts = fingerprints.load_prompts(job, shard)
    traces = list(arrow.records(Trace, shards.read(job.run, Stage.TRACES, shard)))
    replies = [one for one in counted_replies(job.run) if one.key not in judged_before]
    return BuildEstimate(
        rows=source_index.rows,
        prompts=source_index.prompts,
        tried=len(prompts),
        traces=len(traces),
        tokens_T=_tokens_by_prompt(job, shard, [prompt.id for prompt in prompts]),
        uncounted=sum(map(is_uncounted, _sampled(job, shard))),
        price=job.recipe.price,
        budget=None,
        sampling_seconds=sampling_seconds,
        other_seconds=other_seconds,
        released=filter_stage.count_passing(job, shard),
        judged_T=_judged_by_prompt(job, prompts, traces, replies),
        replies=len(replies),
        judge_names=components.judge_names(job.recipe.grader),
    )


def _tokens_by_prompt(job: Job, shard: int, prompts: Sequence[str]) -> tuple[Tokens, ...]:
    """What the teacher has read and written for each prompt of a shard; a record is free."""
    tokens = dict.fromkeys(prompts, Tokens())
    for trace in _sampled(job, shard):
        tokens[trace.prompt_id] = tokens[trace.prompt_id].plus(tokens_of(trace))
    return tuple(tokens.values())


def _judged_by_prompt(
    job: Job, prompts: Sequence[Prompt], traces: Sequence[Trace], replies: Sequence[Trace]
) -> tuple[Tokens, ...]:
    """What a judge has read and written for each of the prompts."""
    tokens = {prompt.id: Tokens() for prompt in prompts}
    asker: dict[str, str] = {}  # the prompt, by the id of a question about one of its traces
    if isinstance(job.grader, NamesQuestions):
        by_id = {prompt.id: prompt for prompt in prompts}
        for trace in traces:
            for question in job.grader.questions(Submission(by_id[trace.prompt_id], trace)):
                asker[question] = trace.prompt_id
    ids = [prompt.id for prompt in prompts]
    for number, reply in enumerate(replies):  # of a grader that names no questions, in turn
        prompt_id = asker.get(reply.prompt_id, ids[number % len(ids)])
        tokens[prompt_id] = tokens[prompt_id].plus(tokens_of(reply))
    return tuple(tokens.values())


def _sampled(job: Job, shard: int) -> Iterator[Trace]:
    """All samples of a shard."""
    for stage in SAMPLED:
        for path in (job.run / stage).glob(f"{shard:05}.jsonl*"):
            yield from journal.read(path).traces


def _run(job: Job, source_index: prompt_stage.SourceIndex, index: int) -> tuple[float, float]:
    """Seconds of sampling one shard, and of grading, assembling and scoring it."""
    executor = pipeline.InThisProcess(job)
    began = time.monotonic()
    first_shards = source_index.model_copy(update={"shards": index + 1})
    executor.submit(pipeline.Step.SAMPLE_TRACES, first_shards)
    sampled = time.monotonic()
    pipeline.finish_shards(job, executor, source_index, [index])
    return sampled - began, time.monotonic() - sampled
