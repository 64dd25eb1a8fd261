"""Accuracy under parallelism of whatever was decoded at several speeds. In: cells. Out: a table.

A curve is one system at several numbers of steps, or systems that differ in the threshold of their
rule alone. All of its cells hold the same problems and were computed alike.
"""

from collections import defaultdict
from collections.abc import Hashable

from diffusion.evaluation.aup import aup_interval
from diffusion.paper.cells import EvaluationCell, EvaluationCells
from diffusion.paper.wording import NONE, label_of, name_of, training_of
from support.display.tables import Table


def parallelism(cells: EvaluationCells) -> tuple[Table, ...]:
    """One table, or none where nothing was decoded at two speeds."""
    rows = [_row(curve, cells) for curve in _curves(cells)]
    if not rows:
        return ()
    header = ("model", "system", "tuned on", "content tokens a pass", "accuracy", "ARness", "AUP")
    return (
        Table(
            title=f"Accuracy under parallelism ({label_of(cells.all)})",
            header=header,
            rows=tuple(rows),
            note="AUP (Qian et al. 2026, d3LLM) is the area under accuracy (in per cent) over "
            "content tokens a forward pass, in which accuracy below the best of all cells of the "
            "same problems on this page counts less; points more than 5 percentage points below "
            "the slowest are left out. Its 95 % interval is a bootstrap over problems. Columns in "
            "between show the points of the curve, the slowest first. A system that was decoded "
            "at one speed has no curve.",
        ),
    )


def _curves(cells: EvaluationCells) -> list[list[EvaluationCell]]:
    """The cells of each curve, ascending in content tokens a forward pass."""
    found: dict[Hashable, list[EvaluationCell]] = defaultdict(list)
    for cell in cells.all:
        found[cell.curve].append(cell)
    curves = []
    for some in found.values():
        speeds = [(cell.result.steps, cell.result.rule) for cell in some]
        if len(set(speeds)) == len(speeds):
            curves.append(some)
            continue
        apart: dict[Hashable, list[EvaluationCell]] = defaultdict(list)  # several models of a base
        for cell in some:
            apart[cell.run, cell.result.system].append(cell)
        curves += apart.values()
    return [
        sorted(some, key=lambda cell: cell.curve_point.parallelism)
        for some in curves
        if len(some) > 1
    ]


def _row(curve: list[EvaluationCell], cells: EvaluationCells) -> tuple[str, ...]:
    first = curve[0]
    others = [
        cell.curve_point
        for cell in cells.all
        if cell not in curve
        and cell.subject.benchmark == first.subject.benchmark
        and tuple(cell.right) == tuple(first.right)
    ]
    points = [cell.curve_point for cell in curve]
    area = aup_interval(points, others)
    orders = [cell.result.arness for cell in curve]
    return (
        name_of(first.subject),
        ", ".join(dict.fromkeys(cell.result.system for cell in curve)),
        training_of(first),
        " / ".join(f"{one.parallelism:.2f}" for one in points),
        " / ".join(f"{one.accuracy:.1f}" for one in points),
        " / ".join(NONE if one is None else f"{one:.2f}" for one in orders),
        f"{area.value:.1f} [{area.low:.1f}, {area.high:.1f}]",
    )
