"""Evaluate systems on a benchmark: decode, grade, count. Continues where it stopped.

In: an evaluation and a run directory. Out, in that directory: `cells/NAME-STEPS-DIGEST.parquet`
(every decoded problem with its commits), `results.json` and `results.parquet` (a line a cell). An
incomplete cell is a folder, `cells/NAME-STEPS-DIGEST/` with `rows-NNNNN.parquet`, one for each
piece (`shards/plan.py`). Each of these files is written whole, and only once. The digest changes
with the model, the benchmark and the settings, and with what `computed.py` lists, so that no cell
mixes rows of two.
"""

import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from diffusion.data.layout import Form
from diffusion.evaluation.computed import Computed
from diffusion.evaluation.results import RESULTS, Result, read_results, result
from diffusion.evaluation.rows import DecodedProblem
from diffusion.evaluation.settings import Cell, Evaluation
from diffusion.evaluation.shards.pieces import (
    COMPUTED,
    DoesNotFitError,
    release_dropped,
    with_graded_paths,
    write_rows,
)
from diffusion.evaluation.shards.plan import (
    Piece,
    Plan,
    PlannedCell,
    Shard,
    cell_name,
    plan,
    planned_cell,
    problems_of,
)
from diffusion.evaluation.shards.processes import decoded, devices_of
from diffusion.models import located
from diffusion.settings import ModelReference
from schemas import arrow
from support.capacity import raise_if_out_of_memory
from support.display.progress import Progress
from support.errors import DamagedError, StoppedError, UserError
from support.files import replace_text

Say = Callable[[str], None]


def evaluate_cells(evaluation: Evaluation, out: Path, *, say: Say = print) -> list[Result]:
    """The results of all cells, in order; what is missing is decoded first.

    Raises UserError if a model, a rule or the benchmark cannot be loaded, or rows do not fit into
    the memory; DamagedError if a file of rows cannot be read; StoppedError if one of several
    processes was killed (the same call goes on).
    """
    results: dict[int, Result] = {}

    def finish(planned: Plan, number: int) -> str:
        results[number] = _finished(planned, number)
        return _line(results[number])

    planned = _decode(evaluation, out, None, finish, say)
    return _written([results[number] for number in range(len(planned.cells))], out)


def evaluate_shard(evaluation: Evaluation, out: Path, shard: Shard, *, say: Say = print) -> None:
    """Decode the pieces of a shard; others may be at work in the same directory.

    Raises what `evaluate_cells` raises, and UserError for `batch: auto`.
    """
    if evaluation.rows_at_once is None:
        raise UserError("batch: auto is decided for all shards at once; give a number")
    _decode(evaluation, out, shard, None, say)


def merge_shards(evaluation: Evaluation, out: Path) -> list[Result]:
    """The results of what all shards have decoded; nothing is decoded, on whatever machine.

    Raises StoppedError if rows are missing, and UserError if the rows are of several machines.
    """
    problems, digest = problems_of(evaluation)
    known = {one.rows: one.computed for one in read_results(out)} if _has_results(out) else {}
    empty = Plan(evaluation, problems, [])
    cells = [_cell_there(empty, cell, digest, out, known) for cell in evaluation.cells()]
    planned = empty._replace(cells=cells)
    for number, cell in enumerate(cells):
        pieces = planned.pieces_of(number)
        if missing := planned.missing(pieces):
            raise StoppedError(
                f"{cell.folder}: holds {len(pieces) - len(missing)} of {len(pieces)} files of "
                f"rows, and not those of {planned.named(missing[0])}; run the shards that have not "
                "ended, then merge again"
            )
    return _written([_finished(planned, number) for number in range(len(cells))], out)


def _decode(
    evaluation: Evaluation,
    out: Path,
    shard: Shard | None,
    finish: Callable[[Plan, int], str] | None,
    say: Say,
) -> Plan:
    """Decode what is missing of all pieces, or of a shard; the plan.

    `finish` is called for every cell whose rows are all there, in order; its text is shown.
    """
    devices = devices_of(evaluation)
    sharing = -(-len(devices) // len(set(devices)))
    most: dict[ModelReference, int] = {}
    while True:
        planned = plan(evaluation, out, devices[0], most=most, sharing=sharing)
        pieces = planned.pieces()
        if shard is not None:
            pieces = pieces[shard.number - 1 :: shard.shards]
        say(_announcement(planned, shard, devices))
        try:
            _decode_pieces(planned, pieces, out, devices, finish)
            return planned
        except DoesNotFitError as error:
            if evaluation.rows_at_once is not None or error.batch == 1:
                raise
            most[error.model] = error.batch // 2
            say(f"{error}; going on with {most[error.model]} rows at once")
        release_dropped()
        for cell in planned.cells:
            if cell.batch > most.get(cell.cell.system.model, cell.batch):
                shutil.rmtree(cell.folder, ignore_errors=True)  # its rows are decoded anew


def _decode_pieces(
    planned: Plan,
    pieces: Sequence[Piece],
    out: Path,
    devices: Sequence[str],
    finish: Callable[[Plan, int], str] | None,
) -> None:
    missing = planned.missing(pieces)
    left = Counter(piece.cell for piece in missing)
    finished = 0
    total, rows = (sum(piece.rows for piece in some) for some in (pieces, missing))
    name = planned.evaluation.name
    with Progress(name, "problems", total=total, done=total - rows) as bar:
        for cell in planned.cells:
            _report_other_rows(cell, bar)

        def finish_cells() -> None:
            nonlocal finished
            while finish and finished < len(planned.cells) and not left[finished]:
                bar.write(finish(planned, finished))
                finished += 1

        finish_cells()
        with closing(decoded(planned, missing, out, devices)) as found:
            for piece in found:
                bar.update(piece.rows)
                left[piece.cell] -= 1
                finish_cells()


def _announcement(planned: Plan, shard: Shard | None, devices: Sequence[str]) -> str:
    machines = dict.fromkeys(str(cell.facts.machine) for cell in planned.cells)
    share = f", shard {shard.number} of {shard.shards}," if shard else ""
    by = f", by {len(devices)} processes" if len(devices) > 1 else ""
    return (
        f"{len(planned.cells)} cells x {len(planned.problems)} problems{share} on "
        f"{'; '.join(machines)}{by}"
    )


def _finished(planned: Plan, number: int) -> Result:
    """The result of a cell whose rows are all there; they become one file.

    Paths of canvases that an earlier version did not grade are graded.
    """
    cell = planned.cells[number]
    if cell.file.exists():
        rows = _read(cell.file, [problem.id for problem in planned.problems])
    else:
        rows = []
        for piece in planned.pieces_of(number):
            problems = planned.problems[piece.first : piece.end]
            rows += _read(planned.file(piece), [problem.id for problem in problems])
    is_graded = cell.cell.system.form is not Form.CANVAS or all(row.path_grades for row in rows)
    if not is_graded:
        rows = with_graded_paths(rows, planned.problems)
    if not (is_graded and cell.file.exists()):
        write_rows(cell.file, arrow.table(DecodedProblem, rows))
    file = f"cells/{cell.file.name}"
    one = result(planned.evaluation, cell.cell, file, rows, cell.facts.machine)
    model = located(cell.cell.system.model)
    return dataclasses.replace(one, model=model.name, revision=cell.facts.revision)


def _written(results: list[Result], out: Path) -> list[Result]:
    """Write the results; then the folders of cells that were incomplete go."""
    text = json.dumps([dataclasses.asdict(one) for one in results], indent=1)
    replace_text(out / "results.json", text + "\n")
    write_rows(out / RESULTS, arrow.table(Result, results))
    for one in results:  # not earlier: results that were published before may name a folder
        shutil.rmtree((out / one.rows).with_suffix(""), ignore_errors=True)
    return results


def _has_results(out: Path) -> bool:
    return (out / RESULTS).is_file()


def _cell_there(
    empty: Plan,
    cell: Cell,
    problems: str,
    out: Path,
    known: Mapping[str, Computed | None],
) -> PlannedCell:
    """The cell as some machine has decoded it, with as many rows at once as the evaluation says.

    `known` machines are those of results; `empty` is the plan without its cells. A machine that has
    decoded all rows is taken before one that has not.
    """
    evaluation, name = empty.evaluation, cell_name(cell)
    machines = [
        machine for file, machine in known.items() if machine and file.startswith(f"cells/{name}-")
    ]
    for file in sorted((out / "cells").glob(f"{name}-*/{COMPUTED}")):
        try:
            machines.append(Computed(**json.loads(file.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError) as error:
            raise DamagedError(f"{file}: cannot be read ({error}); run its shards again") from None
    wanted = evaluation.rows_at_once
    there = [
        planned
        for machine in dict.fromkeys(machines)
        if wanted in (None, machine.batch)
        and (planned := planned_cell(evaluation, cell, problems, machine, out)).is_begun
    ]
    plans = [empty._replace(cells=[planned]) for planned in there]
    whole = [one.cells[0] for one in plans if not one.missing(one.pieces())] or there
    if not whole:
        raise StoppedError(
            f"{out}: holds no rows of {cell.system.name} for this recipe, with its batch, model "
            "and benchmark; run its shards first"
        )
    if len(whole) > 1:
        one, other = whole[:2]
        raise UserError(
            f"{out}: rows of {one} were decoded on {one.facts.machine}, and others on "
            f"{other.facts.machine}; rows of two machines never mix: delete {one.folder} or "
            f"{other.folder}, a folder or a .parquet file, and run shards that are missing then"
        )
    return whole[0]


def _report_other_rows(cell: PlannedCell, bar: Progress) -> None:
    """Say so if there are rows of this system by another model, setting or machine."""
    name = cell_name(cell.cell)
    if not cell.is_begun and any(cell.file.parent.glob(f"{name}-{'?' * 16}*")):
        bar.write(f"{name}: decoded anew; the rows there are of another model, setting or machine")


def _read(file: Path, ids: Sequence[str]) -> list[DecodedProblem]:
    try:
        rows = list(arrow.records(DecodedProblem, pq.read_table(file)))
    except (OSError, pa.ArrowException, TypeError, ValueError, KeyError) as error:
        raise_if_out_of_memory(error)
        raise DamagedError(f"{file}: cannot be read ({error}); delete it and run again") from None
    if [row.id for row in rows] != list(ids):
        raise DamagedError(f"{file}: holds other problems; delete it and run again")
    return rows


def _line(one: Result) -> str:
    steps = "own steps" if one.steps is None else f"{one.steps} steps"
    churn = f", {one.churn:.0%} of commits taken back" if one.churn else ""
    return (
        f"{one.system}, {steps}: {one.accuracy:.1%} ({one.low:.1%} to {one.high:.1%}) of "
        f"{one.count}, ARness {'-' if one.arness is None else f'{one.arness:.2f}'}, "
        f"{one.tokens_per_step:.2f} tokens a step{churn}"
    )
