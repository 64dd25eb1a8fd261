"""Tables and pictures of docs/sequentiality.md, made from its rows.

`python -m tools.sequentiality.page` reads docs/sequentiality/rows.parquet and writes tables.md and
the pictures beside it. No model is needed. Axes: D documents, S bootstrap samples.
"""

import argparse
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from curation.seqdep_report.controls import share_between
from schemas.records import Level
from scorers.seqdep.curve import SAMPLES, Curve, curve
from scorers.seqdep.curve import Interval as SeqDepInterval
from support.display.figures import BLUE, GREEN, GREY, INK, RED, SAND, save
from support.display.tables import Table
from support.files import replace_text
from support.paths import ROOT
from support.stats import Interval, mean
from tools.sequentiality.collect import SIBLINGS, Row, read

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLDER = ROOT / "docs" / "sequentiality"
# The series in the order of the page, with their names for a reader.
TEXTS = {
    "web": "web text",
    "math500": "MATH-500, written solutions",
    "traces": "recorded traces of models",
    "openr1": "OpenR1, two long traces",
    "own_long_cot": "GSM8K, long-CoT form",
    "canvas": "GSM8K, canvases",
}
PATHS = {
    "repeated": "control: one path repeated",
    "canvas": "canvases",
    "others": "control: paths of other prompts",
}
COLOURS = {
    **{"web": BLUE, "math500": RED, "traces": SAND, "openr1": INK},
    **{"own_long_cot": GREY, "canvas": GREEN},
}
BETWEEN = (64, 256, 1024, 8192)  # tokens of documents that are compared
HIGHEST = 4.5  # nats a token; a few documents that are little longer than a window have more
FEW = 10  # documents of a bin that has a figure
MOST_BINS = 8
WINDOW = 64


class Points:
    """The documents of one series at one level: tokens [D] and nats a token [D]."""

    def __init__(self, rows: Iterable[Row]) -> None:
        found = [(row, row.record) for row in rows]
        self.rows = [row for row, record in found if record.nats_per_token is not None]
        kept = [record for _, record in found if record.nats_per_token is not None]
        self.tokens = np.array([sum(record.tokens) for record in kept], np.float64)
        self.nats = np.array([record.nats_per_token for record in kept], np.float64)
        self.segment_nats = np.array([record.nats for record in kept], np.float64)

    def curve(self) -> Curve:
        """Mean, slope and bins of nats a token."""
        return curve(self.nats.tolist(), self.tokens.tolist())

    def between(self, low: float, high: float) -> Interval | None:
        """The mean over documents of `low` to `high` tokens; None of few."""
        inside = self.nats[(self.tokens >= low) & (self.tokens < high)]
        return mean(inside.tolist(), resamples=SAMPLES) if len(inside) >= FEW else None


def of(rows: Sequence[Row], series: str, level: Level) -> Points:
    """The points of a series at a level."""
    return Points(row for row in rows if row.series == series and row.level == level)


def full_windows(rows: Sequence[Row], series: str) -> Points:
    """The window level without what is shorter than a window, which is the last one of a text.

    The tokens of a document remain those of all its windows.
    """
    whole, lengths = [], {}
    for row in rows:
        if row.series == series and row.level == Level.WINDOW:
            lengths[row.row] = sum(row.tokens)
            full = [n for n, tokens in enumerate(row.tokens) if n and tokens == WINDOW]
            whole.append(
                Row(
                    series=series,
                    level=row.level,
                    row=row.row,
                    is_cut=row.is_cut,
                    tokens=(row.tokens[0], *(row.tokens[n] for n in full)),
                    gains=tuple(row.gains[n - 1] for n in full),
                )
            )
    points = Points(whole)
    points.tokens = np.array([lengths[row.row] for row in points.rows], np.float64)
    return points


def share(rows: Sequence[Row]) -> Interval | None:
    """How far canvases lie on the way from paths of other prompts (0) to one path repeated (1)."""
    own, others, repeated = (
        {row.row: float(nats) for row, nats in zip(points.rows, points.nats, strict=True)}
        for points in (of(rows, name, Level.PATH) for name in ("canvas", "others", "repeated"))
    )
    return _whole(share_between(own, others, repeated))


def shown(estimate: Interval | None, digits: int = 3, scale: float = 1) -> str:
    """An estimate with its interval, or a dash."""
    if estimate is None or estimate.low is None:
        return "-"
    value, low, high = (scale * x for x in (estimate.value, estimate.low, estimate.high))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def trend(found: Curve) -> str:
    """The sign of the slope, where its interval decides it."""
    if found.slope is None or found.slope.low is None or found.slope.high is None:
        return "-"
    if found.slope.low > 0:
        return "rising"
    return "falling" if found.slope.high < 0 else "not shown"


def _interval(found: Curve, name: str) -> Interval | None:
    return _whole(getattr(found, name))


def _whole(one: SeqDepInterval | None) -> Interval | None:
    """An estimate that has an interval."""
    if one is None or one.low is None or one.high is None:
        return None
    return Interval(one.value, one.low, one.high)


def tables(rows: Sequence[Row]) -> Iterator[Table]:
    """Means and slopes; the same at equal length; the path level; windows."""
    header = ("series", "level", "documents", "tokens, median", "nats a segment", "nats a token")
    lines, bins = [], []
    for series, name in TEXTS.items():
        for level in (Level.STEP, Level.WINDOW):
            points = of(rows, series, level)
            found = points.curve()
            segment = curve(points.segment_nats.tolist(), points.tokens.tolist())
            lines.append(
                (
                    *(name, str(level), str(len(points.nats))),
                    f"{np.median(points.tokens):.0f}" if len(points.tokens) else "-",
                    shown(_interval(segment, "mean"), 2),
                    shown(_interval(found, "mean")),
                    shown(_interval(found, "slope")),
                    trend(found),
                )
            )
            cells = [points.between(low, high) for low, high in itertools.pairwise(BETWEEN)]
            bins.append((name, str(level), *map(shown, cells)))
    slope = "nats a token, per 1,000 tokens"
    yield Table(
        title="Every series", header=(*header, slope, "trend"), rows=tuple(lines), left=(0, 1)
    )
    lengths = [f"{low} to {high}" for low, high in itertools.pairwise(BETWEEN)]
    yield Table(
        title="At equal length: nats a token of documents of so many tokens",
        header=("series", "level", *lengths),
        rows=tuple(bins),
        left=(0, 1),
    )
    path = []
    for series, name in PATHS.items():
        found = of(rows, series, Level.PATH).curve()
        figures = (shown(_interval(found, part)) for part in ("mean", "slope"))
        path.append((name, str(found.documents), *figures, trend(found)))
    yield Table(
        title="Path level, nats a token",
        header=("series", "documents", "mean", "per 1,000 tokens", "trend"),
        rows=tuple(path),
        note=f"Canvases on the way from paths of other prompts (0 %) to one path repeated (100 %): "
        f"{shown(share(rows), 1, 100)} %.",
    )
    yield _siblings(rows)
    windows = []
    for series, name in TEXTS.items():
        every, full = of(rows, series, Level.WINDOW).curve(), full_windows(rows, series).curve()
        slopes = (shown(_interval(one, "slope")) for one in (every, full))
        windows.append((name, *slopes, shown(_interval(full, "mean"))))
    yield Table(
        title="Windows, with and without the short one at the end of a text",
        header=("series", "all: per 1,000 tokens", "full: per 1,000 tokens", "full: nats a token"),
        rows=tuple(windows),
    )


def _siblings(rows: Sequence[Row]) -> Table:
    found = [row for row in rows if row.series == SIBLINGS and row.gains]
    gains = [float(np.mean(row.gains)) for row in found]
    copies = sum(bool(row.near_copies) for row in found)
    return Table(
        title="Siblings: what a path gains from one other path of its canvas",
        header=("canvases", "nats a token", "canvases with near copies"),
        rows=((str(len(found)), shown(mean(gains) if gains else None), str(copies)),),
    )


def _curve(axis: "Axes", points: Points, colour: str, label: str) -> None:
    """Every document as a point, and means of bins of equally many with their intervals."""
    axis.scatter(points.tokens, points.nats, s=5, alpha=0.25, color=colour, linewidths=0)
    order = np.argsort(points.tokens, kind="stable")
    at, value, low, high = [], [], [], []
    for inside in np.array_split(order, min(MOST_BINS, len(order) // FEW)):
        estimate = mean(points.nats[inside].tolist(), resamples=SAMPLES)
        at.append(points.tokens[inside].mean())
        value.append(estimate.value)
        low.append(estimate.low)
        high.append(estimate.high)
    axis.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
    axis.plot(at, value, color=colour, marker="o", markersize=3.5, label=label)


def draw(rows: Sequence[Row], folder: Path) -> None:
    """The pictures."""

    def level(one: Level) -> dict[str, Points]:
        return {series: of(rows, series, one) for series in COLOURS}

    full = {series: full_windows(rows, series) for series in COLOURS}
    steps, windows = level(Level.STEP), level(Level.WINDOW)
    _side_by_side(folder / "figure_3", {"steps": steps, "windows of 64 tokens": windows})
    _side_by_side(folder / "windows", {"all windows": windows, "without the short last one": full})
    _paths(rows, folder / "figure_7")


def _files(path: Path) -> tuple[Path, Path]:
    return path.with_suffix(".png"), path.with_suffix(".svg")


def _side_by_side(path: Path, panels: dict[str, dict[str, Points]]) -> None:
    """Panels of all texts over the length of documents."""
    with save(*_files(path), size=(9.6, 4.2), dpi=110) as figure:
        axes = figure.subplots(1, len(panels), sharey=True)
        for axis, (title, texts) in zip(axes, panels.items(), strict=True):
            for series, points in texts.items():
                if len(points.nats) >= FEW:
                    _curve(axis, points, COLOURS[series], TEXTS[series])
                elif len(points.nats):
                    few = {"marker": "x", "color": COLOURS[series], "label": TEXTS[series]}
                    axis.scatter(points.tokens, points.nats, s=30, **few)
            axis.axhline(0, color=INK, linewidth=0.8)
            axis.set_ylim(-0.4, HIGHEST)
            if above := sum(int((points.nats > HIGHEST).sum()) for points in texts.values()):
                where = {"transform": axis.transAxes, "ha": "right", "va": "top"}
                axis.text(0.99, 0.98, f"above {HIGHEST}: {above} of them", fontsize=8, **where)
            axis.set_xscale("log", base=2)
            axis.set_xlim(32, 1.2 * BETWEEN[-1])
            axis.xaxis.set_major_formatter("{x:.0f}")
            axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
            axis.set_xlabel("tokens of the document")
        axes[0].set_ylabel("gain from what stands before, nats a token")
        _legend(figure)


def _paths(rows: Sequence[Row], path: Path) -> None:
    with save(*_files(path), size=(7.2, 4.2), dpi=110) as figure:
        axis = figure.subplots()
        for (series, name), colour in zip(PATHS.items(), (RED, GREEN, GREY), strict=True):
            points = of(rows, series, Level.PATH)
            if len(points.nats) >= FEW:
                _curve(axis, points, colour, f"{name} ({len(points.nats)})")
        axis.axhline(0, color=INK, linewidth=0.8)
        axis.set_xlabel("tokens of all paths")
        axis.set_ylabel("gain of a path from those before, nats a token")
        _legend(figure)


def _legend(figure: "Figure") -> None:
    """Below the axes, where it covers no data."""
    found: dict[str, Artist] = {}
    for axis in figure.axes:
        handles, labels = axis.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    figure.tight_layout(rect=(0, 0.13, 1, 1))
    figure.legend(
        list(found.values()), list(found), loc="lower left", ncols=3, frameon=False, fontsize=8
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=Path, default=FOLDER / "rows.parquet")
    parser.add_argument("--out", type=Path, default=FOLDER, help="the folder for the pictures")
    given = parser.parse_args()
    rows = read(given.rows)
    replace_text(given.out / "tables.md", "\n".join(one.markdown() for one in tables(rows)))
    draw(rows, given.out)


if __name__ == "__main__":
    main()
