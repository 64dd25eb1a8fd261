"""Show a run in the terminal: a summary, canvases with their paths side by side, rejections.

In: a run directory, released rows, rejections. Out: text (`polytrace inspect DIR`). Foreign text is
made safe to print.
"""

from collections.abc import Iterator
from pathlib import Path

from rich.text import Text

from curation.inspect import draws
from curation.inspect.layout import Part, columns, lines
from curation.inspect.rejections import GivenAnswer, RejectedItem
from curation.release import statistics
from curation.release.statistics import Distribution
from curation.seqdep_report.controls import sentence
from schemas.facts import FilterFacts
from schemas.manifest import MANIFEST_FILE, RELEASE_FOLDER, Manifest
from schemas.records import Grade, Level, Released
from support.display.digits import rounded, rounded_text
from support.display.tables import Table
from support.display.text import one_line, shorten, visible

MARKS = {  # text and colour
    Grade.CORRECT: ("✓ correct", "green"),
    Grade.WRONG: ("✗ wrong", "red"),
    Grade.UNPARSED: ("? no answer read", "yellow"),
    Grade.TIMEOUT: ("? grading stopped", "yellow"),
}
LONGEST = 20_000  # characters of one text that are shown
BRIEF = 60  # characters of an answer or a name
LEAST = 20  # cells of the narrowest line


def overview(run: Path) -> str:
    """Counts, yields and reasons of a finished run; UserError or DamagedError where it is none."""
    manifest = Manifest.load(run / MANIFEST_FILE)
    title = f"{manifest.name}   build {manifest.build}, recipe {manifest.recipe_digest}"
    parts = [one_line(f"{title}, polytrace {manifest.polytrace}")]
    if manifest.notice:
        parts.append(f"NOTICE: {one_line(manifest.notice)}")
    pairs = [*facts(manifest), *_measured(run, manifest)]
    pairs += [(f"filter {n}", _filter(one)) for n, one in enumerate(manifest.filters, 1)]
    pairs += [
        ("file", f"{file.path}: {file.rows:,} rows, {file.bytes:,} bytes")
        for file in manifest.release
    ]
    parts.append(Table(rows=tuple((name, one_line(value)) for name, value in pairs)).text())
    if manifest.rejected:
        rows = [(r.stage, r.kind, one_line(r.reason), f"{r.count:,}") for r in manifest.rejected]
        parts.append("rejected\n" + Table(rows=tuple(rows)).text(right=(3,)))
    return "\n\n".join(parts)


def facts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Counts and origins of a run, each with its name."""
    yield from _counts(manifest)
    yield from _origins(manifest)


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
    yield "grader", draws.grader(manifest.grader)


def _origins(manifest: Manifest) -> Iterator[tuple[str, str]]:
    teacher, scorer = manifest.teacher, manifest.scorer
    if teacher.is_record:
        topped_up = ", and another teacher's where they lack" if manifest.traces.sampled else ""
        yield "teacher", f"traces that the sources have recorded{topped_up}"
    else:
        yield "teacher", f"{teacher.name} ({teacher.kind}, revision {teacher.revision})"
    yield "scorer", f"{scorer.name} (revision {scorer.revision})" if scorer else "none"
    if scorer:
        yield "path level", sentence(scorer.controls).removeprefix("Path level").lstrip(": ")
    for n, source in enumerate(manifest.sources, 1):
        traces = f", {source.traces:,} recorded traces" if source.traces else ""
        yield f"source {n}", f"{source.label} ({source.license}), {source.rows:,} rows{traces}"
    for n, held_out in enumerate(manifest.decontamination, 1):
        counts = f"{held_out.exact:,} prompts found exactly, {held_out.ngram:,} by 8-grams"
        yield f"eval set {n}", f"{held_out.label}, {held_out.rows:,} rows: {counts}"


def _measured(run: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """The distributions of `stats.json`; nothing where there is no release."""
    if not manifest.release:
        return
    stats = statistics.read_stats(run / RELEASE_FOLDER / statistics.STATS_FILE)
    yield from draws.of_release(stats)
    yield "path tokens", _spread(stats.path_tokens)
    yield "SeqDep path", _spread(stats.seqdep_path_nats_per_token, " nats a token")
    yield "SeqDep step", _spread(stats.seqdep_step_nats_per_token, " nats a token (long-CoT form)")


def _spread(one: Distribution, unit: str = "") -> str:
    if not one.count:
        return "not measured"
    assert one.p50 is not None and one.p05 is not None and one.p95 is not None
    middle, low, high = map(rounded, (one.p50, one.p05, one.p95))
    return f"median {middle}, 5-95 %: {low} to {high}{unit} (n = {one.count:,})"


def _filter(one: FilterFacts) -> str:
    dropped = sum(d.count for d in one.dropped)
    learnt = f", learnt {rounded_text(one.frozen)}" if one.frozen else ""
    return (
        f"{one.kind}: saw {one.seen:,}, dropped {dropped:,} ({_share(dropped, one.seen)}){learnt}"
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def top_reasons(run: Path, most: int = 3) -> str:
    """The most frequent reasons for which prompts were rejected, as one line."""
    manifest = Manifest.load(run / MANIFEST_FILE)
    prompts = [r for r in manifest.rejected if r.kind == "prompt"]
    prompts.sort(key=lambda r: -r.count)
    return ", ".join(f"{r.stage} {one_line(r.reason)} ({r.count:,})" for r in prompts[:most])


def show(row: Released, cells: int, *, title: str = "canvas", abreast: bool = True) -> Text:
    """A released canvas, `cells` wide: prompt, paths, summary, gold and SeqDep.

    Paths are side by side if they are to be `abreast` and fit, else one below the other. Foreign
    markup and control characters have no effect.
    """
    cells = max(LEAST, cells)
    origin = f"{_brief(row.source)} row {row.source_row}, {_brief(row.license)}"
    correct = f"{row.correct_paths} of {len(row.paths)} paths correct"
    summary_by = f"summary ({row.summary_tokens} tokens, by {_brief(row.summary_by)})"
    paths = [_path(j, row) for j in range(len(row.paths))]
    return _ruled(
        cells,
        lines([Part(f"{title}   {_brief(row.id)}   {origin}", "bold")], cells),
        lines([Part(_shown(row.prompt))], cells),
        columns(paths, cells) if abreast else columns(paths, cells, least=cells),
        lines([Part(summary_by, "bold"), Part(_shown(row.summary))], cells),
        lines(
            [
                Part(f"gold answer: {_brief(row.gold)}   ({correct})", "bold"),
                *map(Part, filter(None, [draws.of_row(row)])),
                Part(seqdep(row)),
                Part(f"similarity of the two most alike paths: {row.similarity:.2f}"),
            ],
            cells,
        ),
    )


def show_rejection(dropped: RejectedItem, cells: int, *, title: str = "rejected") -> Text:
    """A rejected prompt or trace, `cells` wide, with the reason and what was rejected."""
    cells = max(LEAST, cells)
    one = dropped.rejection
    what = "prompt" if one.index is None else f"trace {one.index + 1} of prompt"
    heading = f"{title}   {what} {_brief(one.prompt_id)}   {_brief(one.source)} row {one.row}"
    why = f"stage {one.stage}, reason {_brief(one.reason)}: {visible(shorten(one.detail, 500))}"
    blocks = [lines([Part(heading, "bold"), Part(why, "red")], cells)]
    if dropped.prompt is None:
        blocks.append(lines([Part("(rejected on reading: its text was not kept)", "dim")], cells))
    else:
        gold = Part(f"gold answer: {_brief(dropped.gold or '')}", "bold")
        blocks.append(lines([Part(_shown(dropped.prompt)), gold], cells))
    if dropped.answers:
        blocks.append(lines([part for one in dropped.answers for part in _answer(one)], cells))
    if dropped.text is not None:
        blocks.append(lines([Part(_shown(dropped.text))], cells))
    elif one.index is not None:
        blocks.append(lines([Part("(the trace was not kept)", "dim")], cells))
    return _ruled(cells, *blocks)


def _answer(given: GivenAnswer) -> list[Part]:
    """What one trace answered; how it ends where no answer was read."""
    mark, style = MARKS[given.grade]
    answer = "" if given.answer is None else f": {_brief(given.answer)}"
    heading = Part(f"trace {given.index + 1}  {mark}{answer}", style)
    return [heading] if given.answer is not None else [heading, Part(f"… {visible(given.end)}")]


def _ruled(cells: int, *blocks: list[Text]) -> Text:
    """Blocks of lines with a rule between two of them."""
    rule = Text.assemble((f"\n{'─' * cells}\n", "dim"))
    return rule.join([Text("\n").join(block) for block in blocks])


def _path(index: int, row: Released) -> list[Part]:
    """Path number `index`, from 0: its facts, then its text."""
    path = row.paths[index]
    mark, style = MARKS[path.grade]
    answer = "" if path.answer is None else f": {_brief(path.answer)}"
    facts = [f"{path.tokens} tokens, {_brief(path.trace.teacher)}", *dependence(index, row)]
    heading = Part(f"path {index + 1}  {mark}{answer}", style)
    return [heading, *(Part(fact, "dim") for fact in facts), Part(""), Part(_shown(path.text))]


def dependence(index: int, row: Released) -> list[str]:
    """What was measured of how path number `index`, from 0, depends on the others, in words."""
    facts = []
    siblings = row.sibling_gains
    gains, tokens = row.seqdep_path_gains or (), row.seqdep_path_tokens or ()
    if index == 0 and gains:
        facts.append("SeqDep begins with path 2")
    elif 0 < index <= len(gains):  # gains of paths 2 to P; none where nothing was measured
        gain, length = gains[index - 1], tokens[index] if index < len(tokens) else 0
        per_token = f" ({gain / length:+.3f} a token)" if length else ""
        facts.append(f"SeqDep {gain:+.2f} nats{per_token}")
    if siblings:
        column = ((i, gains_from_i[index]) for i, gains_from_i in enumerate(siblings, 1))
        shares = ", ".join(f"{i} {gain:+.3f}" for i, gain in column if gain is not None)
        facts.append(f"nats a token from path {shares}")
    return facts + [f"near copy of path {i + 1}" for i, j in row.near_copies or () if j == index]


def _brief(text: str) -> str:
    return one_line(shorten(text, BRIEF))


def _shown(text: str) -> str:
    return visible(shorten(text, LONGEST))


def seqdep(row: Released) -> str:
    """SeqDep of a canvas at every level, on one line."""
    if row.scorer is None:
        return "SeqDep: not measured (no scorer)"
    levels = ((level, getattr(row, f"seqdep_{level}_nats_per_token")) for level in Level)
    values = ", ".join(
        f"{level} {'undefined' if value is None else f'{value:+.4f}'}" for level, value in levels
    )
    gain = "" if row.summary_gain_nats is None else f"; summary {row.summary_gain_nats:+.2f} nats"
    return f"SeqDep, nats a token: {values}{gain}; scorer {_brief(row.scorer)}"
