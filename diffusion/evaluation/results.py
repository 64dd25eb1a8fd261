"""The results of an evaluation: every decoded row with its commits, and a line for each cell.

Axes: K commits of a row.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from statistics import fmean

import pyarrow as pa
import pyarrow.parquet as pq

from diffusion.data.layout import Form
from diffusion.decoding import Order
from diffusion.decoding.sampling import Fill
from diffusion.evaluation.arness import Arness, arness
from diffusion.evaluation.computed import Computed
from diffusion.evaluation.settings import Cell, Evaluation, Training
from schemas import arrow
from schemas.records import Grade
from support.errors import DamagedError, UserError
from support.stats import mean, wilson

RESULTS = "results.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedProblem:
    """A decoded problem: the text of every slot, and its commits.

    `texts` and `scored`, the one that was graded, end before fill and hold no special token; the
    raw ids are `tokens_K`. `steps_K`, `positions_K` (columns of the layout, headers counted),
    `confidences_K`, `tokens_K` and `slots_K` describe its commits in order. `taken_back_K` is the
    step at whose end a commit was taken back, None if it stayed; it is empty where all stayed (and
    in earlier files). `nfe` is its number of forward passes, `fill_id` the token that fills a slot,
    `end_ids` that one and those that end a turn; none of these is content.
    """

    id: str
    gold: str
    texts: tuple[str, ...]
    scored: str
    answer: str | None
    grade: Grade
    nfe: int
    fill_id: int
    end_ids: tuple[int, ...]
    steps_K: tuple[int, ...]
    positions_K: tuple[int, ...]
    confidences_K: tuple[float, ...]
    tokens_K: tuple[int, ...]
    slots_K: tuple[int, ...]
    taken_back_K: tuple[int | None, ...] = ()


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
    each; both are empty in earlier results. `path_hints`: how many hints headers were drawn from.
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
    forward_steps = passes / evaluation.sampling.passes
    commits, kept = (sum(len(f(row)) for row in rows) for f in (_commits, _stayed))
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
        fill=evaluation.fill,
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
        sampling=str(evaluation.sampling),
        path_hints=len(system.path_hints),
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
        raise DamagedError(f"{file}: cannot be read ({error}); evaluate again") from None


def read_rows(rows: Path, columns: list[str] | None = None) -> pa.Table:
    """The rows of a cell in order, from its file, or from a folder of Polytrace 0.1.

    DamagedError if there are none or they are unreadable.
    """
    files = sorted(rows.glob("rows-*.parquet")) if rows.is_dir() else [rows]
    try:
        return pa.concat_tables([_table(file, columns) for file in files])
    except (OSError, pa.ArrowException) as error:
        raise DamagedError(f"{rows}: cannot be read ({error}); evaluate again") from None


def _table(file: Path, columns: list[str] | None) -> pa.Table:
    """One file of rows; one of an earlier version is given the columns that it lacks.

    `end_ids` is made of `fill_id` alone, and nothing was taken back.
    """
    known = pq.read_schema(file).names
    wanted = columns or [*dict.fromkeys([*known, *_LATER])]
    missing = [name for name in _LATER if name in wanted and name not in known]
    read = [name for name in wanted if name not in missing]
    data = pq.read_table(file, columns=[*dict.fromkeys([*read, *(["fill_id"] if missing else [])])])
    for name in missing:
        fills = data["fill_id"].to_pylist()
        values = [[one] if name == "end_ids" else [] for one in fills]
        data = data.append_column(name, pa.array(values, pa.list_(pa.int64())))
    return data


_LATER = ("end_ids", "taken_back_K")  # columns that files of earlier versions lack


def stayed(positions_K: Sequence[int]) -> set[int]:
    """The numbers of the commits that were not taken back: the last one of each position."""
    return set({position: k for k, position in enumerate(positions_K)}.values())


def content(tokens_K: Sequence[int], end_ids: Collection[int]) -> list[int]:
    """The numbers of the commits that are neither fill nor an end of turn."""
    return [k for k, token in enumerate(tokens_K) if token not in end_ids]


def order_of(
    steps_K: Sequence[int], positions_K: Sequence[int], among: Iterable[int]
) -> Arness | None:
    """ARness of some of a row's commits, of these those that stayed."""
    kept = stayed(positions_K)
    chosen = [k for k in among if k in kept]
    return arness([steps_K[k] for k in chosen], [positions_K[k] for k in chosen])


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
