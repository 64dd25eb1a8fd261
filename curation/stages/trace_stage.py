"""The second stage: sample all shards through one service, and write each as Parquet when complete.

In: shards of prompts and a teacher. Out: `traces/NNNNN.parquet`, and journals of the samples. Where
samples are missing that another run may deliver, the shard stays open, and the run ends short.
"""

import time
from collections.abc import Sequence

from curation.canvases.top_up import missing_traces
from curation.context import Job
from curation.run_store import shards
from curation.run_store.shards import ShardMarker
from curation.sampling import service
from curation.sampling.journal_index import JournalIndex
from curation.stages import fingerprints, prompt_stage
from curation.stages.drawn_samples import DrawnSamples
from curation.stages.prompt_stage import SourceIndex
from curation.stages.sampling_rounds import RoundShortfall
from curation.teachers import Failure, Teacher
from schemas import arrow
from schemas.records import Prompt, Rejection, Stage, Trace
from schemas.samples import Rounds
from support.capacity import release_unused
from support.errors import ShortError
from support.files import sha256

LOOK_SECONDS = 0.2  # between two moves of the progress bar


def sample_traces(job: Job, source_index: SourceIndex) -> None:
    """Sample every shard that is not complete; ShortError where samples are missing in the end."""
    todo = [
        i
        for i in range(source_index.shards)
        if not fingerprints.up_to_date_marker(job, Stage.TRACES, i)
    ]
    if not todo:
        return
    samples = job.recipe.samples or job.recipe.paths
    first = samples.per_round if isinstance(samples, Rounds) else samples
    _sample(job, todo, source_index.prompts * first * len(todo) // source_index.shards)
    job.bars.end(Stage.TRACES)


def take_recorded(job: Job, index: int) -> ShardMarker:
    """The traces of one shard whose teacher is a record.

    They are all there, so that shards need no common service: each is taken where it is graded.
    """
    assert job.teacher.is_record, f"{job.teacher.name} has to be asked"
    if marker := fingerprints.up_to_date_marker(job, Stage.TRACES, index):
        return marker
    _sample(job, [index])
    return shards.require_marker(job.run, Stage.TRACES, index)


def _sample(job: Job, todo: Sequence[int], expected: int = 0) -> None:
    """Sample these shards through one service; `expected` is a first guess of their samples."""
    short: list[Failure] = []
    rules, counter = job.rules, job.counter
    journal_index = JournalIndex(job.run / Stage.TRACES)

    def have(index: int) -> list[Trace]:
        """The shard's own traces, and those in other shards' journals."""
        traces = _earlier_traces(job, index)
        if journal_index.is_empty:
            return traces
        return traces + journal_index.find(
            fingerprints.trace_keys(job, index) - {t.key for t in traces}
        )

    def lacking(prompt: Prompt, traces: Sequence[Trace]) -> int:
        return missing_traces(traces, rules, counter)

    samples = job.recipe.samples or job.recipe.paths
    in_rounds = isinstance(samples, Rounds)
    shortfall = RoundShortfall(job.grader, rules, counter) if in_rounds else lacking
    drawn = DrawnSamples(shortfall, job.teacher, samples)

    def close(shard: service.FinishedShard) -> None:
        retryable = [failure for failure in shard.failures if failure.retryable]
        short.extend(retryable)
        if not retryable:
            if not job.teacher.is_record:
                shard = drawn.of(shard, lambda: fingerprints.load_prompts(job, shard.index))
            _close_traces(job, shard)

    teacher = job.running_teacher(Stage.TRACES)
    progress = SamplingProgress(job, Stage.TRACES, teacher, expected)
    service.run(
        teacher,
        (service.Shard(index=i, prompts=fingerprints.load_prompts(job, i)) for i in todo),
        samples=samples,
        folder=job.run / Stage.TRACES,
        have=have,
        close=close,
        shortfall=drawn,
        allowance=job.allowance,
        progress=progress,
    )
    progress.end()
    raise_if_short(job, short)


def check_servers(job: Job) -> None:
    """UserError where a build has to start the servers of `serve:`, and cannot.

    A build that has all its samples starts no server, so it needs no vLLM.
    """
    if job.recipe.serve is None:
        return
    source_index = prompt_stage.up_to_date_index(job)
    if source_index is None and any((job.run / name).exists() for name in prompt_stage.INDEX_FILES):
        return  # it is not known yet whether samples will be missing
    if source_index is None or not all(
        fingerprints.up_to_date_marker(job, stage, index)
        for index in range(source_index.shards)
        for stage in (Stage.TRACES, Stage.SUMMARIES)
        if stage in fingerprints.stages_of(job.recipe)
    ):
        job.check_servers()


def raise_if_short(job: Job, short: Sequence[Failure]) -> None:
    """ShortError where samples are missing that another run may deliver."""
    if not short:
        return
    if job.allowance is not None and job.allowance.is_spent:
        raise ShortError(job.allowance.sentence())
    first = short[0]
    raise ShortError(
        f"{len(short)} samples could not be had (first: prompt {first.prompt_id}: {first.reason}: "
        f"{first.detail}); everything else is kept; run the same command again to get the rest"
    )


class SamplingProgress:
    """Moves the bar of a stage that samples; `expected` is the first guess of its total."""

    def __init__(self, job: Job, stage: Stage, teacher: Teacher, expected: int = 0) -> None:
        self._job, self._stage, self._teacher = job, stage, teacher
        self._expected, self._total = expected, 0
        self._began = time.monotonic()
        self._last = service.Progress()
        self._next_look = 0.0

    def __call__(self, now: service.Progress) -> None:
        """Move the bar, a few times a second."""
        if failure := self._job.server_failure:
            raise ShortError(failure)
        time_now = time.monotonic()
        if time_now < self._next_look and now.done + now.failures < now.wanted:
            return
        self._next_look = time_now + LOOK_SECONDS
        rate = now.completion_tokens / max(1e-9, time_now - self._began)
        speed = f"{rate:,.0f} tokens/s" if now.completion_tokens else ""
        allowance = self._job.allowance
        is_spent = allowance is not None and allowance.is_spent
        failures = "budget spent" if is_spent else f"{now.failures} failures"
        done = now.done + now.failures - now.short  # what another run may deliver is not done
        notes = (speed, self._teacher.note, failures)
        before, self._last = self._last, now
        moved = done - (before.done + before.failures - before.short)
        more = max(now.wanted, self._expected) - self._total
        self._total += more
        self._job.bars.add(self._stage, moved, more=more, note=", ".join(filter(None, notes)))

    def end(self) -> None:
        """Every sample has been requested: the bar's total will not grow."""
        self._job.bars.add(self._stage, more=self._last.wanted - self._total)


def _close_traces(job: Job, shard: service.FinishedShard) -> None:
    """Write a shard's traces as Parquet; the former file is kept if it held other traces."""
    index = shard.index
    prompts = (
        {p.id: p for p in fingerprints.load_bare_prompts(job, index)} if shard.failures else {}
    )
    keys = {trace.key for trace in shard.traces}
    path = shards.shard_path(job.run, Stage.TRACES, index)
    if any(trace.key not in keys for trace in _earlier_traces(job, index)):
        aside = path.parent / "superseded" / f"{path.stem}-{sha256(path)[:12]}.parquet"
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
        for failure in shard.failures
    ]
    fingerprint = fingerprints.fingerprint(job, Stage.TRACES, index, shard.keys)
    data = arrow.table(Trace, shard.traces)
    durable = not job.teacher.is_record
    shards.write(job.run, Stage.TRACES, index, fingerprint, data, rejections, durable=durable)
    release_unused()


def _earlier_traces(job: Job, index: int) -> list[Trace]:
    """The traces in the shard's Parquet; none where it is not whole.

    The hash of the file decides, because Parquet has no checksum over the names of its columns.
    """
    marker = shards.read_marker(job.run, Stage.TRACES, index)
    if marker is None or not shards.are_whole(job.run, marker.files):
        return []
    return list(arrow.records(Trace, shards.read(job.run, Stage.TRACES, index)))
