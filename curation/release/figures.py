"""The histograms of the data card: lengths of texts, and their sequential dependence (SeqDep).

In: release files and their statistics. Out: `figures/{tokens,seqdep}.png` in the release folder,
each with its alt text; the same rows give the same bytes (under one version of matplotlib). Rows
are streamed and counted into bins whose edges follow from the statistics, so that memory holds the
bins alone. A column with fewer than two values is not drawn; a single value is given in words.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curation.release.rows import PATH_TOKENS, finite, readable
from curation.release.statistics import Distribution, Stats
from curation.release.writer import ROW_GROUP, data_path
from schemas.facts import ReleaseFile
from schemas.manifest import Manifest
from support.display.digits import rounded
from support.display.figures import BLUE, INK, RED, save
from support.stats import Binned, binned

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = "figures"
WIDTH, HEIGHT, DPI = 7.0, 2.7, 200  # inches; twice the 700 px that the Hub gives a card
BINS = (20, 40)  # fewest and most; between them the square root of the number of values
_THINNEST = 80  # a bar is at least an 80th of the axis wide
_FARTHEST = 1e6  # tokens or nats; values beyond are counted in the outermost bar
_PALE = "#666666"


class Picture(NamedTuple):
    """A picture's path in the release (None: not drawn), and its description in words."""

    path: str | None
    alt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramPanel:
    """One histogram: of a `column`, `counted` by what its values belong to, with a `mark`."""

    column: str
    title: str
    counted: str
    unit: str
    spread: Distribution
    edges: NDArray[np.float64]  # [K + 1]
    mark: float
    mark_label: str
    is_whole: bool

    @property
    def missing(self) -> str:
        """How many values are missing, as the end of a sentence."""
        return f", {self.spread.missing:,} without a value" if self.spread.missing else ""

    @property
    def words(self) -> str:
        """The alt text of the panel."""
        median, count = self.spread.p50, self.spread.count
        if median is None:
            return f"{self.title}: none of the {self.counted} has a value"
        value = f"{rounded(median)} {self.unit}"
        if count == 1:
            return f"{self.title}: {value}, not drawn because n = 1 ({self.counted}){self.missing}"
        return (
            f"{self.title}: median {value} ({self.mark_label} marked), "
            f"n = {count:,} ({self.counted}){self.missing}"
        )


def draw(
    folder: Path, files: Sequence[ReleaseFile], manifest: Manifest, measured: Stats
) -> tuple[Picture, ...]:
    """Draw the columns that have several values, into the release folder `folder`."""
    plans = {"tokens": lengths(manifest, measured), "seqdep": seqdep(measured)}
    shown = {name: [p for p in panels if p.spread.count > 1] for name, panels in plans.items()}
    counts = count(folder, files, list(chain(*shown.values())))
    pictures = []
    for name, panels in plans.items():
        words = "; ".join(panel.words for panel in panels)
        if shown[name]:
            path = f"{FOLDER}/{name}.png"
            _save(folder / path, [(panel, counts[panel.column]) for panel in shown[name]])
            pictures.append(Picture(path, f"Histograms. {words}."))
        elif any(panel.spread.count for panel in panels):
            pictures.append(Picture(None, f"{words}."))
    return tuple(pictures)


def lengths(manifest: Manifest, measured: Stats) -> list[HistogramPanel]:
    """The panels of tokens; one bin ends at the size of the slot, which is marked."""
    slots = manifest.slot_tokens, manifest.summary_tokens
    columns = (
        (PATH_TOKENS, "Tokens of a path", "paths", measured.path_tokens, slots[0]),
        ("summary_tokens", "Tokens of a summary", "canvases", measured.summary_tokens, slots[1]),
    )
    return [
        HistogramPanel(
            column=column,
            title=title,
            counted=counted,
            unit="tokens",
            spread=spread,
            edges=_edges(spread, (spread.min or 0, spread.max or 0), mark=slot, is_whole=True),
            mark=slot + 0.5,
            mark_label=f"slot of {slot:,}",
            is_whole=True,
        )
        for column, title, counted, spread, slot in columns
    ]


def seqdep(measured: Stats) -> list[HistogramPanel]:
    """The panels of SeqDep; the axis reaches as far beyond the middle 90 % as these are wide."""
    columns = (
        ("seqdep_path_nats_per_token", "SeqDep, path level", measured.seqdep_path_nats_per_token),
        ("seqdep_step_nats_per_token", "SeqDep, step level", measured.seqdep_step_nats_per_token),
    )
    panels = []
    for column, title, spread in columns:
        low, high = spread.p05 or 0.0, spread.p95 or 0.0
        reach = high - low
        ends = (max(spread.min or 0.0, low - reach), min(spread.max or 0.0, high + reach))
        panels.append(
            HistogramPanel(
                column=column,
                title=title,
                counted="canvases",
                unit="nats a token",
                spread=spread,
                edges=_edges(spread, ends, mark=0, is_whole=False),
                mark=0.0,
                mark_label="zero",
                is_whole=False,
            )
        )
    return panels


def _edges(
    spread: Distribution, ends: tuple[float, float], *, mark: int, is_whole: bool
) -> NDArray[np.float64]:
    """Edges [K + 1] of bins from end to end, of a round width, with one edge on the mark.

    Edges between whole numbers lie half-way, so that no value is on an edge.
    """
    low, high = (min(max(end, -_FARTHEST), _FARTHEST) for end in ends)
    bins = min(max(math.isqrt(spread.count), BINS[0]), BINS[1])
    axis = max(high, mark, 0) - min(low, mark, 0)
    width = _round_width(max((high - low) / bins, axis / _THINNEST))
    if is_whole:
        width = max(width, 1.0)
    anchor = mark + 0.5 if is_whole else float(mark)
    first, last = (math.floor((end - anchor) / width) for end in (low, high))
    return np.asarray(anchor + width * np.arange(first, last + 2), np.float64)


def _round_width(width: float) -> float:
    """The next of … 0.1, 0.2, 0.5, 1, 2, 5, 10 …; 0.01 for 0."""
    if width <= 0:
        return 0.01
    power = math.floor(math.log10(width))
    steps = (float(f"{digit}e{power}") for digit in (1, 2, 5, 10))
    return next(step for step in steps if step >= width * (1 - 1e-9))


def count(
    folder: Path, files: Sequence[ReleaseFile], panels: Sequence[HistogramPanel]
) -> dict[str, Binned]:
    """The values of every panel's column by bin, by column."""
    counts = {p.column: Binned(np.zeros(len(p.edges) - 1, np.int64), 0) for p in panels}
    for file in files:
        with readable(data_path(folder, file)) as parquet:
            for batch in parquet.iter_batches(ROW_GROUP, columns=list(counts)):
                for panel in panels:
                    more = binned(finite(batch, panel.column), panel.edges)
                    bins, beyond = counts[panel.column]
                    counts[panel.column] = Binned(bins + more.bins, beyond + more.beyond)
    return counts


def _save(path: Path, panels: Sequence[tuple[HistogramPanel, Binned]]) -> None:
    """Draw the panels side by side."""
    inks = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    style: Any = {**inks, "axes.edgecolor": _PALE}
    with save(path, size=(WIDTH, HEIGHT), dpi=DPI, **style) as figure:
        figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)  # inches
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, (panel, counts) in zip(axes, panels, strict=True):
            _histogram(axis, panel, counts)


def _histogram(axis: "Axes", panel: HistogramPanel, counts: Binned) -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    edges, spread = panel.edges, panel.spread
    axis.bar(
        edges[:-1],
        counts.bins,
        np.diff(edges),
        align="edge",
        color=BLUE,
        alpha=0.55,  # the lines stand out by brightness, not by hue alone
        edgecolor="white",
        linewidth=0.4,
    )
    axis.axvline(panel.mark, color=INK, linewidth=1.2, label=panel.mark_label)
    if spread.p50 is not None and abs(spread.p50) <= _FARTHEST:
        style: Any = {"color": RED, "linewidth": 1.4, "linestyle": (0, (4, 2))}
        axis.axvline(spread.p50, label=f"median {rounded(spread.p50)}", **style)
    low, high = min(edges[0], panel.mark, 0.0), max(edges[-1], panel.mark, 0.0)
    axis.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    axis.set_ylabel(panel.counted)
    for scale, is_whole in ((axis.xaxis, panel.is_whole), (axis.yaxis, True)):
        scale.set_major_locator(MaxNLocator(5, integer=is_whole, steps=[1, 2, 5, 10]))
        scale.set_major_formatter(StrMethodFormatter("{x:,.9g}"))
    beyond = f"\n({counts.beyond:,} beyond, in the outermost bars)" if counts.beyond else ""
    axis.set_xlabel(f"{panel.unit}\nn = {spread.count:,}{panel.missing}{beyond}")
    axis.set_title(panel.title, loc="left", fontsize=10, fontweight="bold", pad=20)
    place: Any = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 2}
    spacing: Any = {"borderaxespad": 0.4, "borderpad": 0, "handlelength": 1.6}
    axis.legend(fontsize=8, frameon=False, **place, **spacing)
