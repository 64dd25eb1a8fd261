"""The cells of one or several evaluations. In: run directories. Out: cells, found by their facts.

A cell is a result and the run that holds its rows. Cells that differ in the seed of their training
alone are found together.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from diffusion.data.layout import Form
from diffusion.decoding import Order
from diffusion.decoding.sampling import Fill
from diffusion.evaluation.aup import CurvePoint
from diffusion.evaluation.canvas_paths import (
    NO_FIGURES,
    CanvasFigures,
    CanvasIntervals,
    canvas_figures,
    canvas_intervals,
)
from diffusion.evaluation.results import Result, read_results
from diffusion.evaluation.rows import content, order_of, read_rows, stayed
from diffusion.evaluation.settings import Training
from diffusion.paper import reference
from schemas.records import Grade
from support.errors import UserError

Problem = tuple[str, str]  # id and gold answer, a pair that occurs in one benchmark only


class ModelOnBenchmark(NamedTuple):
    """A base model on a benchmark: the subject of a row of the tables."""

    base: str
    benchmark: str


@dataclass(frozen=True)
class EvaluationCell:
    """A cell and the run that it belongs to."""

    run: Path
    result: Result

    @property
    def subject(self) -> ModelOnBenchmark:
        """Its base model and benchmark."""
        return ModelOnBenchmark(self.result.base, self.result.benchmark)

    def _rows(self, *columns: str) -> list[dict[str, Any]]:
        table = read_rows(self.run / self.result.rows, ["id", "gold", *columns])
        return cast(list[dict[str, Any]], table.to_pylist())

    @cached_property
    def right(self) -> dict[Problem, float]:
        """1 for each solved problem, 0 for others."""
        return {
            (row["id"], row["gold"]): float(row["grade"] == Grade.CORRECT)
            for row in self._rows("grade")
        }

    @cached_property
    def arness(self) -> dict[Problem, float]:
        """Global-ARness@1 of every problem that has one."""
        rows = self._rows("steps_K", "positions_K")
        return self._orders(rows, [range(len(row["steps_K"])) for row in rows])

    @cached_property
    def content_arness(self) -> dict[Problem, float]:
        """The same without commits of fill."""
        rows = self._rows("steps_K", "positions_K", "tokens_K", "end_ids")
        return self._orders(rows, [content(row["tokens_K"], row["end_ids"]) for row in rows])

    @cached_property
    def figures(self) -> dict[Problem, CanvasFigures]:
        """What the paths of each canvas say; nothing for other texts."""
        if self.result.form is not Form.CANVAS:
            return {}
        return {
            (row["id"], row["gold"]): canvas_figures(
                row["texts"][:-1], row["path_answers"], row["path_grades"]
            )
            for row in self._rows("texts", "path_answers", "path_grades")
        }

    @cached_property
    def canvas(self) -> CanvasIntervals:
        """The means of `figures`; nothing for other texts."""
        return canvas_intervals([*self.figures.values()]) if self.figures else NO_FIGURES

    @cached_property
    def curve_point(self) -> CurvePoint:
        """Accuracy and content tokens a forward pass, problem by problem."""
        rows = self._rows("grade", "nfe", "positions_K", "tokens_K", "end_ids")
        kept = [
            stayed(row["positions_K"]) & {*content(row["tokens_K"], row["end_ids"])} for row in rows
        ]
        return CurvePoint(
            right_N=np.array([row["grade"] == Grade.CORRECT for row in rows], dtype=np.float64),
            tokens_N=np.array([len(some) for some in kept], dtype=np.float64),
            passes_N=np.array([row["nfe"] for row in rows], dtype=np.float64),
        )

    def _orders(
        self, rows: Sequence[dict[str, Any]], among: Iterable[Iterable[int]]
    ) -> dict[Problem, float]:
        return {
            (row["id"], row["gold"]): order.raw
            for row, some in zip(rows, among, strict=True)
            if (order := order_of(row["steps_K"], row["positions_K"], some))
        }

    @cached_property
    def curve(self) -> Hashable:
        """What it has in common with the same system at another speed, or another threshold."""
        one = self.result
        kind, _, options = one.rule.partition(" (")
        others = [text for text in options.rstrip(")").split(", ") if "threshold=" not in text]
        name = None if "threshold=" in options else one.system
        return (
            *(self.subject, name, kind, tuple(others), one.training, one.tuned_paths, one.form),
            *(one.paths, one.masks, one.temperature, one.fill, one.seed, one.sampling, one.cache),
            *(one.path_hints, one.training_seed, one.variant, one.computed, tuple(self.right)),
        )

    def is_comparable_with(self, other: "EvaluationCell") -> bool:
        """Whether both decoded as many masks, took tokens in the same way, and computed alike."""
        names = ("masks", "temperature", "fill", "sampling", "computed")
        return all(getattr(self.result, name) == getattr(other.result, name) for name in names)

    def is_decoded_like(self, other: "EvaluationCell") -> bool:
        """Whether both may be of two trainings of one kind; they may be of two machines."""
        names = (
            *("rule", "masks", "temperature", "fill", "seed", "sampling", "path_hints"),
            *("tuned_paths", "count"),
        )
        is_alike = all(getattr(self.result, name) == getattr(other.result, name) for name in names)
        return is_alike and self.right.keys() == other.right.keys()


Trainings = tuple[EvaluationCell, ...]
"""The cells of trainings that differ in their seed alone, one a seed; empty if nothing was found.
Most have one."""


class EvaluationCells:
    """All cells of the given runs, in order."""

    def __init__(self, runs: Sequence[Path]) -> None:
        self.all = [EvaluationCell(run, one) for run in runs for one in read_results(run)]
        if not self.all:
            raise UserError(f"{', '.join(map(str, runs))}: hold no cell")

    def subjects(self) -> list[ModelOnBenchmark]:
        """The paper's models on its benchmark first, then whatever else was evaluated."""
        papers = [ModelOnBenchmark(base, reference.BENCHMARK) for base in reference.BASES]
        others = (one.subject for one in self.all if not one.result.variant)
        return list(dict.fromkeys([*papers, *others]))

    def steps(self, subject: ModelOnBenchmark) -> list[int]:
        """The numbers of steps that this subject was decoded with, ascending."""
        return sorted({cell.steps for cell in self._main(subject) if cell.steps})

    def paths(self, subject: ModelOnBenchmark) -> int:
        """The most paths that this subject's canvases have; 3, the paper's, where it has none."""
        canvases = [cell for cell in self._main(subject) if cell.form is Form.CANVAS]
        return max((cell.paths for cell in canvases), default=3)

    def fill(self, subject: ModelOnBenchmark) -> Fill:
        """When fill is committed in the tables of this subject: last only if in all its cells."""
        fills = {one.result.fill for one in self._plain(subject)}
        return Fill.LAST if fills == {Fill.LAST} else Fill.FREE

    def count(self, subject: ModelOnBenchmark) -> int:
        """The fewest problems of a cell of this subject; 0 where it has none."""
        return min((cell.count for cell in self._main(subject)), default=0)

    def find(
        self,
        subject: ModelOnBenchmark,
        training: Training,
        order: Order,
        steps: int | None,
        paths: int | None = None,
        tuned_paths: int | None = None,
        *,
        variant: str = "",
        fill: Fill | None = None,
    ) -> Trainings:
        """The cells that fit, one for each training seed; empty if none does.

        Their form is a canvas for NAP and for parallel-forced decoding. `paths` and `tuned_paths`
        default to the subject's most, `fill` to that of its tables. If no cell of the subject and
        form is of AO, block-wise cells stand for it, as in the paper for LLaDA. Of several
        thresholds of Fast-dLLM, the slowest is taken. UserError if other two cells fit, because a
        table has one place for them.
        """
        form = Form.CANVAS if Training.NAP is training or order is Order.FORCED else Form.LONG_COT
        most = self.paths(subject)

        def fits(cell: Result) -> bool:
            return (
                (cell.training, cell.order, cell.form) == (training, order, form)
                and cell.cache is None  # others are only in the table of every cell
                and cell.steps == (None if order is Order.FAST else steps)
                and (form is Form.LONG_COT or cell.paths == (paths or most))
                and (training is not Training.NAP or cell.tuned_paths == (tuned_paths or most))
            )

        wanted = (subject, variant, fill or self.fill(subject))
        cells = [
            one
            for one in self.all
            if (one.subject, one.result.variant, one.result.fill) == wanted
            # A variant may be trained with hints; others with hints have a line of their own.
            and (variant or not one.result.path_hints)
        ]
        alike = {one.result.order for one in cells if one.result.form is form}
        if order is Order.AO and order not in alike:
            order = Order.BLOCKWISE
        return _one_a_seed([one for one in cells if fits(one.result)])

    def main(self, subject: ModelOnBenchmark) -> list[EvaluationCell]:
        """The cells that Tables 1 to 5 and the claims are about."""
        fill = self.fill(subject)
        return [one for one in self._plain(subject) if one.result.fill is fill]

    def _plain(self, subject: ModelOnBenchmark) -> list[EvaluationCell]:
        return [
            one
            for one in self.all
            if one.subject == subject and not (one.result.variant or one.result.path_hints)
        ]

    def _main(self, subject: ModelOnBenchmark) -> list[Result]:
        return [one.result for one in self.main(subject)]


def _one_a_seed(fitting: Sequence[EvaluationCell]) -> Trainings:
    """Cells that have one place in a table; UserError if they differ in more than the seed."""
    rules = {one.result.rule for one in fitting}
    if len(rules) == len(fitting) > 1 and len({one.curve for one in fitting}) == 1:
        return (max(fitting, key=lambda one: one.result.nfe),)
    seeds = {one.result.training_seed: one for one in fitting}
    if len(fitting) > 1:
        is_one_kind = all(one.is_decoded_like(fitting[0]) for one in fitting)
        if len(seeds) < len(fitting) or None in seeds or not is_one_kind:
            first, second = fitting[:2]
            raise UserError(
                f"{second.run}: {second.result.system!r} and {first.result.system!r} of "
                f"{first.run} are one cell of the tables; print them apart, or give one of them a "
                "different base in its recipe (or each its training_seed, if they are trainings "
                "that differ in their seed alone and decoded the same problems)"
            )
    return tuple(sorted(fitting, key=lambda one: one.result.training_seed or 0))


def fewest_and_most_problems(cells: Iterable[EvaluationCell]) -> tuple[int, int]:
    """The fewest and the most problems of a cell."""
    numbers = [one.result.count for one in cells]
    return min(numbers), max(numbers)
