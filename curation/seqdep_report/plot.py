"""The picture of a SeqDep report: nats over length, one column a corpus, points and binned means.

In: panels with their series. Out: PNG and SVG, the same bytes for the same figures. A panel with
fewer than two points is not drawn, but says so.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scorers.seqdep.curve import FEW, Bin
from support.display.figures import BLUE, GREEN, RED, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (BLUE, RED, GREEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points (tokens, nats a segment, nats a token) and their binned means, if there are enough."""

    label: str
    points: tuple[tuple[int, float, float], ...]
    nats: tuple[Bin, ...]
    nats_per_token: tuple[Bin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeqDepPanel:
    """One column of the picture."""

    title: str
    series: tuple[Series, ...]

    @property
    def points(self) -> int:
        """Documents of all series."""
        return sum(len(one.points) for one in self.series)


def draw(panels: Sequence[SeqDepPanel], path: Path, *, title: str, note: str) -> None:
    """Write `path`.png and `path`.svg."""
    files = path.with_suffix(".png"), path.with_suffix(".svg")
    with save(*files, size=(3.4 * len(panels), 6.8), dpi=110) as figure:
        compose(figure, panels, title=title, note=note)


def compose(figure: "Figure", panels: Sequence[SeqDepPanel], *, title: str, note: str) -> None:
    """Draw all columns; legends stand below the axes, where they cover no data."""
    axes = figure.subplots(2, len(panels), squeeze=False)
    for column, panel in enumerate(panels):
        for row in axes if 0 < column < len(panels) - 1 else ():
            row[column].sharey(row[0])  # the last panel has a scale of its own
        axes[0][column].set_title(textwrap.fill(panel.title, 30), fontsize=10)
        if panel.points < 2:
            _not_drawn([row[column] for row in axes], panel.points)
            continue
        for row, label in enumerate(("nats a segment (Eq. 4)", "nats a token")):
            _axis(axes[row][column], panel, row)
            if column == 0:
                axes[row][column].set_ylabel(f"SeqDep, {label}")
        axes[1][column].set_xlabel("tokens")
        axes[1][column].legend(
            fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.2), borderaxespad=0
        )
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    if note:
        figure.text(0.01, 0.005, textwrap.fill(note, 140), fontsize=9, color="#b00020")
    figure.tight_layout(rect=(0, 0.06 if note else 0, 1, 1))


def _not_drawn(axes: Sequence["Axes"], points: int) -> None:
    """Show a sentence instead of axes."""
    for axis in axes:
        axis.set_axis_off()
    sentence = f"Not drawn: {points or 'no'} document{'' if points else 's'}."
    axes[0].text(0.5, 0.5, sentence, ha="center", transform=axes[0].transAxes)


def _axis(axis: "Axes", panel: SeqDepPanel, row: int) -> None:
    axis.axhline(0, color="#999999", linewidth=0.8)
    for series, colour in zip(panel.series, COLOURS, strict=False):
        is_few = len(series.points) < FEW
        label = f"{series.label} ({len(series.points)}{', points only' if is_few else ''})"
        bins = series.nats if row == 0 else series.nats_per_token
        bins = bins if len(bins) > 1 else ()  # one mean is no curve
        axis.scatter(
            [point[0] for point in series.points],
            [point[1 + row] for point in series.points],
            s=14 if is_few else 5,
            alpha=0.9 if is_few else 0.2,
            color=colour,
            linewidths=0,
            label=None if bins else label,
        )
        if bins:
            tokens = [one.tokens for one in bins]
            low, high = [one.quartile_1 for one in bins], [one.quartile_3 for one in bins]
            axis.fill_between(tokens, low, high, color=colour, alpha=0.18, linewidth=0)
            means = [one.mean for one in bins]
            axis.plot(tokens, means, color=colour, marker="o", markersize=3, label=label)
