"""Look at a run in the terminal: a summary, one canvas with its paths side by side, the rejections.

In: a run directory. Out: text (`polytrace inspect DIR`). Foreign text is made safe to print.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from shutil import get_terminal_size

import pyarrow as pa
import pyarrow.parquet as pq

from curation import stats as statistics
from curation.release import data_path
from curation.rows import Released, ReleasedPath, row_at
from curation.stats import Distribution
from curation.terminal import columns, one_line, shorten, table, visible, wrap
from schemas.errors import DamagedError, UserError
from schemas.facts import FilterFacts
from schemas.manifest import MANIFEST_FILE, RELEASE_FOLDER, Manifest
from schemas.records import Grade

MARKS = {
    Grade.CORRECT: "✓ correct",
    Grade.WRONG: "✗ wrong",
    Grade.UNPARSED: "? no answer read",
    Grade.TIMEOUT: "? verifier stopped",
}
LONGEST = 20_000  # characters of one text that are shown


def overview(run: Path) -> str:
    """Counts, yields and reasons of a finished run; UserError or DamagedError where it is none."""
    manifest = Manifest.load(run / MANIFEST_FILE)
    title = f"{manifest.name}   build {manifest.build}, recipe {manifest.recipe_digest}"
    parts = [one_line(f"{title}, polytrace {manifest.polytrace}")]
    if manifest.notice:
        parts.append(f"NOTICE: {one_line(manifest.notice)}")
    facts = [*_counts(manifest), *_origins(manifest), *_measured(run, manifest)]
    facts += [(f"filter {n}", _filter(one)) for n, one in enumerate(manifest.filters, 1)]
    facts += [
        ("file", f"{file.path}: {file.rows:,} rows, {file.bytes:,} bytes")
        for file in manifest.release
    ]
    parts.append(table([(name, one_line(value)) for name, value in facts]))
    if manifest.rejected:
        rows = [(r.stage, r.kind, one_line(r.reason), f"{r.count:,}") for r in manifest.rejected]
        parts.append("rejected\n" + table(rows, right=(3,)))
    return "\n\n".join(parts)


def _counts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    prompts, traces, grades = manifest.prompts, manifest.traces, manifest.grades
    sums = f"{prompts.in_:,} in = {prompts.released:,} released + {prompts.rejected:,} rejected"
    yield "prompts", f"{sums} ({_share(prompts.released, prompts.in_)} released)"
    sums = f"{traces.in_:,} in = {traces.kept:,} kept + {traces.rejected:,} rejected"
    yield "traces", f"{sums} ({_share(traces.kept, traces.in_)} kept)"
    slots = f"{manifest.paths} x {manifest.slot_tokens} + {manifest.summary_tokens}"
    positions = manifest.masks + manifest.header_tokens
    yield (
        "canvases",
        f"{manifest.canvases:,} of P = {manifest.paths}: {manifest.masks:,} masks ({slots}),"
        f" {positions:,} positions with headers",
    )
    numbers = [(grade, getattr(grades, grade)) for grade in Grade]
    yield "paths", ", ".join(f"{n:,} {grade} ({_share(n, grades.total)})" for grade, n in numbers)


def _origins(manifest: Manifest) -> Iterator[tuple[str, str]]:
    teacher, scorer = manifest.teacher, manifest.scorer
    yield "teacher", f"{teacher.name} ({teacher.kind}, revision {teacher.revision})"
    yield "scorer", f"{scorer.name} (revision {scorer.revision})" if scorer else "none"
    for n, source in enumerate(manifest.sources, 1):
        yield f"source {n}", f"{source.label} ({source.licence}), {source.rows:,} rows"
    for n, held_out in enumerate(manifest.decontamination, 1):
        found = f"{held_out.exact:,} prompts found exactly, {held_out.ngram:,} by 8-grams"
        yield f"eval set {n}", f"{held_out.label}, {held_out.rows:,} rows: {found}"


def _measured(run: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """The distributions of `stats.json`; nothing where there is no release."""
    if not manifest.release:
        return
    stats = statistics.load(run / RELEASE_FOLDER / statistics.STATS_FILE)
    yield "path tokens", _spread(stats.path_tokens)
    yield "SeqDep path", _spread(stats.seqdep_path_nats_per_token, " nats a token")
    yield "SeqDep step", _spread(stats.seqdep_step_nats_per_token, " nats a token (long-CoT twin)")


def _spread(one: Distribution, unit: str = "") -> str:
    if not one.count:
        return "not measured"
    return f"median {one.p50:g}, 5-95 %: {one.p05:g} to {one.p95:g}{unit} (n = {one.count:,})"


def _filter(one: FilterFacts) -> str:
    dropped = sum(d.count for d in one.dropped)
    learnt = f", {one.frozen}" if one.frozen else ""
    return (
        f"{one.kind}: saw {one.seen:,}, dropped {dropped:,} ({_share(dropped, one.seen)}){learnt}"
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def rejections(run: Path) -> str:
    """Every reason with its count and one example, most frequent first; read from `rejected/`."""
    manifest = Manifest.load(run / MANIFEST_FILE)
    counts: Counter[tuple[str, str, str]] = Counter()
    examples: dict[tuple[str, str, str], str] = {}
    for file in manifest.rejections():
        for row in _table(run / file.path).to_pylist():
            key = (row["stage"], "prompt" if row["index"] is None else "trace", row["reason"])
            counts[key] += 1
            sample = "" if row["index"] is None else f" trace {row['index']}"
            examples.setdefault(key, f"{row['source']} row {row['row']}{sample}: {row['detail']}")
    if not counts:
        return "nothing was rejected"
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    lines = [
        (*map(one_line, key), f"{n:,}", shorten(one_line(examples[key]), 100)) for key, n in ordered
    ]
    return table(lines, right=(3,))


def top_reasons(run: Path, most: int = 3) -> str:
    """The most frequent reasons for which prompts were rejected, as one line."""
    manifest = Manifest.load(run / MANIFEST_FILE)
    prompts = [r for r in manifest.rejected if r.kind == "prompt"]
    prompts.sort(key=lambda r: -r.count)
    return ", ".join(f"{r.stage} {one_line(r.reason)} ({r.count:,})" for r in prompts[:most])


def show(run: Path, which: str = "0", cells: int | None = None) -> str:
    """One released canvas, `cells` wide (default: the terminal's width).

    `which` is its number from 0, train first, as `datasets` counts, or the start of its id; a
    number in range is never read as an id. UserError where no or more than one canvas is meant.
    """
    manifest = Manifest.load(run / MANIFEST_FILE)
    if not manifest.release:
        return "no canvas was released"
    row = _find(run, manifest, which)
    cells = max(20, cells or get_terminal_size((120, 40)).columns)
    heading = (
        f"{row.id}   {row.source} row {row.source_row}, {row.licence};"
        f" gold {shorten(row.gold, 60)}; {row.correct_paths} of {len(row.paths)} paths correct"
    )
    summary_by = f"summary ({row.summary_tokens} tokens, by {one_line(row.summary_by)})"
    paths = [_column(j, path, row) for j, path in enumerate(row.paths, 1)]
    blocks = [
        _wrapped(one_line(heading), cells),
        _wrapped(_shown(row.prompt), cells),
        columns(paths, cells),
        _wrapped(f"{summary_by}: {_shown(row.summary)}", cells),
        _wrapped(_seqdep(row), cells),
    ]
    return f"\n{'─' * cells}\n".join(blocks)


def _column(number: int, path: ReleasedPath, row: Released) -> str:
    answer = "" if path.answer is None else f": {one_line(shorten(path.answer, 60))}"
    gains = row.seqdep_path_gains or ()  # of paths 2 to P
    gain = f", gain {gains[number - 2]:+.2f} nats" if 2 <= number <= len(gains) + 1 else ""
    heading = f"path {number}  {MARKS[path.grade]}{answer}"
    made = f"{path.tokens} tokens{gain}, {one_line(path.trace.teacher)}"
    return f"{heading}\n{made}\n\n{_shown(path.text)}"


def _shown(text: str) -> str:
    return visible(shorten(text, LONGEST))


def _wrapped(text: str, cells: int) -> str:
    return "\n".join(wrap(text, cells))


def _seqdep(row: Released) -> str:
    if row.scorer is None:
        return "SeqDep: not measured (no scorer)"
    path, step = row.seqdep_path_nats_per_token, row.seqdep_step_nats_per_token
    window = row.seqdep_window_nats_per_token
    values = ", ".join(
        f"{name} {'undefined' if value is None else f'{value:+.4f}'}"
        for name, value in (("path", path), ("step", step), ("window", window))
    )
    gain = "" if row.summary_gain_nats is None else f"; summary {row.summary_gain_nats:+.2f} nats"
    return f"SeqDep, nats a token: {values}{gain}; scorer {one_line(row.scorer)}"


def _find(run: Path, manifest: Manifest, which: str) -> Released:
    """The row that `which` means."""
    starts, total = [], 0
    for file in manifest.release:
        starts.append((total, data_path(run / RELEASE_FOLDER, file)))
        total += file.rows
    if re.fullmatch(r"0|[1-9][0-9]{0,14}", which) and int(which) < total:
        at = int(which)
        first, path = max(start for start in starts if start[0] <= at)
        return row_at(path, at - first)
    found = [
        (path, offset, prompt_id)
        for _, path in starts
        for offset, prompt_id in enumerate(_table(path, ["id"]).column("id").to_pylist())
        if which and prompt_id.startswith(which)
    ]
    if not found:
        raise UserError(f"no canvas {which!r}: give a number below {total}, or how its id begins")
    if len(found) > 1:
        ids = ", ".join(prompt_id for _, _, prompt_id in found[:5])
        raise UserError(
            f"{len(found)} canvases begin with {which!r} ({ids}, …): give more of the id"
        )
    return row_at(*found[0][:2])


def _table(path: Path, names: list[str] | None = None) -> pa.Table:
    try:
        return pq.read_table(path, columns=names, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise DamagedError(f"{path}: cannot be read ({reason}); run polytrace verify") from None
