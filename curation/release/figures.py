"""The pictures of the data card: how long texts are, and how much they depend on one another.

In: release files and their statistics. Out: `figures/{tokens,seqdep}.png` in the release folder,
each with its alt text; the same rows give the same bytes (under one version of matplotlib). Rows
are streamed and counted into bins whose edges follow from the statistics: memory is the bins'. What
nothing was measured of is not drawn, nor is a single value, which is said in words.
"""

import math
from collections.abc import Iterator, Sequence
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
BINS = (20, 40)  # fewest and most over the spread of a column, by the root of its values
_THINNEST = 80  # bars that would fill an axis: no bar is thinner
_FARTHEST = 1e6  # tokens or nats; what lies beyond is counted in the outermost bar
_PALE = "#666666"


class Picture(NamedTuple):
    """A drawn file, relative to the release (None: not drawn), and its description in words."""

    path: str | None
    alt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramPanel:
    """One histogram: a column, what its values belong to, and the value that is marked."""

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
    def words(self) -> str:
        """The panel without the picture."""
        spread = self.spread
        if spread.p50 is None:
            return f"{self.title}: none of the {self.counted} has a value"
        missing = f", {spread.missing:,} without a value" if spread.missing else ""
        if spread.count == 1:
            return (
                f"{self.title}: {rounded(spread.p50)} {self.unit}, not drawn because n = 1 "
                f"({self.counted}){missing}"
            )
        return (
            f"{self.title}: median {rounded(spread.p50)} {self.unit} ({self.mark_label} marked), "
            f"n = {spread.count:,} ({self.counted}){missing}"
        )


def draw(
    folder: Path, files: Sequence[ReleaseFile], manifest: Manifest, measured: Stats
) -> tuple[Picture, ...]:
    """Draw what `measured` has several values of; `folder` is the release's or its stand-in."""
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
    """Panels of tokens; bins end at the slot, so that no bar crosses its line."""
    found = (
        (PATH_TOKENS, "Tokens of a path", "paths", measured.path_tokens, manifest.slot_tokens),
        (
            "summary_tokens",
            "Tokens of a summary",
            "canvases",
            measured.summary_tokens,
            manifest.summary_tokens,
        ),
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
        for column, title, counted, spread, slot in found
    ]


def seqdep(measured: Stats) -> list[HistogramPanel]:
    """Panels of SeqDep; a tail as long again as the middle 90 % ends the axis."""
    found = (
        ("seqdep_path_nats_per_token", "SeqDep, path level", measured.seqdep_path_nats_per_token),
        ("seqdep_step_nats_per_token", "SeqDep, step level", measured.seqdep_step_nats_per_token),
    )
    panels = []
    for column, title, spread in found:
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
    """Edges [K + 1] of bins from end to end, of a width that reads well, one edge on the mark.

    Bins of whole numbers lie between the numbers.
    """
    low, high = (min(max(end, -_FARTHEST), _FARTHEST) for end in ends)
    bins = min(max(math.isqrt(spread.count), BINS[0]), BINS[1])
    axis = max(high, mark, 0) - min(low, mark, 0)
    width = _readable(max((high - low) / bins, axis / _THINNEST))
    if is_whole:
        width = max(width, 1.0)
    anchor = mark + 0.5 if is_whole else float(mark)
    first, last = (math.floor((end - anchor) / width) for end in (low, high))
    return np.asarray(anchor + width * np.arange(first, last + 2), np.float64)


def _readable(width: float) -> float:
    """The next of … 0.1, 0.2, 0.5, 1, 2, 5, 10 …; 0.01 where all is zero."""
    if width <= 0:
        return 0.01
    power = math.floor(math.log10(width))
    steps = (float(f"{digit}e{power}") for digit in (1, 2, 5, 10))
    return next(step for step in steps if step >= width * (1 - 1e-9))


def count(
    folder: Path, files: Sequence[ReleaseFile], panels: Sequence[HistogramPanel]
) -> dict[str, Binned]:
    """What every panel's column holds, by column."""
    found = {p.column: Binned(np.zeros(len(p.edges) - 1, np.int64), 0) for p in panels}
    for file in files:
        with readable(data_path(folder, file)) as parquet:
            for batch in parquet.iter_batches(ROW_GROUP, columns=list(found)):
                for panel in panels:
                    more = binned(finite(batch, panel.column), panel.edges)
                    bins, beyond = found[panel.column]
                    found[panel.column] = Binned(bins + more.bins, beyond + more.beyond)
    return found


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
        line: Any = {"color": RED, "linewidth": 1.4, "linestyle": (0, (4, 2))}
        axis.axvline(spread.p50, label=f"median {rounded(spread.p50)}", **line)
    low, high = min(edges[0], panel.mark, 0.0), max(edges[-1], panel.mark, 0.0)
    axis.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    axis.set_ylabel(panel.counted)
    for one, is_whole in ((axis.xaxis, panel.is_whole), (axis.yaxis, True)):
        one.set_major_locator(MaxNLocator(5, integer=is_whole, steps=[1, 2, 5, 10]))
        one.set_major_formatter(StrMethodFormatter("{x:,.9g}"))
    axis.set_xlabel("\n".join((panel.unit, *_notes(panel, counts))))
    axis.set_title(panel.title, loc="left", fontsize=10, fontweight="bold", pad=20)
    plain: Any = {"fontsize": 8, "frameon": False, "handlelength": 1.6}
    axis.legend(
        loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.4, borderpad=0, ncols=2, **plain
    )


def _notes(panel: HistogramPanel, counts: Binned) -> Iterator[str]:
    missing = f", {panel.spread.missing:,} without a value" if panel.spread.missing else ""
    yield f"n = {panel.spread.count:,}{missing}"
    if counts.beyond:
        yield f"({counts.beyond:,} beyond, in the outermost bars)"
