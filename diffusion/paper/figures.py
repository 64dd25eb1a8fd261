"""The paper's Figures 1, 2 and 4 for whatever was evaluated. In: cells. Out: PNG and SVG.

The same cells give the same bytes. A figure without any cell is not drawn. A panel of one point is
not drawn either, and the page says why.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from diffusion.decoding import Order
from diffusion.evaluation.rows import read_rows
from diffusion.evaluation.settings import Training
from diffusion.paper import reference
from diffusion.paper.cells import EvaluationCell, EvaluationCells, ModelOnBenchmark, Trainings
from diffusion.paper.tables import in_paper
from diffusion.paper.trainings import accuracy, arness_of
from diffusion.paper.wording import TRAININGS, label_of, name_of
from support.display.figures import BLUE, GREEN, GREY, INK, RED, SAND, save
from support.stats import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ORDERS = {Order.AR: BLUE, Order.AO: GREEN, Order.RANDOM: SAND}
_SHOWN = (  # the panels of Figure 1: what was tuned on what, decoded how
    (Training.BASE, Order.AO),
    (Training.BASE, Order.RANDOM),
    (Training.LONG_COT, Order.AO),
    (Training.NAP, Order.FORCED),
)


class Figure(NamedTuple):
    """A picture: its file's name without ending (None: not drawn), and its caption.

    `missing` is a sentence for each panel that was left out because it has one point, or empty.
    """

    name: str | None
    caption: str
    missing: str


class Panel(NamedTuple):
    """A part of a picture: what it is of, how many points it has, and what draws it."""

    about: str
    points: int
    draw: Callable[["Axes"], None]


def draw(cells: EvaluationCells, folder: Path) -> list[Figure]:
    """Draw every figure for which there are cells into `folder`."""
    label = label_of(cells.all)
    figures = []
    for name, caption, panels in (
        ("figure_1", f"Figure 1. Where each step commits, one problem ({label})", _orders),
        ("figure_2", f"Figure 2. Accuracy of base models by decoding order ({label})", _bars),
        ("figure_4", f"Figure 4. ARness before and after Long-CoT fine-tuning ({label})", _changes),
    ):
        all_ = list(panels(cells))
        drawn = [panel for panel in all_ if panel.points > 1]
        missing = " ".join(
            f"Not drawn, because it has one point: {panel.about}."
            for panel in all_
            if panel not in drawn
        )
        if drawn:
            _save(drawn, folder / name, caption)
        if all_:
            figures.append(Figure(name if drawn else None, caption, missing))
    return figures


def _save(panels: Sequence[Panel], path: Path, title: str) -> None:
    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    files = path.with_suffix(".png"), path.with_suffix(".svg")
    size = max(3.2 * columns, 6.4), 3.4 * lines + 0.4
    with save(*files, size=size, dpi=130) as figure:
        axes = figure.subplots(lines, columns, squeeze=False)
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        for axis, panel in zip(axes.flat, panels, strict=False):
            panel.draw(axis)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        figure.tight_layout()


def _legend(axis: "Axes") -> None:
    """Below the axis, where it covers no data."""
    axis.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.2),
        ncols=3,
        fontsize=8,
        frameon=False,
        columnspacing=1,
        handletextpad=0.2,
    )


def _orders(cells: EvaluationCells) -> Iterator[Panel]:
    for subject in cells.subjects():
        steps = cells.steps(subject)
        for training, order in _SHOWN if steps else ():
            found = cells.find(subject, training, order, steps[-1])
            for cell in found[:1]:  # of several seeds the first
                yield _scatter(cell, f"{subject.base}, {TRAININGS[training]}\n{order}")


def _scatter(cell: EvaluationCell, title: str) -> Panel:
    row = read_rows(cell.run / cell.result.rows).slice(0, 1).to_pylist()[0]
    is_fill = [token in row["end_ids"] for token in row["tokens_K"]]
    points = list(zip(row["steps_K"], row["positions_K"], strict=True))

    def panel(axis: "Axes") -> None:
        for fill, colour, label in ((True, "#c9c9c9", "fill"), (False, RED, "content")):
            some = [point for point, one in zip(points, is_fill, strict=True) if one is fill]
            xs, ys = [x for x, _ in some], [y for _, y in some]
            axis.scatter(xs, ys, s=7, color=colour, linewidths=0, label=label)
        axis.set_xlabel("step")
        axis.set_ylabel("position")
        axis.invert_yaxis()
        arness = cell.result.arness
        mean = "" if arness is None else f"\nmean ARness {arness:.2f}"
        axis.set_title(f"{title}{mean}", fontsize=9)
        _legend(axis)

    return Panel(title.replace("\n", ", "), len(points), panel)


def _bars(cells: EvaluationCells) -> Iterator[Panel]:
    subjects = cells.subjects()
    for benchmark in dict.fromkeys(subject.benchmark for subject in subjects):
        groups = {
            subject: {
                order: cells.find(subject, Training.BASE, order, steps[-1]) for order in _ORDERS
            }
            for subject in subjects
            if subject.benchmark == benchmark and (steps := cells.steps(subject))
        }
        groups = {subject: found for subject, found in groups.items() if any(found.values())}
        if groups:
            yield _grouped(groups)


def _grouped(groups: dict[ModelOnBenchmark, dict[Order, Trainings]]) -> Panel:
    def panel(axis: "Axes") -> None:
        for place, (order, colour) in enumerate(_ORDERS.items()):
            values = [(x, accuracy(found[order])) for x, found in enumerate(groups.values())]
            known = [(x + 0.26 * (place - 1), one) for x, one in values if one is not None]
            axis.bar(
                [x for x, _ in known],
                [100 * one.value for _, one in known],
                width=0.24,
                color=colour,
                label=str(order),
                yerr=_errors([one for _, one in known], 100),
                ecolor=INK,
                capsize=2,
            )
        axis.set_xticks(range(len(groups)), [name_of(subject) for subject in groups])
        axis.set_ylabel("accuracy, %")
        axis.set_ylim(0, 100)
        _legend(axis)

    bars = [
        f"{name_of(subject)}, {order}"
        for subject, found in groups.items()
        for order, one in found.items()
        if one
    ]
    return Panel("; ".join(bars), len(bars), panel)


def _errors(values: Sequence[Interval], scale: float) -> list[list[float]] | None:
    if not values:
        return None
    return [
        [scale * (one.value - one.low) for one in values],
        [scale * (one.high - one.value) for one in values],
    ]


def _changes(cells: EvaluationCells) -> Iterator[Panel]:
    lines: list[tuple[str, Interval | None, Interval | None, list[float]]] = []
    trainings = (Training.BASE, Training.LONG_COT)
    for subject in cells.subjects():
        steps = cells.steps(subject)
        before, after = (
            arness_of(cells.find(subject, one, Order.AO, steps[-1]) if steps else ())
            for one in trainings
        )
        known = (in_paper(reference.TABLE_2, subject, (subject.base, one)) for one in trainings)
        theirs = [one for one in known if one is not None]
        lines.append((name_of(subject), before, after, theirs))
    if not any(before and after for _, before, after, _ in lines):
        return

    def panel(axis: "Axes") -> None:
        for y, (_, before, after, theirs) in enumerate(lines):
            if theirs:
                style: Any = {"mfc": "white", "color": GREY, "linewidth": 1, "markersize": 5}
                axis.plot(theirs, [y + 0.15] * 2, "o-", **style)
            for one, colour in ((before, BLUE), (after, RED)):
                if one:
                    axis.errorbar(
                        one.value, y, xerr=_errors([one], 1), fmt="o", color=colour, capsize=2
                    )
            if before and after:
                arrow: Any = {"arrowstyle": "->", "color": INK}
                axis.annotate("", (after.value, y), (before.value, y), arrowprops=arrow)
        axis.plot([], [], "o", color=BLUE, label="base")
        axis.plot([], [], "o", color=RED, label="Long-CoT")
        axis.plot([], [], "o", mfc="white", color=GREY, label="the paper's")
        axis.set_yticks(range(len(lines)), [name for name, *_ in lines])
        axis.set_ylim(len(lines) - 0.4, -0.6)
        axis.set_xlim(0, 1.02)
        axis.set_xlabel("Global-ARness@1 under AO")
        _legend(axis)

    points = sum(one is not None for _, *both, _ in lines for one in both)
    yield Panel("ARness before and after", points, panel)
