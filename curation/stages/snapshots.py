"""The editions of a release: each is what one build added to a corpus, in files of its own.

In: a source index, the markers of its shards. Out: every edition's build id, and whether this build
would change an edition that was released. A corpus that does not grow has one edition.
"""

from collections.abc import Sequence

import pyarrow as pa

from curation import components
from curation.context import Job
from curation.run_store import shards
from curation.stages import fingerprints
from curation.stages.prompt_stage import ANEW, SourceIndex
from schemas import arrow, former
from schemas.manifest import Manifest
from schemas.recipe import digest
from schemas.records import Stage
from support.errors import DamagedError, UserError


def edition_builds(job: Job, source_index: SourceIndex) -> list[tuple[str, range]]:
    """(build id, shards) of every edition."""
    return [(_build(job, span), span) for span in source_index.ranges()]


def release_build_id(ids: Sequence[str]) -> str:
    """The build id of a release: that of its only edition, or a hash of those of all."""
    return ids[0] if len(ids) == 1 else digest(list(ids))[:12]


def _build(job: Job, span: range, columns: pa.Schema = arrow.RELEASE) -> str:
    """A hash of what an edition depends on, 12 hex digits; it stands in its files' names."""
    inputs = [
        [
            shards.require_marker(job.run, stage, index).sha256
            for stage in (fingerprints.canvas_stage(job.recipe), Stage.SCORED)
        ]
        for index in span
    ]
    facts = job.recipe.model_dump(mode="json", include={"name", "filters", "release"})
    facts = former.recipe(facts, former.FORMER)
    if others := [one for one in components.of_others(job.recipe) if one.family == "filters"]:
        facts["installed"] = others  # another version of a filter may judge otherwise
    return digest([fingerprints.VERSION[Stage.RELEASE], str(columns), inputs, facts])[:12]


def check_unchanged(job: Job, released: Manifest) -> None:
    """UserError where this recipe would change anything that was released."""
    spans = shards.spans(part.shards for part in released.editions)
    for part, span in zip(released.editions, spans, strict=True):
        for index in span:
            for stage in fingerprints.stages_by_shard(job.recipe):
                if _differs(job, stage, index):
                    raise UserError(
                        f"{job.run}: grow: shard {index} of {stage} was released, and this recipe "
                        f"would make another: take back what was changed, or {ANEW}"
                    )
        if all(shards.read_marker(job.run, Stage.SCORED, i) for i in span):
            check_build(job, part.build, span)


def check_build(job: Job, build: str, span: range) -> None:
    """UserError where a released edition would have another build id.

    A release of an earlier version is accepted: its rows come under today's columns, and a new
    build id.
    """
    if build not in (_build(job, span, columns) for columns in arrow.RELEASES):
        raise UserError(
            f"{job.run}: grow: what was released was made with another name, other filters, other "
            f"settings of release or another Polytrace: take back what was changed, or {ANEW}"
        )


def _differs(job: Job, stage: Stage, index: int) -> bool:
    """Whether a shard was made from other inputs; False for one that is missing or damaged."""
    marker = shards.read_marker(job.run, stage, index)
    try:
        return marker is not None and marker.fingerprint != fingerprints.fingerprint(
            job, stage, index
        )
    except (FileNotFoundError, DamagedError):
        return False
