"""The last stage: filters, the released dataset, its card and the manifest, swapped in atomically.

In: scored canvases of every shard. Out: `release/`, `rejected/release-NNNNN.parquet` and, last,
`manifest.json`, whose presence and build id say that the run is complete.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import yaml

from curation import account, card, card_figures, chain, reading, release, shards, stages, stats
from curation.account import Tally
from curation.job import Job
from curation.reading import Census
from curation.rows import read_rows
from schemas import arrow
from schemas.durable import replace_text
from schemas.errors import DamagedError, UserError
from schemas.manifest import Manifest
from schemas.outcome import Outcome
from schemas.recipe import digest
from schemas.records import Canvas, Rejection, Scores, Stage, Verdict

MANIFEST = "manifest.json"


def write_recipe(job: Job) -> None:
    """Keep the resolved recipe in the run directory."""
    text = yaml.safe_dump(job.recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    replace_text(job.run / "recipe.yaml", text)


def standing(job: Job) -> Outcome | None:
    """The outcome of an earlier run that is complete, unchanged and whole; else None."""
    try:
        manifest = Manifest.load(job.run / MANIFEST)
    except (UserError, DamagedError):
        return None
    census = reading.standing_census(job)
    if census is None or manifest.recipe_digest != job.recipe.digest():
        return None
    for stage in chain.stages_of(job.recipe):
        if stage in (Stage.PROMPTS, Stage.RELEASE):
            continue
        if not all(chain.standing(job, stage, index) for index in range(census.shards)):
            return None
    if manifest.build != _build_id(job, census):
        return None
    for file in manifest.named():
        path = job.run / file.path
        if not path.is_file() or shards.sha256(path) != file.sha256:
            return None
    return _outcome(job, manifest).model_copy(update={"reused": True})


def make(job: Job, census: Census) -> Outcome:
    """Filter, write the release beside the former one, swap it in, write the manifest."""
    build = _build_id(job, census)
    fresh = job.run / "release.new"
    shutil.rmtree(fresh, ignore_errors=True)
    for old in (job.run / "rejected").glob(f"{Stage.RELEASE}-*.parquet"):
        old.unlink()
    tally = Tally(seen=[0] * len(job.filters), dropped=[Counter() for _ in job.filters])
    _fit(job, range(census.shards))
    spec = job.recipe.release
    files = release.write_release(
        fresh,
        build,
        _kept(job, census, tally),
        validation=spec.validation,
        rows_per_file=spec.rows_per_file,
    )
    job.bars.end(Stage.RELEASE)
    measured = stats.measure(fresh, files)
    replace_text(fresh / "stats.json", measured.text())
    manifest = account.manifest(job, census, build, files, tally, measured)
    example = next(iter(read_rows(release.data_path(fresh, files[0]))), None) if files else None
    pictures = card_figures.draw(fresh, files, manifest, measured)
    text = card.render_card(manifest, job.recipe, example, measured, pictures)
    replace_text(fresh / "README.md", text)
    named = [
        release.describe(fresh / name, f"release/{name}")
        for name in ("README.md", "stats.json", *(picture.path for picture in pictures))
    ]
    named += [release.describe(job.run / name, name) for name in _small_files(job, census)]
    manifest = manifest.model_copy(update={"files": (*manifest.files, *named)})
    if problems := manifest.check():
        raise DamagedError(f"{job.run}: the sums do not hold: {'; '.join(problems)}")
    _swap(job.run, fresh)
    manifest.save(job.run / MANIFEST)
    return _outcome(job, manifest)


def passing(job: Job, index: int) -> int:
    """How many canvases of one shard the filters let through, had they seen no other."""
    only = range(index, index + 1)
    _fit(job, only)
    return sum(drop is None for _, _, drop in _judged(job, only, len(job.filters)))


def _fit(job: Job, indices: range) -> None:
    """Let every filter learn from what the filters before it let through."""
    for number, rule in enumerate(job.filters):
        rule.fit(pair for _, pair, drop in _judged(job, indices, number) if drop is None)


def _judged(
    job: Job, indices: range, rules: int
) -> Iterator[tuple[int, tuple[Canvas, Scores], tuple[int, Verdict] | None]]:
    """(shard, canvas with scores, the first of `rules` filters that drops it and why)."""
    for index in indices:
        for canvas, scores in stages.shard_corpus(job, index):
            drop = None
            for number, rule in enumerate(job.filters[:rules]):
                verdict = rule.judge(canvas, scores)
                if not verdict.keep:
                    drop = (number, verdict)
                    break
            yield index, (canvas, scores), drop


def _kept(job: Job, census: Census, tally: Tally) -> Iterator[tuple[Canvas, Scores]]:
    """The canvases that pass every filter; the others are written to `rejected/` shard by shard."""
    rejections: list[Rejection] = []
    shard = 0
    for index, (canvas, scores), drop in _judged(job, range(census.shards), len(job.filters)):
        job.bars.add(Stage.RELEASE, 1)
        if index != shard:
            _write_rejections(job.run, shard, rejections, tally)
            rejections, shard = [], index
        last = len(job.filters) if drop is None else drop[0] + 1
        for number in range(last):
            tally.seen[number] += 1
        if drop is None:
            tally.path_tokens += sum(canvas.path_tokens)
            tally.summary_tokens += canvas.summary_tokens
            yield canvas, scores
        else:
            number, verdict = drop
            tally.dropped[number][verdict.reason] += 1
            rejections.extend(_drop(canvas, job.recipe.filters[number].kind, verdict))
    _write_rejections(job.run, shard, rejections, tally)


def _drop(canvas: Canvas, kind: str, verdict: Verdict) -> Iterator[Rejection]:
    """The rejection of a canvas's prompt, then those of its traces."""
    prompt = canvas.prompt
    for index in (None, *sorted(path.trace.index for path in canvas.paths)):
        yield Rejection(
            stage=Stage.RELEASE,
            prompt_id=prompt.id,
            source=prompt.source,
            row=prompt.row,
            index=index,
            reason=verdict.reason if index is None else "prompt_rejected",
            detail=f"filter {kind}: {verdict.detail}",
        )


def _write_rejections(run: Path, index: int, rejections: list[Rejection], tally: Tally) -> None:
    if not rejections:
        return
    path = run / "rejected" / f"{Stage.RELEASE}-{index:05d}.parquet"
    shards.write_table(run, path, arrow.table(Rejection, rejections))
    tally.files.append(release.describe(path, f"rejected/{path.name}"))
    for reason in shards.count_reasons(rejections):
        tally.rejected[reason.kind, reason.reason] += reason.count


def _small_files(job: Job, census: Census) -> Iterator[str]:
    """The recipe, the census and the marks, relative to the run."""
    yield from ("recipe.yaml", f"{Stage.PROMPTS}/census.json")
    for stage in chain.stages_of(job.recipe):
        if stage is not Stage.RELEASE:
            yield from (f"{stage}/{index:05d}.json" for index in range(census.shards))


def _swap(run: Path, fresh: Path) -> None:
    """Put the fresh release in place; the former one is kept under its build id."""
    current = run / "release"
    if current.exists():
        name = next((p.name.split("-")[1] for p in (current / "data").glob("*.parquet")), "empty")
        former = run / f"release.{name}"
        shutil.rmtree(former, ignore_errors=True)
        same = {p.name for p in (current / "data").glob("*.parquet")} == {
            p.name for p in (fresh / "data").glob("*.parquet")
        }
        if same or name == "empty":  # the same build once more, or nothing: not kept
            shutil.rmtree(current)
        else:
            current.rename(former)
    fresh.rename(current)


def _build_id(job: Job, census: Census) -> str:
    """What the release depends on, as 12 hex digits; it names the release's files."""
    inputs = [
        [
            account.mark_of(job, stage, index).sha256
            for stage in (chain.canvas_stage(job.recipe), Stage.SCORED)
        ]
        for index in range(census.shards)
    ]
    facts = job.recipe.model_dump(mode="json", include={"name", "filters", "release"})
    columns = str(arrow.RELEASE)  # another shape is another build, whatever the versions say
    return digest([chain.VERSION[Stage.RELEASE], columns, inputs, facts])[:12]


def _outcome(job: Job, manifest: Manifest) -> Outcome:
    return Outcome(
        run_dir=str(job.run),
        prompts=manifest.prompts,
        traces=manifest.traces,
        canvases=manifest.canvases,
        seconds=0.0,
    )
