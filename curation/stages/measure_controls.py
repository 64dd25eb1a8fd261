"""A build's measurement of the path level's two controls, on a bounded sample of its canvases.

In: canvases of all shards and their scores. Out: `scored/controls.json`, sealed, with the
fingerprint of what it was made of. The sample is the first `scorer.controls` canvases, in order of
the shards and before any filter, so that a changed filter measures nothing again.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from curation.context import Job
from curation.run_store import shards
from curation.seqdep_report.controls import Control, compared
from curation.seqdep_report.documents import Document
from curation.stages import fingerprints, shard_stages
from curation.stages.prompt_stage import SourceIndex
from schemas.facts import ControlFacts, Fact
from schemas.recipe import ScorerSpec, digest
from schemas.records import Level, SeqDep, Stage
from scorers.seqdep.curve import Interval, curve
from support.files import replace_text

CONTROLS = f"{Stage.SCORED}/controls.json"
VERSION = 1  # bumped by hand when the figures change their meaning


class Controls(Fact):
    """What the file holds."""

    fingerprint: str
    facts: ControlFacts


class CanvasSample:
    """A few canvases as documents."""

    def __init__(self, texts: Sequence[Document]) -> None:
        self._texts = texts

    def fingerprint(self) -> str:
        """Changes whenever the documents do."""
        return digest([[one.prompt, one.paths] for one in self._texts])

    def texts(self) -> Iterator[Document]:
        """Every document in order."""
        yield from self._texts


def is_wanted(job: Job) -> bool:
    """Whether the recipe has controls measured."""
    return job.recipe.scorer is not None and job.recipe.scorer.controls > 0


def measure(job: Job, source_index: SourceIndex) -> ControlFacts | None:
    """The controls of a build whose shards are scored, measured or found; None where not wanted."""
    spec = job.recipe.scorer
    if spec is None or not spec.controls:
        return None
    fingerprint = _fingerprint(job, source_index, spec)
    found = shards.read_checksummed(Controls, job.run / CONTROLS)
    if found is None or found.fingerprint != fingerprint:
        found = Controls(fingerprint=fingerprint, facts=_measured(job, source_index, spec))
        replace_text(job.run / CONTROLS, shards.with_checksum(found))
    return found.facts


def _measured(job: Job, source_index: SourceIndex, spec: ScorerSpec) -> ControlFacts:
    corpus = (
        pair
        for index in range(source_index.shards)
        for pair in shard_stages.shard_corpus(job, index)
    )
    pairs = list(islice(corpus, spec.controls))
    sample = CanvasSample(
        [
            Document(
                row=number,
                prompt=canvas.prompt.text,
                paths=tuple(path.text for path in canvas.paths),
            )
            for number, (canvas, _) in enumerate(pairs, 1)
        ]
    )
    return compared(
        len(pairs),
        _estimate([scores.path for _, scores in pairs]),
        _estimate(_gains(job, spec, Control(sample, "others", len(pairs)))),
        _estimate(_gains(job, spec, Control(sample, "repeated", len(pairs)))),
    )


def _gains(job: Job, spec: ScorerSpec, control: Control) -> list[SeqDep | None]:
    """The path level of every canvas of a control."""
    if job.recipe.paths == 1 or job.scorers is None:  # undefined
        return []
    from scorers.seqdep.measurement import ScoredInstance, SeqDepSettings

    items = [
        ScoredInstance(prompt=one.prompt, paths=one.paths)
        for one in control.texts()
        if not one.reason
    ]
    job.bars.add(Stage.SCORED, more=len(items), note="controls of path level")
    settings = SeqDepSettings(
        batch_tokens=spec.batch_tokens, keep_part=spec.keep_part, levels=(Level.PATH,)
    )
    measured = job.scorers.score(items, settings, progress=lambda n: job.bars.add(Stage.SCORED, n))
    return [one.path for one in measured]


def _estimate(levels: Sequence[SeqDep | None]) -> Interval | None:
    """The mean of nats a token, with its interval."""
    found = [
        (one.nats_per_token, sum(one.tokens))
        for one in levels
        if one is not None and one.nats_per_token is not None
    ]
    return curve([nats for nats, _ in found], [tokens for _, tokens in found]).mean


def _fingerprint(job: Job, source_index: SourceIndex, spec: ScorerSpec) -> str:
    """What the figures depend on: scorer, settings, and as many scored shards as are sampled."""
    inputs, canvases = [], 0
    for index in range(source_index.shards):
        if canvases >= spec.controls:
            break
        markers = [
            shards.require_marker(job.run, stage, index)
            for stage in (fingerprints.canvas_stage(job.recipe), Stage.SCORED)
        ]
        inputs.append([marker.sha256 for marker in markers])
        canvases += markers[0].rows
    settings = spec.model_dump(exclude={"path", "trust_remote_code", "devices", "siblings"})
    return digest([VERSION, fingerprints.revision(spec.path), settings, inputs])
