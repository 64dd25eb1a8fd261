"""The values that the HTML page shows of a corpus: funnel, distributions, SeqDep, canvases.

In: a finished run directory. Out: `CorpusPage`, plain values that a template prints. Control
characters of foreign text are made visible here; the template escapes the text.
"""

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path

import numpy as np

from curation.inspect import draws
from curation.inspect.dropped_examples import ExampleView, dropped_examples
from curation.inspect.few_correct import few_correct
from curation.inspect.funnel import funnel
from curation.inspect.terminal_view import MARKS, facts
from curation.release import reader, statistics
from curation.release.rows import PATH_TOKENS, finite, readable
from curation.release.statistics import Distribution
from curation.release.writer import ROW_GROUP
from curation.seqdep_report.corpus_statistics import SegmentMeans
from schemas import arrow
from schemas.facts import Rejected
from schemas.manifest import MANIFEST_FILE, RELEASE_FOLDER, Manifest
from schemas.records import Grade, Level, Released, ReleasedPath, Stage
from support.display.text import shorten, visible
from support.stats import Floats, binned

SAMPLE = 100  # canvases that can be looked through
LONGEST = 6_000  # characters of one text
BARS = 24
SEGMENTS = 24  # of a curve
FEW = 30  # rows under which a point of a curve is left out
_TITLES = {
    PATH_TOKENS: "Tokens of a path",
    "seqdep_path_nats_per_token": "SeqDep of paths, nats a token",
    "seqdep_step_nats_per_token": "SeqDep of steps, nats a token",
    "seqdep_window_nats_per_token": "SeqDep of windows, nats a token",
    "summary_gain_nats": "What the paths tell of the summary, nats",
    "similarity": "Highest similarity of two paths",
    "samples_drawn": "Samples drawn for a prompt",
    "pass_rate": "Share of a prompt's samples that are right",
}


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """A stage of the funnel: prompts before and after, and the `share` of all that is left."""

    stage: str
    before: int
    after: int
    share: float


@dataclass(frozen=True, slots=True)
class Bar:
    """Rows with values from `low` to `high`; `share` is the height relative to the highest bar."""

    low: float
    high: float
    rows: int
    share: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """A column's histogram; `beyond` values, the outer 1 %, are counted in the outermost bars."""

    title: str
    bars: tuple[Bar, ...]
    rows: int
    missing: int
    beyond: int
    median: float


@dataclass(frozen=True, slots=True)
class Curve:
    """The mean gain of segment 2, 3, …, nats a token, where enough rows have one."""

    level: str
    gains: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PathView:
    """A path of a canvas that is shown."""

    mark: str
    is_right: bool
    answer: str
    tokens: int
    text: str


@dataclass(frozen=True, slots=True)
class CanvasView:
    """A canvas that is shown."""

    id: str
    origin: str
    prompt: str
    gold: str
    paths: tuple[PathView, ...]
    summary: str
    seqdep: str
    samples: str


@dataclass(frozen=True, slots=True)
class CorpusPage:
    """All values on the page; `manifest` is the checksum of the run's manifest.

    `verdict` says that hardly any trace is right, where that is so. There are `examples` of dropped
    prompts where no canvas was released.
    """

    manifest: str
    name: str
    notice: str
    has_scorer: bool
    facts: tuple[tuple[str, str], ...]
    funnel: tuple[FunnelStep, ...]
    reasons: tuple[Rejected, ...]
    histograms: tuple[Histogram, ...]
    curves: tuple[Curve, ...]
    siblings: tuple[tuple[float | None, ...], ...]  # [i][j]: what path j gains from path i
    canvases: tuple[CanvasView, ...]
    verdict: str
    examples: tuple[ExampleView, ...]


def corpus_page(run: Path) -> CorpusPage:
    """The page of a run; UserError where it is not finished, DamagedError where it is damaged."""
    manifest = Manifest.load(run / MANIFEST_FILE)
    released = reader.ReleaseReader(run)
    histograms, curves, siblings = _measured(run, released.files, manifest.paths)
    return CorpusPage(
        manifest=manifest.checksum(),
        name=visible(manifest.name),
        notice=visible(manifest.notice or ""),
        has_scorer=manifest.scorer is not None,
        facts=tuple((name, visible(value)) for name, value in _facts(run, manifest)),
        funnel=tuple(_funnel(manifest)),
        reasons=tuple(
            one.model_copy(update={"reason": visible(one.reason)})
            for one in sorted(manifest.rejected, key=lambda one: -one.count)
        ),
        histograms=histograms,
        curves=curves,
        siblings=siblings,
        canvases=tuple(_sample(released)),
        verdict=few_correct(run, "RUN") or "",
        examples=() if len(released) else tuple(dropped_examples(released, manifest)),
    )


def _facts(run: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield from facts(manifest)
    if manifest.release:
        stats = statistics.read_stats(run / RELEASE_FOLDER / statistics.STATS_FILE)
        yield from draws.of_release(stats)


def _funnel(manifest: Manifest) -> Iterator[FunnelStep]:
    """The stages that dropped prompts, and the last."""
    total = manifest.prompts.in_
    for stage, prompts, _ in funnel(manifest):
        if prompts.dropped or stage is Stage.RELEASE:
            share = prompts.after / max(1, total)
            yield FunnelStep(str(stage), prompts.before, prompts.after, share)


def _measured(
    run: Path, files: Sequence[Path], count: int
) -> tuple[tuple[Histogram, ...], tuple[Curve, ...], tuple[tuple[float | None, ...], ...]]:
    if not files:
        return (), (), ()
    stats = statistics.read_stats(run / RELEASE_FOLDER / statistics.STATS_FILE)
    values: dict[str, list[Floats]] = {name: [] for name in _TITLES}
    means = SegmentMeans()
    pairs: dict[tuple[int, int], array[float]] = {}
    wanted = [*_TITLES, "sibling_gains"]
    wanted += [f"seqdep_{level}_{what}" for level in Level for what in ("gains", "tokens")]
    for path in files:
        with readable(path) as parquet:
            for batch in parquet.iter_batches(ROW_GROUP, columns=wanted):
                for name, batches in values.items():
                    if name == PATH_TOKENS or name in batch.schema.names:
                        batches.append(finite(batch, name))
                for level in Level:
                    gains = batch.column(f"seqdep_{level}_gains").to_pylist()
                    tokens = batch.column(f"seqdep_{level}_tokens").to_pylist()
                    for row_gains, row_tokens in zip(gains, tokens, strict=True):
                        means.add(level, row_gains or (), row_tokens or ())
                _pair(pairs, batch.column("sibling_gains").to_pylist())
    histograms = (
        _histogram(title, np.concatenate(values[name]), stats.of(name))
        for name, title in _TITLES.items()
        if values[name]  # releases of earlier versions lack what was drawn
    )
    return (
        tuple(one for one in histograms if one is not None),
        tuple(curve for level in Level if (curve := _curve(means, level)) is not None),
        tuple(tuple(_mean(pairs.get((i, j), ())) for j in range(count)) for i in range(count))
        if pairs
        else (),
    )


def _pair(
    pairs: "dict[tuple[int, int], array[float]]",
    matrices: Sequence[Sequence[Sequence[float]] | None],
) -> None:
    for matrix in matrices:
        for i, row in enumerate(matrix or ()):
            for j, gain in enumerate(row):
                if gain is not None:
                    pairs.setdefault((i, j), array("d")).append(gain)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _curve(means: SegmentMeans, level: Level) -> Curve | None:
    """The curve of a level, up to the first segment that fewer than `FEW` rows have."""
    enough = takewhile(lambda mean: mean.documents >= FEW, means.by_index(level))
    gains = tuple(mean.nats_per_token for mean in islice(enough, SEGMENTS))
    return Curve(level, gains) if gains else None


def _histogram(title: str, values: Floats, spread: Distribution) -> Histogram | None:
    if spread.p50 is None:
        return None
    ordered = np.sort(values)
    if title.startswith("Samples") and ordered[0] == ordered[-1]:  # the recipe's number
        return None
    low, high = float(ordered[len(ordered) // 100]), float(ordered[-1 - len(ordered) // 100])
    width, bars, step = (high - low) / BARS or 1.0, BARS, 0
    if title.startswith(("Tokens", "Samples")):  # whole numbers
        step = 1  # from the last number of a bar to the first of the next
        width = float(math.ceil((high - low + 1) / BARS))
        bars = math.ceil((high - low + 1) / width)
    edges: Floats = low + width * np.arange(bars + 1, dtype=np.float64)
    counts, beyond = binned(values, edges)
    rows, ends = counts.tolist(), edges.tolist()
    return Histogram(
        title,
        tuple(Bar(ends[k], ends[k + 1] - step, n, n / max(rows)) for k, n in enumerate(rows)),
        spread.count,
        spread.missing,
        beyond,
        spread.p50,
    )


def _sample(released: reader.ReleaseReader) -> Iterator[CanvasView]:
    """Canvases at even distances in the release."""
    count = min(SAMPLE, len(released))
    wanted = released.places(n * len(released) // count for n in range(count))
    for _, table in reader.rows(wanted):
        yield from map(_shown, arrow.records(Released, table))


def _shown(row: Released) -> CanvasView:
    seqdep = [
        f"{level} {value:+.3f}"
        for level in Level
        if (value := getattr(row, f"seqdep_{level}_nats_per_token")) is not None
    ]
    return CanvasView(
        id=row.id,
        origin=_text(f"{row.source} row {row.source_row}"),
        prompt=_text(row.prompt),
        gold=_text(row.gold),
        paths=tuple(map(_path, row.paths)),
        summary=_text(row.summary),
        seqdep=", ".join(seqdep),
        samples=draws.of_row(row),
    )


def _path(path: ReleasedPath) -> PathView:
    return PathView(
        mark=MARKS[path.grade][0],
        is_right=path.grade is Grade.CORRECT,
        answer=_text(path.answer or ""),
        tokens=path.tokens,
        text=_text(path.text),
    )


def _text(text: str) -> str:
    return visible(shorten(text, LONGEST))
