"""The cells of one or several evaluations. In: run directories. Out: cells, found by their facts.

A cell is a result and the run that holds its rows. Two cells with the same problems can be compared
problem by problem.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from diffusion.data.layout import Form
from diffusion.decoding import Order
from diffusion.evaluation.aup import CurvePoint
from diffusion.evaluation.results import (
    Result,
    content,
    order_of,
    read_results,
    read_rows,
    stayed,
)
from diffusion.evaluation.settings import Training
from diffusion.paper import reference
from schemas.records import Grade
from support.errors import UserError
from support.stats import Interval, paired_difference

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
            *(one.path_hints, one.computed, tuple(self.right)),
        )

    def is_comparable_with(self, other: "EvaluationCell") -> bool:
        """Whether both decoded as many masks, took tokens in the same way, and computed alike."""
        names = ("masks", "temperature", "fill", "sampling", "computed")
        return all(getattr(self.result, name) == getattr(other.result, name) for name in names)


CellPair = tuple[EvaluationCell | None, EvaluationCell | None]


class EvaluationCells:
    """All cells of the given runs, in order."""

    def __init__(self, runs: Sequence[Path]) -> None:
        self.all = [EvaluationCell(run, one) for run in runs for one in read_results(run)]
        if not self.all:
            raise UserError(f"{', '.join(map(str, runs))}: hold no cell")

    def subjects(self) -> list[ModelOnBenchmark]:
        """The paper's models on its benchmark first, then whatever else was evaluated."""
        papers = [ModelOnBenchmark(base, reference.BENCHMARK) for base in reference.BASES]
        return list(dict.fromkeys([*papers, *(one.subject for one in self.all)]))

    def steps(self, subject: ModelOnBenchmark) -> list[int]:
        """The numbers of steps that this subject was decoded with, ascending."""
        return sorted({cell.steps for cell in self._cells(subject) if cell.steps})

    def paths(self, subject: ModelOnBenchmark) -> int:
        """The most paths that this subject's canvases have; 3, the paper's, where it has none."""
        canvases = [cell for cell in self._cells(subject) if cell.form is Form.CANVAS]
        return max((cell.paths for cell in canvases), default=3)

    def count(self, subject: ModelOnBenchmark) -> int:
        """The fewest problems of a cell of this subject; 0 where it has none."""
        return min((cell.count for cell in self._cells(subject)), default=0)

    def find(
        self,
        subject: ModelOnBenchmark,
        training: Training,
        order: Order,
        steps: int | None,
        paths: int | None = None,
        tuned_paths: int | None = None,
    ) -> EvaluationCell | None:
        """The cell that fits; its form is a canvas for NAP and for parallel-forced decoding.

        `paths` and `tuned_paths` default to the subject's most. If no cell of the subject and form
        is of AO, block-wise cells stand for it, as in the paper for LLaDA. Of several
        thresholds of Fast-dLLM, the slowest is taken. UserError if other two cells fit, because a
        table has one place for them.
        """
        form = Form.CANVAS if Training.NAP is training or order is Order.FORCED else Form.LONG_COT
        most = self.paths(subject)

        def fits(cell: Result) -> bool:
            return (
                (cell.training, cell.order, cell.form) == (training, order, form)
                and cell.cache is None  # others are only in the table of every cell
                and not cell.path_hints
                and cell.steps == (None if order is Order.FAST else steps)
                and (form is Form.LONG_COT or cell.paths == (paths or most))
                and (training is not Training.NAP or cell.tuned_paths == (tuned_paths or most))
            )

        cells = [one for one in self.all if one.subject == subject]
        alike = {one.result.order for one in cells if one.result.form is form}
        if order is Order.AO and order not in alike:
            order = Order.BLOCKWISE
        fitting = [one for one in cells if fits(one.result)]
        rules = {one.result.rule for one in fitting}
        if len(rules) == len(fitting) > 1 and len({one.curve for one in fitting}) == 1:
            return max(fitting, key=lambda one: one.result.nfe)
        if len(fitting) > 1:
            first, second = fitting[:2]
            raise UserError(
                f"{second.run}: {second.result.system!r} and {first.result.system!r} of "
                f"{first.run} are one cell of the tables; print them apart, or give one of them a "
                "different base in its recipe"
            )
        return fitting[0] if fitting else None

    def _cells(self, subject: ModelOnBenchmark) -> Iterator[Result]:
        return (one.result for one in self.all if one.subject == subject)


def discordant(first: EvaluationCell, second: EvaluationCell) -> tuple[int, int]:
    """The numbers of problems that only the first has solved, and only the second."""
    return _more_and_less(first.right, second.right)


def gain(first: EvaluationCell | None, second: EvaluationCell | None) -> Interval | None:
    """How much the accuracy of the first exceeds the second's; None if they do not compare.

    Both must have decoded the same problems with the same masks, temperature and fill, and with the
    same device, kernel, type, version of PyTorch and rows at once.
    """
    if first is None or second is None or not first.is_comparable_with(second):
        return None
    return _paired(first.right, second.right)


def gain_of_arness(
    first: EvaluationCell | None, second: EvaluationCell | None, *, content: bool = False
) -> Interval | None:
    """How much the Global-ARness@1 of the first exceeds the second's, where both have one.

    `content`: without commits of fill. None if they do not compare, as in `gain`.
    """
    if first is None or second is None or not first.is_comparable_with(second):
        return None
    if first.right.keys() != second.right.keys():
        return None
    a, b = (one.content_arness if content else one.arness for one in (first, second))
    both = ordered_in_both(first, second, content=content)
    return _paired({one: a[one] for one in both}, {one: b[one] for one in both})


def ordered_in_both(
    first: EvaluationCell, second: EvaluationCell, *, content: bool = False
) -> list[Problem]:
    """The problems for which both have an ARness."""
    a, b = (one.content_arness if content else one.arness for one in (first, second))
    return [problem for problem in a if problem in b]


def change_of_gain(first: CellPair, second: CellPair) -> Interval | None:
    """How much the first pair's gain exceeds the second pair's, on the same problems."""
    (a, b), (c, d) = first, second
    if a is None or b is None or c is None or d is None:
        return None
    if not all(a.is_comparable_with(one) for one in (b, c, d)):
        return None
    if len({tuple(one.right) for one in (a, b, c, d)}) > 1:
        return None
    return _paired(_gains(a, b), _gains(c, d))


def wider_and_narrower(first: CellPair, second: CellPair) -> tuple[int, int]:
    """The numbers of problems on which the first pair's gain is more, and less."""
    (a, b), (c, d) = first, second
    assert a and b and c and d
    return _more_and_less(_gains(a, b), _gains(c, d))


def _gains(first: EvaluationCell, second: EvaluationCell) -> dict[Problem, float]:
    """For each problem 1 if only the first has solved it, -1 if only the second, else 0."""
    return {problem: first.right[problem] - second.right[problem] for problem in first.right}


def _more_and_less(first: dict[Problem, float], second: dict[Problem, float]) -> tuple[int, int]:
    pairs = [(first[problem], second[problem]) for problem in first]
    return sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)


def _paired(first: dict[Problem, float], second: dict[Problem, float]) -> Interval | None:
    if not first or first.keys() != second.keys():
        return None
    return paired_difference([*first.values()], [second[id_] for id_ in first])


def fewest_and_most_problems(cells: Iterable[EvaluationCell]) -> tuple[int, int]:
    """The fewest and the most problems of a cell."""
    numbers = [one.result.count for one in cells]
    return min(numbers), max(numbers)
