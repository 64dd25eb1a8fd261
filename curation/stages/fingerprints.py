"""Fingerprints of what each shard of a build depends on, and whether a shard is up to date.

In: a job and a shard. Out: a fingerprint over the SHA-256 of the inputs, the keys of the recipe
that matter to the stage, and `VERSION`, which is raised by hand when a stage changes its results.
Filters do not influence it, so a changed threshold repeats nothing before the release.
"""

from collections.abc import Collection
from pathlib import Path

from curation.context import Job
from curation.run_store import shards
from curation.run_store.shards import ShardMarker
from curation.teachers import sample_budget
from schemas import arrow
from schemas.recipe import Recipe, digest
from schemas.records import Prompt, Stage
from schemas.samples import Rounds
from scorers.answers.grade import GRADING
from scorers.revision import directory_revision
from support.paths import locate

VERSION = dict.fromkeys(Stage, 1) | {
    Stage.PROMPTS: 2,
    Stage.GRADED: GRADING,
    Stage.SCORED: 2,
}
_BARE = tuple(name for name in arrow.schema_of(Prompt).names if name != "recorded")
_NO_PROMPT = Prompt(id="", text="", gold="", source="", row=0, license="")


def stages_of(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages that a recipe has, in order."""
    is_by_teacher = recipe.summary.by == "teacher"
    return tuple(stage for stage in Stage if stage is not Stage.SUMMARIES or is_by_teacher)


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
    """The keys of all samples that the recipe may ask for a shard's prompts."""
    samples = job.recipe.samples or job.recipe.paths
    return frozenset(
        job.teacher.key(prompt, i)
        for prompt in load_prompts(job, index)
        for i in range(sample_budget(job.teacher, prompt, samples).maximum)
    )


def up_to_date_marker(job: Job, stage: Stage, index: int) -> ShardMarker | None:
    """The marker of a shard whose inputs are unchanged and whose files are whole."""
    if shards.read_marker(job.run, stage, index) is None:
        return None  # the inputs need not be read
    try:
        wanted = fingerprint(job, stage, index)
    except FileNotFoundError:
        return None
    return shards.matching_marker(job.run, stage, index, wanted)


def fingerprint(job: Job, stage: Stage, index: int, keys: Collection[str] | None = None) -> str:
    """A hash of what a shard of `stage` depends on; FileNotFoundError where an input is missing.

    `keys` are the `trace_keys` of a shard of traces, where the caller has them already.
    """
    recipe = job.recipe
    facts: list[object] = [stage, VERSION[stage], arrow.SCHEMA_VERSION]
    match stage:
        case Stage.TRACES:
            wanted = trace_keys(job, index) if keys is None else set(keys)
            facts += [_input(job, Stage.PROMPTS, index), sorted(wanted)]
            if allocation := _allocation(job):  # grading anew asks no teacher: no grader's facts
                rules = job.rules
                facts += [*allocation, rules.similarity, rules.slot_tokens]
                facts.append(job.counter.fingerprint())
        case Stage.GRADED:
            facts += [_input(job, Stage.PROMPTS, index), _input(job, Stage.TRACES, index)]
            facts += _grader_facts(job)
        case Stage.CANVASES:
            facts += [_input(job, Stage.PROMPTS, index), _input(job, Stage.GRADED, index)]
            facts += _grader_facts(job)
            facts += [repr(job.rules), job.counter.fingerprint(), *_allocation(job)]
        case Stage.SUMMARIES:
            facts += [_input(job, Stage.CANVASES, index), repr(job.rules)]
            facts += [job.counter.fingerprint(), recipe.summary.model_dump(mode="json")]
            facts.append(job.summariser.key(_NO_PROMPT, 0))  # every setting of its teacher
        case Stage.SCORED:
            facts.append(_input(job, canvas_stage(recipe), index))
            if recipe.scorer is not None:
                facts.append(revision(recipe.scorer.path))
                facts.append(recipe.scorer.shaping("path", "trust_remote_code", "controls"))
        case _:
            raise AssertionError(f"{stage} is not made shard by shard")
    return digest(facts)


def _allocation(job: Job) -> list[object]:
    """What decides how many rounds a prompt gets; nothing where a recipe names a number."""
    return [repr(job.rules.allocation)] if isinstance(job.recipe.samples, Rounds) else []


def _grader_facts(job: Job) -> list[object]:
    """What shapes verdicts; nothing for the grader of version 0.1, whose version is the stage's."""
    options = job.recipe.shaping_grader()
    return [] if options is None else [options, job.grader.fingerprint()]


def _input(job: Job, stage: Stage, index: int) -> str:
    marker = shards.read_marker(job.run, stage, index)
    if marker is None:
        raise FileNotFoundError(f"{stage} shard {index} has not been made")
    return marker.sha256


def revision(path: str) -> str:
    """The revision of a model directory; a hub id as it is."""
    folder = Path(locate(path))
    return directory_revision(folder) if folder.is_dir() else path
