"""The first stage: read every source into shards of prompts, and index what was read.

In: the recipe's sources and evaluation sets. Out: `prompts/NNNNN.parquet`, rejections beside them,
and `prompts/census.json`, the stage's completion marker, with a copy, because a growing corpus
cannot go on without it. One pass; only hashes stay in memory.

A corpus that grows is read in editions. The rows of former editions must not change: they are read
again, compared with their shards, and not written. New rows go into new shards.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate

from tqdm import tqdm

from curation import components
from curation.context import Job
from curation.prompts import prompt_reader
from curation.prompts.decontaminate import build_index
from curation.run_store import shards
from curation.stages import fingerprints
from schemas import arrow
from schemas.facts import Count, Decontamination, Fact, SourceFacts
from schemas.recipe import digest
from schemas.records import Prompt, Rejection, Stage
from support.errors import UserError
from support.files import replace_text

INDEX_FILES = tuple(f"{Stage.PROMPTS}/{name}" for name in ("census.json", "census.copy.json"))
ANEW = "build into another directory (--out), or make all of it anew (--set grow=false)"


class Edition(Fact):
    """What one build read: the `rows` of every source, and how many `shards` they fill.

    The markers of those shards have this `fingerprint`.
    """

    fingerprint: str
    rows: tuple[Count, ...]
    shards: Count


class SourceIndex(Fact):
    """The completion marker of the prompts stage: how many shards, and what was read."""

    fingerprint: str
    shards: Count
    rows: Count
    prompts: Count
    sources: tuple[SourceFacts, ...]
    evaluation: tuple[Decontamination, ...]
    settings: str
    editions: tuple[Edition, ...]

    def ranges(self) -> list[range]:
        """The shards of every edition."""
        return shards.spans(edition.shards for edition in self.editions)

    def owner(self, index: int) -> Edition:
        """The edition of a shard."""
        pairs = zip(self.editions, self.ranges(), strict=True)
        return next(edition for edition, span in pairs if index in span)


def read_prompts(job: Job) -> SourceIndex:
    """Read every source into shards of prompts and of rejections.

    Raises:
        UserError: a source cannot be read; or the corpus grows, and a row that an earlier build
            read has changed.
    """
    if source_index := up_to_date_index(job):
        _save(job, source_index)
        return source_index
    components.check_traces(job.recipe, job.sources)
    previous = previous_index(job)
    if previous is None:
        for name in INDEX_FILES:
            (job.run / name).unlink(missing_ok=True)
    fingerprint = _prompts_fingerprint(job)
    editions = previous.editions if previous else ()
    ends = set(accumulate(sum(edition.rows) for edition in editions))  # rows, from 1
    rows: Counter[str] = Counter()
    traces: Counter[str] = Counter()
    apart: dict[str, list[int]] = {}
    index, total, began = 0, 0, 0
    kept: list[Prompt] = []
    dropped: list[Rejection] = []

    def flush() -> None:
        nonlocal index, total, kept, dropped
        if previous is not None and index < previous.shards:
            _keep(job, previous, index, kept, dropped)
        else:
            data = arrow.table(Prompt, kept)
            shards.write(job.run, Stage.PROMPTS, index, fingerprint, data, dropped)
        index, total = index + 1, total + len(kept)
        kept, dropped = [], []

    known = build_index(job.evaluation)
    outcomes = prompt_reader.read_prompts(
        job.sources,
        known,
        traces=_wants_traces(job),
        limit=job.limit,
        editions=[edition.rows for edition in editions],
        fault=job.grader.fault,
    )
    for number, judged in enumerate(outcomes, 1):
        outcome = judged.outcome
        rows[outcome.source] += 1
        traces[outcome.source] += judged.held
        if judged.apart:
            apart.setdefault(outcome.source, []).append(judged.apart)
        job.bars.add(Stage.PROMPTS, 1)
        if isinstance(outcome, Prompt):
            kept.append(outcome)
        else:
            dropped.append(outcome)
        dropped.extend(judged.traces)
        is_full = len(kept) == job.recipe.shard_rows or len(dropped) >= 20 * job.recipe.shard_rows
        if is_full or number in ends:
            flush()
        if number in ends:
            began = index
    if kept or dropped or not index:
        flush()
    job.bars.end(Stage.PROMPTS)
    _tell_apart(job, apart)
    for stage in Stage:
        shards.drop_after(job.run, stage, index)
    counts = [rows[source.label] for source in job.sources]
    if index > began:
        fresh = tuple(
            n - sum(e.rows[i] for e in editions if i < len(e.rows)) for i, n in enumerate(counts)
        )
        new = Edition(fingerprint=fingerprint, rows=fresh, shards=index - began)
        editions = (*editions, new)
    source_index = SourceIndex(
        fingerprint=fingerprint,
        shards=index,
        rows=rows.total(),
        prompts=total,
        sources=tuple(
            SourceFacts(
                label=s.label,
                license=s.license,
                fingerprint=s.fingerprint(),
                rows=n,
                traces=traces[s.label],
            )
            for s, n in zip(job.sources, counts, strict=True)
        ),
        evaluation=known.counts(),
        settings=_settings(job),
        editions=editions,
    )
    _save(job, source_index)
    return source_index


def _tell_apart(job: Job, apart: Mapping[str, Sequence[int]]) -> None:
    """Tell how to join the traces of one prompt, for every source that has them in several rows."""
    for number, source in enumerate(job.sources):
        if counts := apart.get(source.label):
            key = "source" if len(job.sources) == 1 else f"source.{number}"
            tqdm.write(
                f"{source.label}: {len(counts)} rows repeat the prompt of an earlier row with "
                f"other traces, and {sum(counts)} traces are dropped with them; set "
                f"{key}.traces.group=prompt to join the traces of one prompt",
                file=sys.stderr,
            )


def _save(job: Job, source_index: SourceIndex) -> None:
    """Write the source index and its copy, unless they are there unchanged."""
    for name in INDEX_FILES:
        if shards.read_checksummed(SourceIndex, job.run / name) != source_index:
            replace_text(job.run / name, shards.with_checksum(source_index))


def _load(job: Job) -> SourceIndex | None:
    read = (shards.read_checksummed(SourceIndex, job.run / name) for name in INDEX_FILES)
    return next(filter(None, read), None)


def up_to_date_index(job: Job) -> SourceIndex | None:
    """The source index of an earlier run over the same inputs, if all its shards are whole."""
    source_index = _load(job)
    if source_index is None or source_index.fingerprint != _prompts_fingerprint(job):
        return None
    if len(source_index.editions) > 1 and not job.recipe.grow:
        return None  # everything is read again, as one edition
    markers = (
        shards.matching_marker(job.run, Stage.PROMPTS, i, edition.fingerprint)
        for edition, span in zip(source_index.editions, source_index.ranges(), strict=True)
        for i in span
    )
    return source_index if all(markers) else None


def previous_index(job: Job) -> SourceIndex | None:
    """The source index that a growing corpus continues; UserError where it cannot continue it."""
    source_index = _load(job)
    if source_index is None or not job.recipe.grow:
        return None
    if source_index.settings != _settings(job):
        raise UserError(
            f"{job.run}: grow: decontaminate, shard_rows, the grader, the kind of teacher or the "
            f"version of Polytrace is not that of the corpus so far; {ANEW}"
        )
    labels = [source.label for source in job.sources]
    for number, source in enumerate(source_index.sources):
        if labels[number : number + 1] != [source.label]:
            raise UserError(
                f"{job.run}: grow: source {number + 1} was {source.label}; new sources come after "
                f"the old ones; {ANEW}"
            )
    if job.limit is not None and job.limit < source_index.rows:
        raise UserError(
            f"{job.run}: grow: {source_index.rows} rows were read so far, and --limit is "
            f"{job.limit}; a corpus that grows keeps them: give no limit, or a higher one"
        )
    return source_index


def _keep(
    job: Job,
    source_index: SourceIndex,
    index: int,
    kept: Sequence[Prompt],
    dropped: Sequence[Rejection],
) -> None:
    """Check that the rows of a former edition's shard have not changed; restore a damaged shard."""
    fingerprint = source_index.owner(index).fingerprint
    if not shards.matching_marker(job.run, Stage.PROMPTS, index, fingerprint):
        shards.write(job.run, Stage.PROMPTS, index, fingerprint, arrow.table(Prompt, kept), dropped)
        return
    former = {(p.source, p.row): p for p in fingerprints.load_prompts(job, index)}
    for rejection in dropped:
        if rejection.index is None and (rejection.source, rejection.row) in former:
            raise _changed(job, rejection, former[rejection.source, rejection.row])
    for prompt in kept:
        old = former.get((prompt.source, prompt.row))
        if old != prompt:
            raise _changed(job, prompt, old)


def _changed(job: Job, new: Prompt | Rejection, old: Prompt | None) -> UserError:
    if isinstance(new, Rejection):
        what = f"is rejected now ({new.reason})"
    elif old is None:
        what = "was rejected, or was not there"
    else:
        fields = ("text", "gold", "license", "recorded")
        differing = [name for name in fields if getattr(old, name) != getattr(new, name)]
        what = f"has another {' and '.join(differing)}"
    return UserError(
        f"{new.source} row {new.row}: {what}, and the corpus in {job.run} grows from the former "
        f"one; new rows come after the old ones. Put it back, or {ANEW}"
    )


def _settings(job: Job) -> str:
    """A hash of the settings that must not change, or old rows would be judged differently."""
    return digest(
        [
            fingerprints.VERSION[Stage.PROMPTS],
            arrow.SCHEMA_VERSION,
            [source.fingerprint() for source in job.evaluation],
            _wants_traces(job),
            job.recipe.shard_rows,
            *([] if (grader := job.recipe.shaping_grader()) is None else [grader]),
        ]
    )


def _prompts_fingerprint(job: Job) -> str:
    return digest([_settings(job), [source.fingerprint() for source in job.sources], job.limit])


def _wants_traces(job: Job) -> bool:
    return job.recipe.teacher.kind == "recorded"
