"""The last stage: filters, the released dataset, its card and the manifest.

In: scored canvases of every shard. Out: `release/`, which replaces the former one atomically,
`rejected/release-NNNNN.parquet` and, last, `manifest.json`: a run that has one is complete.
"""

import shutil
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

import yaml

from curation import components
from curation.context import Job
from curation.filters import SeesControls
from curation.graders import Warns
from curation.release import statistics, swap, writer
from curation.release.documents.write import write_documents
from curation.release.token_usage import JudgeUsage, count_judge_usage
from curation.run_store import shards
from curation.sampling.spending import spending
from curation.seqdep_report import controls
from curation.sources.columns.reasons import RowFault
from curation.stages import (
    build_manifest,
    filter_stage,
    fingerprints,
    measure_controls,
    prompt_stage,
    snapshots,
)
from curation.stages.build_manifest import ReleaseTally
from curation.stages.prompt_stage import SourceIndex
from schemas.facts import EditionFacts, ReleaseFile
from schemas.manifest import (
    MANIFEST_FILE,
    RECIPE_FILE,
    RELEASE_FOLDER,
    UNFINISHED_FILE,
    Manifest,
)
from schemas.outcome import Outcome
from schemas.recipe import load_recipe
from schemas.records import Canvas, Scores, Stage
from support.errors import DamagedError, NewerError, UserError
from support.files import replace_text


def check_previous_release(job: Job) -> None:
    """UserError where the build would replace another corpus, or change released rows."""
    former = _former(job)
    name = former.name if former is not None else _name_of_damaged(job)
    if name is not None and name != job.recipe.name:
        raise UserError(
            f"{job.run}: holds the corpus {name!r}, and this recipe makes "
            f"{job.recipe.name!r}, which would replace it; give another --out, or remove {job.run}"
        )
    if former is None and job.recipe.grow and has_manifest(job):
        raise DamagedError(
            f"{job.run / MANIFEST_FILE}: damaged, so that it is not known what was released and "
            f"must stay; put it back, or {prompt_stage.ANEW}"
        )
    source_index = prompt_stage.previous_index(job)
    if former is not None and job.recipe.grow:
        if source_index is None:
            raise DamagedError(
                f"{job.run / prompt_stage.INDEX_FILES[0]}: missing or damaged, and its copy too, "
                "so that it is not known what the corpus has grown from; put one back, or "
                f"{prompt_stage.ANEW}"
            )
        snapshots.check_unchanged(job, former)


def has_manifest(job: Job) -> bool:
    """Whether a build has ended in the run directory."""
    return (job.run / MANIFEST_FILE).is_file()


def write_recipe(job: Job, name: str = RECIPE_FILE) -> None:
    """Keep the resolved recipe in the run directory."""
    text = yaml.safe_dump(job.recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    replace_text(job.run / name, text)


def begin(job: Job) -> None:
    """Note a second build before it replaces files of the first one, for `polytrace verify`.

    The note is removed when a build has ended.
    """
    if has_manifest(job):
        write_recipe(job, UNFINISHED_FILE)


def _end(job: Job) -> None:
    (job.run / UNFINISHED_FILE).unlink(missing_ok=True)


def up_to_date_outcome(job: Job) -> Outcome | None:
    """The outcome of an earlier run that is complete, unchanged and whole; else None."""
    manifest = _former(job)
    source_index = prompt_stage.up_to_date_index(job)
    if manifest is None or source_index is None or manifest.recipe_digest != job.recipe.digest():
        return None
    if not all(
        fingerprints.up_to_date_marker(job, stage, index)
        for stage in fingerprints.stages_by_shard(job.recipe)
        for index in range(source_index.shards)
    ):
        return None
    if manifest.build != snapshots.release_build_id(
        [build for build, _ in snapshots.edition_builds(job, source_index)]
    ):
        return None
    if not shards.are_whole(job.run, manifest.named()) or not _says_the_same(job):
        return None
    _end(job)  # a second build may have been stopped before it changed anything
    return _outcome(job, manifest).model_copy(update={"reused": True})


def _says_the_same(job: Job) -> bool:
    """Whether the card of a complete run says what the recipe states for it."""
    try:
        former = load_recipe(job.run / RECIPE_FILE)
    except UserError:
        return False
    return (former.card, former.price) == (job.recipe.card, job.recipe.price)


def make_release(job: Job, source_index: SourceIndex) -> Outcome:
    """Filter, write the release beside the former one, put it in its place, write the manifest.

    Filters learn from the first edition that holds a canvas. An edition that was released before
    keeps its files.
    """
    swap.restore(job.run)
    control_facts = measure_controls.measure(job, source_index)
    former = _former(job)
    parts = snapshots.edition_builds(job, source_index)
    released = former.editions if former is not None and job.recipe.grow else ()
    for part, (_, span) in zip(released, parts, strict=False):  # the last may be new
        snapshots.check_build(job, part.build, span)
    fresh = job.run / "release.new"
    shutil.rmtree(fresh, ignore_errors=True)
    for old in (job.run / "rejected").glob(f"{Stage.RELEASE}-*.parquet"):
        old.unlink()
    tally = ReleaseTally(seen=[0] * len(job.filters), dropped=[Counter() for _ in job.filters])
    for rule in job.filters:
        if isinstance(rule, SeesControls):
            rule.see(control_facts)
    filter_stage.fit(job, filter_stage.shards_to_fit(job, [span for _, span in parts]))
    files: list[ReleaseFile] = []
    editions: list[EditionFacts] = []
    for edition, (build, span) in zip(source_index.editions, parts, strict=True):
        new = _release_edition(job, former, fresh, build, filter_stage.kept(job, span, tally))
        canvases = sum(file.rows for file in new)
        rows = sum(edition.rows)
        editions.append(EditionFacts(build=build, shards=len(span), rows=rows, canvases=canvases))
        files += new
    job.bars.end(Stage.RELEASE)
    measured = statistics.measure(fresh, files)
    manifest = build_manifest.build_manifest(
        job, source_index, tuple(editions), tuple(files), tally, measured, control_facts
    )
    named = [*write_documents(job.run, fresh, manifest, job.recipe, measured)]
    write_recipe(job)
    named += [writer.describe(job.run / name, name) for name in _small_files(job, source_index)]
    manifest = manifest.model_copy(update={"files": (*manifest.files, *named)})
    if problems := manifest.check():
        raise DamagedError(f"{job.run}: the sums do not hold: {'; '.join(problems)}")
    shards.make_durable(job.run, manifest.shards)
    swap.put_in_place(job.run, fresh)
    manifest.save(job.run / MANIFEST_FILE)
    _end(job)
    outcome = _outcome(job, manifest)
    return outcome.model_copy(update={"said": (*outcome.said, *_grader_sentences(job))})


def _grader_sentences(job: Job) -> Iterator[str]:
    """What a grader did not enforce, and what a judge has read and written.

    Nothing is said of what its server did not count.
    """
    if isinstance(job.grader, Warns) and job.grader.warning:
        yield job.grader.warning
    names = components.judge_names(job.recipe.grader)
    used = count_judge_usage(job.run) if names else JudgeUsage()
    if used.replies:
        yield (
            f"The judge ({', '.join(names)}) has read {used.read:,} tokens and "
            f"written {used.written:,}, in {used.replies:,} replies; a grade that is the judge's "
            "may be wrong."
        )


def _former(job: Job) -> Manifest | None:
    """The manifest of an earlier build, if it can be read; NewerError where that is no damage."""
    try:
        return Manifest.load(job.run / MANIFEST_FILE)
    except NewerError:
        raise
    except (UserError, DamagedError):
        return None


def _name_of_damaged(job: Job) -> str | None:
    """The name of a corpus whose manifest is missing or damaged; None where nothing was released.

    It comes from the recipe; DamagedError where that cannot be read either.
    """
    if not has_manifest(job) and not any((job.run / RELEASE_FOLDER).glob("data/*.parquet")):
        return None
    try:
        return load_recipe(job.run / RECIPE_FILE).name
    except UserError:
        raise DamagedError(
            f"{job.run}: {MANIFEST_FILE} and {RECIPE_FILE} are missing or damaged, so that it is "
            f"not known which corpus is in it; put one of them back, give another --out, or "
            f"remove {job.run}"
        ) from None


def _release_edition(
    job: Job,
    former: Manifest | None,
    fresh: Path,
    build: str,
    kept: Iterator[tuple[Canvas, Scores]],
) -> tuple[ReleaseFile, ...]:
    """The files of one edition in `fresh`: those of the former release, or new ones."""
    files = former.files_of(build) if former else ()
    if not files or not shards.are_whole(job.run, files):
        spec = job.recipe.release
        return writer.write_release(
            fresh, build, kept, validation=spec.validation, rows_per_file=spec.rows_per_file
        )
    deque(kept, maxlen=0)  # for the tally and the rejections
    for file in files:
        writer.link_or_copy(job.run / file.path, writer.data_path(fresh, file))
    return files


def _small_files(job: Job, source_index: SourceIndex) -> Iterator[str]:
    """The recipe, the source index, the markers and the controls, relative to the run."""
    yield from (RECIPE_FILE, *prompt_stage.INDEX_FILES)
    for stage in fingerprints.stages_of(job.recipe):
        if stage is not Stage.RELEASE:
            yield from (f"{stage}/{index:05d}.json" for index in range(source_index.shards))
    if measure_controls.is_wanted(job):
        yield measure_controls.CONTROLS


def _outcome(job: Job, manifest: Manifest) -> Outcome:
    sentences: tuple[str, ...] = ()
    if manifest.scorer is not None:
        measured = manifest.scorer.controls
        idle = controls.idle_filters(measured, job.recipe.filters)
        sentences = (controls.sentence(measured), *idle)
    joined = sum(one.count for one in manifest.rejected if one.reason == RowFault.GROUPED)
    if joined:
        sentences += (
            f"{joined:,} of the rejected rows repeat the prompt of an earlier row, which has their "
            "traces (reason grouped)",
        )
    recipe = job.recipe
    is_paid = recipe.price is not None or recipe.budget is not None
    return Outcome(
        run_dir=str(job.run),
        prompts=manifest.prompts,
        traces=manifest.traces,
        canvases=manifest.canvases,
        seconds=0.0,
        spent=spending(job.run, recipe.price) if is_paid else None,
        said=sentences,
    )
