"""Verify a run (`polytrace verify DIR`): its files, rows and totals against the manifest.

In: a run directory. Out: problems, one line each. Damaged journals of complete shards are warnings,
not problems, because the corpus does not need them. Files are hashed before they are parsed, and a
damaged one is not parsed. Rows are streamed; only ids and row numbers stay in memory.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curation.release import figures, row_checks, statistics
from curation.release.rows import read_rows
from curation.release.writer import data_path
from curation.run_store.shards import kind_of, refuse_newer
from curation.sampling import journal
from schemas import arrow
from schemas.facts import REJECTED_FOLDER, FileFacts, ReleaseFile, Shard
from schemas.manifest import (
    MANIFEST_FILE,
    RECIPE_FILE,
    RELEASE_FOLDER,
    UNFINISHED_FILE,
    Manifest,
)
from schemas.recipe import Recipe, load_recipe
from schemas.records import Grade, Rejection
from support.capacity import raise_if_out_of_memory
from support.display.text import one_line
from support.errors import PolytraceError, UserError
from support.files import sha256

STATS = f"{RELEASE_FOLDER}/{statistics.STATS_FILE}"
PICTURES = f"{RELEASE_FOLDER}/{figures.FOLDER}"
REQUIRED = (f"{RELEASE_FOLDER}/README.md", STATS)  # files that every release has beside its data
MOST_LISTED = 20  # problems of one file
UNFINISHED = (
    f"a second build has begun and not ended ({UNFINISHED_FILE}), so that files outside "
    f"{RELEASE_FOLDER}/ are partly its own and not those of {MANIFEST_FILE}: the same polytrace "
    f"build command finishes it, and that of {RECIPE_FILE} goes back to the first"
)


@dataclass(slots=True)
class _Tally:
    """Counts over the released rows."""

    ids: dict[str, str] = field(default_factory=dict)  # prompt id -> split
    origins: Counter[tuple[str, int]] = field(default_factory=Counter)  # (source, row)
    grades: Counter[str] = field(default_factory=Counter)
    path_tokens: int = 0
    summary_tokens: int = 0


def find_problems(run: Path) -> list[str]:
    """The problems of a run, one line each."""
    try:
        refuse_newer(run)
        manifest = Manifest.load(run / MANIFEST_FILE)
    except PolytraceError as error:
        return [one_line(str(error))]
    problems = [f"{MANIFEST_FILE}: {line}" for line in manifest.check()]
    damaged: set[str] = set()
    for file in manifest.named():
        if problem := _damage(run, file):
            problems.append(f"{file.path}: {problem}")
            damaged.add(file.path)
    problems += _unnamed(run, manifest)
    problems += _contents(run, manifest, damaged)
    return [one_line(problem) for problem in _without_second_build(run, problems)]


def journal_warnings(run: Path) -> Iterator[str]:
    """One line for each journal of a complete shard that holds damaged lines."""
    for path in sorted(run.glob("*/*.jsonl.done")):
        reading = journal.read(path)
        if number := reading.damaged + bool(reading.torn):
            yield one_line(
                f"{path.relative_to(run).as_posix()}: {number} damaged lines (the corpus does not "
                "need them: the shard's Parquet file holds its samples; the disk may be failing)"
            )


def _without_second_build(run: Path, problems: list[str]) -> list[str]:
    """The problems; what a second build that was stopped explains is one of them, the first."""
    if not (run / UNFINISHED_FILE).is_file():
        return problems
    # It changes the recipe only with the release, and the first build needs it to go back.
    own = (f"{RELEASE_FOLDER}/", MANIFEST_FILE, RECIPE_FILE)
    others = [one for one in problems if one.startswith(own)]
    return problems if len(others) == len(problems) else [UNFINISHED, *others]


def _damage(run: Path, file: FileFacts) -> str:
    """How a file differs from what the manifest says; empty where it does not."""
    path = run / file.path
    try:
        if not path.is_file():
            return "missing"
        size = path.stat().st_size
        if size != file.bytes:
            return f"{size} bytes, {file.bytes} were written"
        return "" if sha256(path) == file.sha256 else "content changed (sha256)"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _unnamed(run: Path, manifest: Manifest) -> Iterator[str]:
    """Files that the manifest does not name: of released or rejected rows, pictures, REQUIRED."""
    named = {file.path for file in manifest.named()}
    for folder, kind in (
        (RELEASE_FOLDER, "*.parquet"),
        (REJECTED_FOLDER, "*.parquet"),
        (PICTURES, "*.png"),
    ):
        for path in sorted((run / folder).rglob(kind)):
            name = path.relative_to(run).as_posix()
            if name not in named:
                yield f"{name}: not part of this build"
    for name in REQUIRED:
        if manifest.release and name not in named:
            yield f"{name}: not named in the manifest"


def _contents(run: Path, manifest: Manifest, damaged: set[str]) -> Iterator[str]:
    """The problems inside files that are not damaged."""
    for shard in manifest.shards:
        if shard.path not in damaged:
            yield from _shard(run, shard)
    recipe = None
    if RECIPE_FILE not in damaged:
        try:
            recipe = load_recipe(run / RECIPE_FILE)
        except UserError as error:
            yield str(error)
    if recipe is not None and recipe.digest() != manifest.recipe_digest:
        yield f"{RECIPE_FILE}: digest {recipe.digest()}, the manifest has {manifest.recipe_digest}"
    tally = _Tally()
    for file in manifest.release:
        if file.path not in damaged:
            yield from _first(file.path, _release_file(run, file, manifest, recipe, tally))
    if not damaged.intersection(file.path for file in manifest.release):
        yield from _totals(manifest, tally)
        if manifest.release and STATS not in damaged:
            yield from _stats(run, manifest)
    if not any(file.path in damaged for file in manifest.rejections()):
        yield from _first(REJECTED_FOLDER, _rejections(run, manifest, tally))


def _first(name: str, problems: Iterable[str]) -> Iterator[str]:
    """At most MOST_LISTED problems, and a last line with the number of the others."""
    number = 0
    for number, problem in enumerate(problems, 1):
        if number <= MOST_LISTED:
            yield f"{name}: {problem}"
    if number > MOST_LISTED:
        yield f"{name}: and {number - MOST_LISTED} more problems"


def _shard(run: Path, shard: Shard) -> Iterator[str]:
    try:
        rows = pq.read_metadata(run / shard.path).num_rows
    except (OSError, pa.ArrowException) as error:
        raise_if_out_of_memory(error)
        yield f"{shard.path}: not Parquet ({error})"
        return
    if rows != shard.rows:
        yield f"{shard.path}: {rows} rows, the manifest has {shard.rows}"


def _release_file(
    run: Path, file: ReleaseFile, manifest: Manifest, recipe: Recipe | None, tally: _Tally
) -> Iterator[str]:
    path = data_path(run / RELEASE_FOLDER, file)
    number = 0
    try:
        schema = pq.read_schema(path)
        known = any(schema.equals(s) and schema.metadata == s.metadata for s in arrow.RELEASES)
        if not known:
            yield f"columns differ from schema version {arrow.SCHEMA_VERSION}"
            return
        for number, row in enumerate(read_rows(path), 1):
            for problem in row_checks.row_problems(row, manifest, recipe):
                yield f"row {number}: {problem}"
            if row.id in tally.ids:
                yield f"row {number}: prompt {row.id} is also in {tally.ids[row.id]}"
            tally.ids[row.id] = file.split
            tally.origins[row.source, row.source_row] += 1
            tally.grades.update(item.grade for item in row.paths)
            tally.path_tokens += sum(item.tokens for item in row.paths)
            tally.summary_tokens += row.summary_tokens
    except (PolytraceError, OSError, pa.ArrowException) as error:
        raise_if_out_of_memory(error)
        yield f"cannot be read after row {number} ({error})"
        return
    if number != file.rows:
        yield f"{number} rows, the manifest has {file.rows}"


def _totals(manifest: Manifest, tally: _Tally) -> Iterator[str]:
    """Totals over the released rows against the manifest."""
    counts = [
        ("released prompts", len(tally.ids), manifest.prompts.released),
        ("path tokens", tally.path_tokens, manifest.tokens.paths),
        ("summary tokens", tally.summary_tokens, manifest.tokens.summaries),
        *((f"{g} paths", tally.grades[g], getattr(manifest.grades, g)) for g in Grade),
    ]
    for name, counted, stated in counts:
        if counted != stated:
            yield f"{RELEASE_FOLDER}/data: {counted} {name}, the manifest has {stated}"


def _stats(run: Path, manifest: Manifest) -> Iterator[str]:
    """`stats.json` against the statistics of the rows, measured again."""
    try:
        stated = statistics.read_stats(run / STATS)
        measured = (
            statistics.measure(
                run / RELEASE_FOLDER, manifest.release, as_in_former_versions=is_former
            )
            for is_former in (False, True)
        )
        if all(one != stated for one in measured):
            yield f"{STATS}: does not describe the rows of {RELEASE_FOLDER}/data"
    except (PolytraceError, OSError, pa.ArrowException, ValueError, LookupError) as error:
        raise_if_out_of_memory(error)
        yield f"{STATS}: {error}"


def _rejections(run: Path, manifest: Manifest, tally: _Tally) -> Iterator[str]:
    """Rejected rows against the manifest; each row of a source is released or rejected, once."""
    counts: Counter[tuple[str, str, str]] = Counter()
    origins = tally.origins
    for file in manifest.rejections():
        try:
            data = pq.read_table(run / file.path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise_if_out_of_memory(error)
            yield f"{file.path} cannot be read ({error})"
            return
        if not data.schema.equals(arrow.schema_of(Rejection)):
            yield f"{file.path} has other columns than a rejection"
            return
        for row in arrow.records(Rejection, data):
            counts[row.stage, kind_of(row), row.reason] += 1
            if row.index is None:
                origins[row.source, row.row] += 1
    stated: Counter[tuple[str, str, str]] = Counter()
    for entry in manifest.rejected:
        stated[entry.stage, entry.kind, entry.reason] += entry.count
    for key in sorted(counts.keys() | stated.keys()):
        if counts[key] != stated[key]:
            yield f"{' '.join(key)}: {counts[key]} rows, the manifest has {stated[key]}"
    labels = [source.label for source in manifest.sources]
    # Rows are told apart by label and number: of two sources with one label, they cannot be.
    if len(set(labels)) == len(labels):
        for (source, number), times in sorted(origins.items()):
            if times > 1:
                yield f"{source} row {number} is released or rejected {times} times"
