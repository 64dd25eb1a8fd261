"""The manifest of a build, from shard markers, the filters' tally and the release's statistics."""

from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import chain
from pathlib import Path

from curation import components
from curation.context import Job
from curation.release.statistics import Stats
from curation.run_store import shards
from curation.stages import fingerprints, snapshots
from curation.stages.prompt_stage import SourceIndex
from schemas.canvas import header, summary_header
from schemas.facts import (
    ControlFacts,
    Dropped,
    EditionFacts,
    FileFacts,
    FilterFacts,
    Kind,
    ModelFacts,
    Package,
    PromptCounts,
    Rejected,
    ReleaseFile,
    ScorerFacts,
    Shard,
    TeacherFacts,
    TokenCounts,
    TraceCounts,
)
from schemas.manifest import Manifest
from schemas.recipe import Recipe
from schemas.records import Stage
from support import plugins
from support.paths import locate

SHAPING = ("polytrace", "datasets", "math-verify", "pyarrow", "torch", "transformers")


@dataclass(slots=True)
class ReleaseTally:
    """What the filters did to the canvases; `seen` and `dropped` have one entry for each filter.

    `files` are those of the rejections.
    """

    seen: list[int]
    dropped: list[Counter[str]]
    rejected: list[Rejected] = field(default_factory=list)
    path_tokens: int = 0
    summary_tokens: int = 0
    files: list[FileFacts] = field(default_factory=list)


def build_manifest(
    job: Job,
    source_index: SourceIndex,
    parts: tuple[EditionFacts, ...],
    files: tuple[ReleaseFile, ...],
    tally: ReleaseTally,
    measured: Stats,
    controls: ControlFacts | None,
) -> Manifest:
    """Every fact of a finished build."""
    recipe = job.recipe
    stages_made = [s for s in fingerprints.stages_of(recipe) if s is not Stage.RELEASE]
    markers = [
        shards.require_marker(job.run, stage, i)
        for stage in stages_made
        for i in range(source_index.shards)
    ]
    rejected: Counter[tuple[Stage, Kind, str]] = Counter()
    for entry in chain(*(marker.rejected for marker in markers), tally.rejected):
        rejected[entry.stage, entry.kind, entry.reason] += entry.count
    canvases = sum(file.rows for file in files)
    traces = sum(marker.rows for marker in markers if marker.stage is Stage.TRACES) + sum(
        n
        for (stage, kind, _), n in rejected.items()
        if stage in (Stage.PROMPTS, Stage.TRACES) and kind == "trace"
    )
    # A teacher of recorded traces samples none, so that the manifest's sum shows any lost trace.
    recorded = sum(source.traces for source in source_index.sources)
    sampled = 0 if job.teacher.is_record else traces - recorded
    kept = canvases * recipe.paths
    headers = [header(j) for j in range(1, recipe.paths + 1)] + [summary_header(recipe.paths)]
    return Manifest(
        polytrace=version("polytrace"),
        name=recipe.name,
        recipe_digest=recipe.digest(),
        build=snapshots.release_build_id([part.build for part in parts]),
        notice=recipe.release.notice,
        sources=source_index.sources,
        decontamination=source_index.evaluation,
        teacher=_teacher(job),
        grader=recipe.grader.kind,
        scorer=_scorer(job, controls),
        tokenizers=tuple(
            ModelFacts(name=Path(path).name or path, revision=fingerprints.revision(path))
            for path in recipe.canvas.tokenizer
        ),
        paths=recipe.paths,
        slot_tokens=recipe.canvas.slot_tokens,
        summary_tokens=recipe.canvas.summary_tokens,
        masks=recipe.paths * recipe.canvas.slot_tokens + recipe.canvas.summary_tokens,
        header_tokens=sum(job.counter.counts(headers)),
        prompts=PromptCounts(
            in_=source_index.rows, released=canvases, rejected=source_index.rows - canvases
        ),
        traces=TraceCounts(in_=traces, kept=kept, rejected=traces - kept, sampled=sampled),
        canvases=canvases,
        rejected=tuple(
            Rejected(stage=stage, kind=kind, reason=r, count=n)
            for (stage, kind, r), n in sorted(
                rejected.items(), key=lambda item: (list(Stage).index(item[0][0]), *item[0][1:])
            )
        ),
        filters=tuple(
            FilterFacts(
                kind=spec.kind,
                options=tuple(f"{key}={value}" for key, value in sorted(spec.options.items())),
                frozen=rule.frozen(),
                seen=seen,
                dropped=tuple(Dropped(reason=r, count=n) for r, n in sorted(dropped.items())),
            )
            for spec, rule, seen, dropped in zip(
                recipe.filters, job.filters, tally.seen, tally.dropped, strict=True
            )
        ),
        grades=measured.grades,
        tokens=TokenCounts(paths=tally.path_tokens, summaries=tally.summary_tokens),
        shards=tuple(
            Shard(stage=marker.stage, index=marker.index, **file.model_dump())
            for marker in markers
            for file in marker.files
        ),
        editions=parts,
        release=files,
        files=tuple(tally.files),
        packages=_packages(recipe),
    )


def _packages(recipe: Recipe) -> tuple[Package, ...]:
    """The packages that shape the result, and those that provide parts of the recipe."""
    named = {name: version(name) for name in SHAPING}
    named |= {one.package: one.version for one in components.of_others(recipe)}
    return tuple(Package(name=name, version=number) for name, number in named.items())


def _teacher(job: Job) -> TeacherFacts:
    spec = job.recipe.teacher
    options = plugins.effective("curation.teachers", spec.kind, spec.options)
    temperature, top_p = options.get("temperature"), options.get("top_p")
    max_tokens, part = options.get("max_tokens"), options.get("part")
    return TeacherFacts(
        kind=spec.kind,
        name=job.teacher.name,
        revision=components.shown_revision(job.recipe, job.teacher.revision),
        temperature=float(temperature) if isinstance(temperature, int | float) else None,
        top_p=float(top_p) if isinstance(top_p, int | float) else None,
        max_tokens=max_tokens if isinstance(max_tokens, int) else None,
        part=part if isinstance(part, str) else None,
    )


def _scorer(job: Job, controls: ControlFacts | None) -> ScorerFacts | None:
    spec = job.recipe.scorer
    if spec is None:
        return None
    name, revision = Path(locate(spec.path)).name, fingerprints.revision(spec.path)
    return ScorerFacts(name=name, revision=revision, controls=controls)
