"""The results of an evaluation: a line for each cell, computed from its rows."""

from collections.abc import Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from statistics import fmean

import pyarrow as pa
import pyarrow.parquet as pq

from diffusion.data.layout import Form
from diffusion.decoding import Order
from diffusion.decoding.sampling import Fill
from diffusion.evaluation.arness import Arness
from diffusion.evaluation.canvas_paths import NO_FIGURES, canvas_figures, canvas_intervals
from diffusion.evaluation.computed import Computed
from diffusion.evaluation.rows import DecodedProblem, content, order_of, stayed
from diffusion.evaluation.settings import Cell, Evaluation, Training
from schemas import arrow
from schemas.records import Grade
from support.capacity import raise_if_out_of_memory
from support.errors import DamagedError, UserError
from support.stats import mean, wilson

RESULTS = "results.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A cell: accuracy with its 95 % interval (Wilson), costs, and means of ARness over rows.

    `system` to `masks` say what was evaluated, as the recipe does; `rows` is its file of rows,
    below the run's (a folder in results of Polytrace 0.1). `arness`, `chance`, `corrected` and
    `local` are of all commits, `content_*` of those that are no fill; `arness_low` and
    `arness_high` are a 95 % interval (bootstrap); `by_slot` is Global-ARness@1 inside each slot.
    None if no row has an order. `unread` counts rows without a readable answer: they are wrong.
    `cache` is None if decoding was exact. ARness and tokens are those of the commits that stayed,
    the last of each position; `churn` is the share of all commits that were taken back. `sampling`
    names the settings of `Sampling` behind `fill` that are not the defaults.
    `device` to `batch`, and `threads`, say what it was computed with (`Computed`); None in results
    of Polytrace 0.1, which did not keep it.
    `model` names the model, of an adapter also its base, and `revision` has a hash of the files of
    each; both are empty in earlier results.
    `copies` to `oracle` are the means of `CanvasFigures` over canvases (`path_accuracy` is `path`);
    None for other texts, and where rows of earlier versions do not say them. `training_seed` and
    `variant` tell trainings of one kind apart, as the recipe does. `path_hints`: how many hints
    headers were drawn from.
    """

    system: str
    benchmark: str
    base: str
    training: Training
    tuned_paths: int
    order: Order
    rule: str
    cache: str | None
    form: Form
    paths: int
    masks: int
    temperature: float
    fill: Fill
    seed: int
    steps: int | None
    rows: str
    count: int
    right: int
    unread: int
    accuracy: float
    low: float
    high: float
    nfe: float
    tokens_per_step: float
    content_tokens_per_step: float
    arness: float | None
    arness_low: float | None
    arness_high: float | None
    chance: float | None
    corrected: float | None
    local: float | None
    content_arness: float | None
    content_corrected: float | None
    content_local: float | None
    by_slot: tuple[float | None, ...]
    device: str | None = None
    device_name: str | None = None
    attention: str | None = None
    dtype: str | None = None
    torch: str | None = None
    batch: int | None = None
    churn: float = 0.0
    sampling: str = ""
    threads: int | None = None
    model: str = ""
    revision: str = ""
    path_hints: int = 0
    training_seed: int | None = None
    variant: str = ""
    copies: float | None = None
    diversity: float | None = None
    path_accuracy: float | None = None
    vote: float | None = None
    oracle: float | None = None

    @property
    def computed(self) -> Computed | None:
        """What it was computed with, if that is known."""
        if self.device is None:
            return None
        return Computed(**{one.name: getattr(self, one.name) for one in fields(Computed)})


def result(
    evaluation: Evaluation, cell: Cell, file: str, rows: Sequence[DecodedProblem], machine: Computed
) -> Result:
    """The line of a cell whose rows are in `file`; ValueError if there is no row."""
    system, steps = cell
    rule = ", ".join(f"{name}={value}" for name, value in system.rule.items() if name != "kind")
    right = sum(row.grade is Grade.CORRECT for row in rows)
    accuracy, low, high = wilson(right, len(rows))
    everything = [one for row in rows if (one := _order(row, range(len(row.steps_K))))]
    content = [one for row in rows if (one := _order(row, _content(row)))]
    orders = [one.raw for one in everything]
    interval = mean(orders) if orders else None
    slots = 1 + max((slot for row in rows for slot in row.slots_K), default=-1)
    passes = sum(row.nfe for row in rows)
    sampling = evaluation.sampling_of(system)
    forward_steps = passes / sampling.passes
    commits, kept = (sum(len(f(row)) for row in rows) for f in (_commits, _stayed))
    paths = NO_FIGURES
    if system.form is Form.CANVAS:
        paths = canvas_intervals(
            [canvas_figures(r.texts[:-1], r.path_answers, r.path_grades) for r in rows]
        )
    return Result(
        system=system.name,
        benchmark=str(evaluation.benchmark["kind"]),
        base=system.base_name,
        training=system.training,
        tuned_paths=system.tuned_paths or system.paths,
        order=system.made_rule().order,
        rule=str(system.rule["kind"]) + (f" ({rule})" if rule else ""),
        cache=None if system.cache is None else str(system.cache),
        form=system.form,
        paths=system.paths if system.form is Form.CANVAS else 1,
        masks=evaluation.masks,
        temperature=evaluation.temperature,
        fill=sampling.fill,
        seed=evaluation.seed,
        steps=steps or None,
        rows=file,
        count=len(rows),
        right=right,
        unread=sum(row.answer is None for row in rows),
        accuracy=accuracy,
        low=low,
        high=high,
        nfe=passes / len(rows),
        tokens_per_step=kept / forward_steps,
        content_tokens_per_step=sum(len(_content(row)) for row in rows) / forward_steps,
        arness=interval and interval.value,
        arness_low=interval and interval.low,
        arness_high=interval and interval.high,
        chance=_mean(one.chance for one in everything),
        corrected=_mean(one.corrected for one in everything),
        local=_mean(one.local for one in everything),
        content_arness=_mean(one.raw for one in content),
        content_corrected=_mean(one.corrected for one in content),
        content_local=_mean(one.local for one in content),
        by_slot=tuple(_in_slot(rows, slot) for slot in range(slots)),
        churn=1 - kept / commits if commits else 0.0,
        sampling=str(sampling),
        path_hints=len(system.path_hints),
        training_seed=system.training_seed,
        variant=system.variant,
        copies=paths.copies and paths.copies.value,
        diversity=paths.diversity and paths.diversity.value,
        path_accuracy=paths.path and paths.path.value,
        vote=paths.vote and paths.vote.value,
        oracle=paths.oracle and paths.oracle.value,
        **asdict(machine),
    )


def _advice(run: Path) -> str:
    inside = run / "evaluation"
    if (inside / RESULTS).is_file():
        return f"that of this experiment is in {inside}"
    if (run / "cells").is_dir():
        return "its evaluation has not ended: the same polytrace evaluate command goes on"
    return "give a directory of polytrace evaluate"


def read_results(run: Path) -> list[Result]:
    """The results in a run directory; UserError if there are none, DamagedError if unreadable."""
    file = run / RESULTS
    if not file.is_file():
        raise UserError(f"{run}: holds no {RESULTS}; {_advice(run)}")
    try:
        data = pq.read_table(file)
        names = [
            one.name
            for one in fields(Result)
            if one.default is MISSING or one.name in data.column_names
        ]
        return list(arrow.records(Result, data, names))
    except (OSError, pa.ArrowException, TypeError, ValueError, KeyError) as error:
        raise_if_out_of_memory(error)
        raise DamagedError(f"{file}: cannot be read ({error}); evaluate again") from None


def _commits(row: DecodedProblem) -> tuple[int, ...]:
    return row.steps_K


def _stayed(row: DecodedProblem) -> set[int]:
    return stayed(row.positions_K)


def _content(row: DecodedProblem) -> list[int]:
    kept = _stayed(row)
    return [k for k in content(row.tokens_K, row.end_ids) if k in kept]


def _order(row: DecodedProblem, among: Iterable[int]) -> Arness | None:
    return order_of(row.steps_K, row.positions_K, among)


def _in_slot(rows: Sequence[DecodedProblem], slot: int) -> float | None:
    orders = (_order(row, [k for k, s in enumerate(row.slots_K) if s == slot]) for row in rows)
    return _mean(one.raw for one in orders if one)


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return fmean(known) if known else None
