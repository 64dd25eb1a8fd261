"""What each shard of a build depends on: fingerprints, and whether a shard still stands.

In: a job and a shard. Out: a fingerprint over the inputs' sha256, the slice of the recipe that
matters, and `VERSION`, which is bumped by hand when a stage's meaning changes. A changed filter
threshold changes no fingerprint here, so nothing before the release is made again.
"""

from collections.abc import Collection
from pathlib import Path

from curation.context import Job
from curation.run_store import shards
from curation.run_store.shards import ShardMarker
from schemas import arrow
from schemas.recipe import Recipe, digest
from schemas.records import Prompt, Stage
from scorers.answers.grade import GRADING
from scorers.revision import directory_revision
from support.paths import locate

VERSION = dict.fromkeys(Stage, 1) | {
    Stage.PROMPTS: 2,
    Stage.GRADED: GRADING,
    Stage.SCORED: 2,
}
_BARE = tuple(name for name in arrow.schema_of(Prompt).names if name != "recorded")
_NOBODY = Prompt(id="", text="", gold="", source="", row=0, license="")


def stages_of(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages that a recipe has, in order."""
    skipped = () if recipe.summary.by == "teacher" else (Stage.SUMMARIES,)
    return tuple(stage for stage in Stage if stage not in skipped)


def stages_by_shard(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages that are made shard by shard from those of the stage before, in order."""
    whole = (Stage.PROMPTS, Stage.RELEASE)
    return tuple(stage for stage in stages_of(recipe) if stage not in whole)


def canvas_stage(recipe: Recipe) -> Stage:
    """The stage whose canvases are scored and released."""
    return Stage.SUMMARIES if recipe.summary.by == "teacher" else Stage.CANVASES


def load_prompts(job: Job, index: int) -> list[Prompt]:
    """The prompts of a shard, with all that their source has recorded."""
    return list(arrow.records(Prompt, shards.read(job.run, Stage.PROMPTS, index)))


def load_bare_prompts(job: Job, index: int) -> list[Prompt]:
    """The same without recorded traces, which are most of it."""
    return list(arrow.records(Prompt, shards.read(job.run, Stage.PROMPTS, index, _BARE), _BARE))


def trace_keys(job: Job, index: int) -> frozenset[str]:
    """The keys of every sample that a shard's prompts want."""
    samples = job.recipe.samples or job.recipe.paths
    return frozenset(
        job.teacher.key(prompt, i)
        for prompt in load_prompts(job, index)
        for i in range(job.teacher.wanted(prompt, samples).maximum)
    )


def up_to_date_marker(job: Job, stage: Stage, index: int) -> ShardMarker | None:
    """The marker of a shard whose inputs are unchanged and whose files are whole."""
    if shards.read_marker(job.run, stage, index) is None:
        return None  # before the inputs are read for nothing
    try:
        wanted = fingerprint(job, stage, index)
    except FileNotFoundError:
        return None
    return shards.matching_marker(job.run, stage, index, wanted)


def fingerprint(job: Job, stage: Stage, index: int, keys: Collection[str] | None = None) -> str:
    """What a shard of `stage` depends on; FileNotFoundError where an input is missing.

    `keys` are its `trace_keys`, where they are at hand: nothing but the shard of traces wants them.
    """
    recipe = job.recipe
    facts: list[object] = [stage, VERSION[stage], arrow.SCHEMA_VERSION]
    match stage:
        case Stage.TRACES:
            wanted = trace_keys(job, index) if keys is None else set(keys)
            facts += [_input(job, Stage.PROMPTS, index), sorted(wanted)]
        case Stage.GRADED:
            facts += [_input(job, Stage.PROMPTS, index), _input(job, Stage.TRACES, index)]
        case Stage.CANVASES:
            facts += [_input(job, Stage.PROMPTS, index), _input(job, Stage.GRADED, index)]
            facts += [repr(job.rules), job.counter.fingerprint()]
        case Stage.SUMMARIES:
            facts += [_input(job, Stage.CANVASES, index), repr(job.rules)]
            facts += [job.counter.fingerprint(), recipe.summary.model_dump(mode="json")]
            facts.append(job.summariser.key(_NOBODY, 0))  # every setting of its teacher
        case Stage.SCORED:
            facts.append(_input(job, canvas_stage(recipe), index))
            if recipe.scorer is not None:
                facts.append(revision(recipe.scorer.path))
                facts.append(
                    recipe.scorer.model_dump(
                        exclude={"path", "trust_remote_code", "devices", "controls"}
                    )
                )
        case _:
            raise AssertionError(f"{stage} is not made shard by shard")
    return digest(facts)


def _input(job: Job, stage: Stage, index: int) -> str:
    marker = shards.read_marker(job.run, stage, index)
    if marker is None:
        raise FileNotFoundError(f"{stage} shard {index} has not been made")
    return marker.sha256


def revision(path: str) -> str:
    """The state of a model directory; a hub id stands for itself."""
    here = locate(path)
    return directory_revision(Path(here)) if Path(here).is_dir() else path
