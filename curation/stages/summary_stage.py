"""The stage of teacher-written summaries: one sampling service over all canvases.

In: canvases with the template's summary. Out: `summaries/NNNNN.parquet`, the same canvases, each
with the teacher's summary where one was accepted. A recipe with template summaries has no such
stage. Summaries are kept like traces: in a journal, found by key, and never requested twice.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from curation.canvases import summaries
from curation.context import Job
from curation.run_store import shards
from curation.sampling import service
from curation.sampling.journal_index import JournalIndex
from curation.stages import fingerprints
from curation.stages.prompt_stage import SourceIndex
from curation.stages.trace_stage import SamplingProgress, raise_if_short
from curation.teachers import Failure
from schemas import arrow
from schemas.records import Canvas, Prompt, Rejection, Stage, Trace
from support.display.text import one_line, shorten

SHOWN = 160  # characters of a refused summary


def write_summaries(job: Job, source_index: SourceIndex) -> None:
    """Request the summaries of every shard that has none; ShortError where some are missing."""
    if job.recipe.summary.by != "teacher":
        return
    todo = [
        i
        for i in range(source_index.shards)
        if not fingerprints.up_to_date_marker(job, Stage.SUMMARIES, i)
    ]
    if not todo:
        return
    folder = job.run / Stage.SUMMARIES
    journal_index = JournalIndex(folder)
    rules, counter, teacher = job.rules, job.counter, job.summariser
    short: list[Failure] = []
    by: Counter[str] = Counter()
    waiting: dict[str, Canvas] = {}  # the canvases of open shards, by prompt

    def open_shard(index: int) -> service.Shard:
        canvases = list(_load_assembled(job, index))
        waiting.update((canvas.prompt.id, canvas) for canvas in canvases)
        return service.Shard(index=index, prompts=[_request(job, canvas) for canvas in canvases])

    def have(index: int) -> list[Trace]:
        """Earlier summaries, which are in journals alone: this stage's Parquet holds canvases."""
        prompts = (_request(job, canvas) for canvas in _load_assembled(job, index))
        keys = {teacher.key(p, n) for p in prompts for n in range(teacher.wanted(p, 1).maximum)}
        return journal_index.find(keys)

    def shortfall(prompt: Prompt, traces: Sequence[Trace]) -> int:
        return int(summaries.best(waiting[prompt.id], traces, rules, counter) is None)

    def close(shard: service.FinishedShard) -> None:
        retryable = [failure for failure in shard.failures if failure.retryable]
        short.extend(retryable)
        if retryable:
            for canvas in _load_assembled(job, shard.index):
                waiting.pop(canvas.prompt.id, None)
            return
        written: dict[str, list[Trace]] = {}
        for trace in shard.traces:
            written.setdefault(trace.prompt_id, []).append(trace)
        canvases = []
        rejections: list[Rejection] = []
        for canvas in _load_assembled(job, shard.index):
            texts = written.get(canvas.prompt.id, [])
            better = summaries.best(canvas, texts, rules, counter)
            canvases.append(better or canvas)
            if better is None:
                rejections += (_refused(job, canvas, trace) for trace in texts)
            waiting.pop(canvas.prompt.id, None)
        by.update(canvas.summary_by for canvas in canvases)
        fingerprint = fingerprints.fingerprint(job, Stage.SUMMARIES, shard.index)
        data = arrow.table(Canvas, canvases)
        shards.write(job.run, Stage.SUMMARIES, shard.index, fingerprint, data, rejections)

    running_teacher = job.running_teacher(Stage.SUMMARIES)
    service.run(
        running_teacher,
        map(open_shard, todo),
        samples=1,
        folder=folder,
        have=have,
        close=close,
        shortfall=shortfall,
        allowance=job.allowance,
        progress=SamplingProgress(job, Stage.SUMMARIES, running_teacher),
    )
    job.bars.end(Stage.SUMMARIES)
    kept = by.total() - by["template"]
    print(
        f"summaries: {kept} of {by.total()} end in the known answer and fit; "
        f"the template stands for the others",
        file=sys.stderr,
    )
    raise_if_short(job, short)


def _refused(job: Job, canvas: Canvas, trace: Trace) -> Rejection:
    """Why a summary was not taken, with its beginning."""
    judged = summaries.judge(canvas, trace, job.rules, job.counter)
    assert isinstance(judged, summaries.RefusedSummary)
    return Rejection(
        stage=Stage.SUMMARIES,
        prompt_id=canvas.prompt.id,
        source=canvas.prompt.source,
        row=canvas.prompt.row,
        index=trace.index,
        reason=judged.reason,
        detail=f"{judged.detail}: {shorten(one_line(trace.text), SHOWN)}",
    )


def _load_assembled(job: Job, index: int) -> Iterator[Canvas]:
    """The canvases of a shard as they were assembled."""
    return arrow.records(Canvas, shards.read(job.run, Stage.CANVASES, index))


def _request(job: Job, canvas: Canvas) -> Prompt:
    """The prompt that asks for the summary of a canvas, under the id of the canvas's prompt."""
    return replace(canvas.prompt, text=summaries.message(canvas, job.recipe.summary))
