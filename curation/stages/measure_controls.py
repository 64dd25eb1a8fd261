"""A build's measurement of the path level's two controls, on a bounded sample of its canvases.

In: canvases of all shards and their scores. Out: `scored/controls.json`, with a checksum and the
fingerprint of its inputs. The sample is the first canvases, in the order of the shards and before
any filter, so that a changed filter does not make them be measured again; how many, `sample_size`
says. It is counted in the edition that filters learn from, so that the sample stays as the corpus
grows.
"""

from collections.abc import Iterable, Sequence
from itertools import islice

from curation.context import Job
from curation.run_store import shards
from curation.seqdep_report.controls import compared, control_canvases
from curation.seqdep_report.documents import Document
from curation.stages import filter_stage, fingerprints, shard_stages
from curation.stages.prompt_stage import SourceIndex
from schemas.facts import ControlFacts, Fact
from schemas.recipe import ScorerSpec, digest
from schemas.records import Level, SeqDep, Stage
from scorers.seqdep.curve import FEW, Interval, curve
from support.files import replace_text

CONTROLS = f"{Stage.SCORED}/controls.json"
VERSION = 1  # raised by hand when the figures change their meaning
# One canvas in so many is in the sample. Both controls of a canvas take fewer tokens than scoring
# it and its long-CoT form does, so the controls take under 5 % of what scoring takes.
ONE_IN = 20


class Controls(Fact):
    """The content of `scored/controls.json`."""

    fingerprint: str
    facts: ControlFacts


def is_wanted(job: Job) -> bool:
    """Whether the recipe has controls measured."""
    return job.recipe.scorer is not None and job.recipe.scorer.controls > 0


def measure(job: Job, source_index: SourceIndex) -> ControlFacts | None:
    """The controls of a build, measured once all shards are scored; None where not wanted."""
    spec = job.recipe.scorer
    if spec is None or not spec.controls:
        return None
    size = _sample_size(job, source_index, spec)
    fingerprint = _fingerprint(job, source_index, spec, size)
    controls = shards.read_checksummed(Controls, job.run / CONTROLS)
    if controls is None or controls.fingerprint != fingerprint:
        controls = Controls(fingerprint=fingerprint, facts=_measured(job, source_index, spec, size))
        replace_text(job.run / CONTROLS, shards.with_checksum(controls))
    return controls.facts


def sample_size(most: int, canvases: int) -> int:
    """How many canvases the controls are measured on: one in `ONE_IN`, from `FEW` to `most`.

    Fewer than `FEW` have no interval, so a small corpus takes that many, whatever they cost.
    """
    return min(most, max(FEW, canvases // ONE_IN))


def _sample_size(job: Job, source_index: SourceIndex, spec: ScorerSpec) -> int:
    learnt_from = filter_stage.shards_to_fit(job, source_index.ranges())
    markers = (shards.require_marker(job.run, Stage.SCORED, index) for index in learnt_from)
    return sample_size(spec.controls, sum(marker.rows for marker in markers))


def _measured(job: Job, source_index: SourceIndex, spec: ScorerSpec, size: int) -> ControlFacts:
    corpus = (
        pair
        for index in range(source_index.shards)
        for pair in shard_stages.shard_corpus(job, index)
    )
    pairs = list(islice(corpus, size))
    sample = [
        Document(
            row=number,
            prompt=canvas.prompt.text,
            paths=tuple(path.text for path in canvas.paths),
        )
        for number, (canvas, _) in enumerate(pairs, 1)
    ]
    return compared(
        len(pairs),
        _estimate([scores.path for _, scores in pairs]),
        _estimate(_gains(job, spec, control_canvases(sample, "others"))),
        _estimate(_gains(job, spec, control_canvases(sample, "repeated"))),
    )


def _gains(job: Job, spec: ScorerSpec, canvases: Iterable[Document]) -> list[SeqDep | None]:
    """The path level of every canvas of a control."""
    if job.recipe.paths == 1 or job.scorers is None:  # the path level is undefined
        return []
    from scorers.seqdep.measurement import ScoredInstance, SeqDepSettings

    items = [
        ScoredInstance(prompt=doc.prompt, paths=doc.paths) for doc in canvases if not doc.reason
    ]
    told = job.bars.add_sized(
        Stage.SCORED, [one.characters for one in items], note="controls of the path level included"
    )
    settings = SeqDepSettings(
        batch_tokens=spec.batch_tokens, keep_part=spec.keep_part, levels=(Level.PATH,)
    )
    measured = job.scorers.score(items, settings, progress=told)
    return [scores.path for scores in measured]


def _estimate(levels: Sequence[SeqDep | None]) -> Interval | None:
    """The mean of nats a token, with its interval."""
    points = [
        (level.nats_per_token, sum(level.tokens))
        for level in levels
        if level is not None and level.nats_per_token is not None
    ]
    return curve([nats for nats, _ in points], [tokens for _, tokens in points]).mean


def _fingerprint(job: Job, source_index: SourceIndex, spec: ScorerSpec, size: int) -> str:
    """A hash of the scorer, its settings, and the shards from which canvases are sampled."""
    inputs, canvases = [], 0
    for index in range(source_index.shards):
        if canvases >= size:
            break
        markers = [
            shards.require_marker(job.run, stage, index)
            for stage in (fingerprints.canvas_stage(job.recipe), Stage.SCORED)
        ]
        inputs.append([marker.sha256 for marker in markers])
        canvases += markers[0].rows
    settings = spec.shaping("path", "trust_remote_code", "siblings")
    settings["controls"] = size
    return digest([VERSION, fingerprints.revision(spec.path), settings, inputs])
