"""Decode, grade and write pieces of an evaluation, one after the other, on one device.

In: a plan and some of its pieces. Out: a file of rows for each, and beside those of a cell what
they are computed with.
"""

import dataclasses
import gc
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from diffusion.decoding.decode import Decoded
from diffusion.evaluation.answers import (
    answers,
    check_length,
    layout_for,
    load_decoder,
    requests_of,
)
from diffusion.evaluation.benchmarks import Problem
from diffusion.evaluation.rows import DecodedProblem
from diffusion.evaluation.shards.plan import Piece, Plan, PlannedCell
from diffusion.models.network.denoiser import Dlm
from diffusion.settings import ModelReference
from schemas import arrow
from scorers.answers.grade import Answer, Attempt, GradePool
from support.capacity import is_out_of_memory
from support.errors import UserError
from support.files import atomic_write

COMPUTED = "computed.json"  # in the folder of an incomplete cell


class DoesNotFitError(UserError):
    """Rows of a model do not fit into the memory: so many at once."""

    def __init__(self, message: str, model: ModelReference, batch: int) -> None:
        super().__init__(message)
        self.model = model
        self.batch = batch


def decode_pieces(plan: Plan, pieces: Iterable[Piece], device: str) -> Iterator[Piece]:
    """Decode and grade pieces in this process, one after the other; each that is written.

    Raises UserError for what a model cannot decode, DoesNotFitError if the memory is full.
    """
    load = _OneModel(device)
    with GradePool() as pool:
        for piece in pieces:
            _keep_computed(plan.cells[piece.cell])
            problems = plan.problems[piece.first : piece.end]
            batches = _cut(problems, plan.cells[piece.cell].batch)
            try:
                rows = list(chain.from_iterable(_rows(plan, piece, load, pool, b) for b in batches))
            except Exception as error:
                error.add_note(f"while decoding {plan.named(piece)}")
                raise
            write_rows(plan.file(piece), arrow.table(DecodedProblem, rows))
            yield piece


def with_graded_paths(
    rows: Sequence[DecodedProblem], problems: Sequence[Problem]
) -> list[DecodedProblem]:
    """Rows of canvases whose paths an earlier version did not grade, with the grades."""
    attempts = [
        Attempt(text, problem.gold, problem.prompt)
        for row, problem in zip(rows, problems, strict=True)
        for text in row.texts[:-1]
    ]
    with GradePool() as pool:
        graded = iter(pool.grade(attempts))
    return [_with_paths(row, [next(graded) for _ in row.texts[:-1]]) for row in rows]


def _with_paths(row: DecodedProblem, paths: Sequence[Answer]) -> DecodedProblem:
    return dataclasses.replace(
        row,
        path_answers=tuple(path.answer for path in paths),
        path_grades=tuple(path.grade for path in paths),
    )


def release_dropped() -> None:
    """Give back what a model that is used no longer, or a batch that did not fit, still holds.

    A model and the hook in its network name one another, so that counting references frees neither.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class _OneModel:
    """Loads models onto a device; keeps the last one, and drops it before the next."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._reference: ModelReference | None = None
        self._dlm: Dlm | None = None

    def __call__(self, model: ModelReference) -> Dlm:
        if self._dlm is None or model != self._reference:
            if self._dlm is not None:
                self._dlm = None
                release_dropped()
            try:
                self._dlm = load_decoder(model, self.device)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise UserError(
                    f"model {model.path}: does not fit into the memory of {self.device}; take a "
                    "smaller model, or a device with more memory"
                ) from None
            self._reference = model
        return self._dlm


def _rows(
    plan: Plan,
    piece: Piece,
    load: Callable[[ModelReference], Dlm],
    pool: GradePool,
    problems: Sequence[Problem],
) -> Iterator[DecodedProblem]:
    """Decode and grade one batch."""
    evaluation, (system, steps) = plan.evaluation, plan.cells[piece.cell].cell
    where = f"systems.{system.name}"
    dlm = load(system.model)
    layout = layout_for(
        dlm,
        system.form,
        paths=system.paths,
        masks=evaluation.masks,
        summary_tokens=evaluation.summary_tokens,
    )
    requests = requests_of(dlm, layout, problems, system.path_hints, evaluation.seed)
    for name, prompt, own in requests:
        check_length(dlm, own or layout, len(prompt), f"{where}: problem {name!r}")
    try:
        decoded = answers(
            dlm,
            layout,
            requests,
            system.made_rule(),
            steps=steps,
            sampling=evaluation.sampling_of(system),
            precision=evaluation.precision,
            where=where,
            caching=system.cache,
        )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise _does_not_fit(plan, piece, problems) from None
    # Of a text the only slot, of a canvas its paths and then its summary.
    graded = pool.grade(
        [
            Attempt(text, problem.gold, problem.prompt)
            for one, problem in zip(decoded, problems, strict=True)
            for text in one.texts
        ]
    )
    slots = layout.slot_of()
    for number, (problem, (texts, row)) in enumerate(zip(problems, decoded, strict=True)):
        first = number * len(texts)
        *paths, grade = graded[first : first + len(texts)]
        decoded_problem = DecodedProblem(
            id=problem.id,
            gold=problem.gold,
            texts=texts,
            scored=texts[-1],
            answer=grade.answer,
            grade=grade.grade,
            nfe=row.nfe,
            fill_id=dlm.fill_id,
            end_ids=tuple(sorted(dlm.end_ids)),
            steps_K=tuple(c.step for c in row.commits),
            positions_K=tuple(c.position for c in row.commits),
            confidences_K=tuple(c.confidence for c in row.commits),
            tokens_K=tuple(c.token for c in row.commits),
            slots_K=tuple(slots[c.position] for c in row.commits),
            taken_back_K=_taken_back(row),
        )
        yield _with_paths(decoded_problem, paths)


def _does_not_fit(plan: Plan, piece: Piece, problems: Sequence[Problem]) -> DoesNotFitError:
    planned = plan.cells[piece.cell]
    system = planned.cell.system
    first, last = problems[0].id, problems[-1].id
    if planned.batch == 1:
        what = f"problem {first!r} does not fit into the memory by itself"
        advice = "take a smaller model, a device with more memory, or fewer masks"
    else:
        what = f"problems {first!r} to {last!r} do not fit into the memory together"
        advice = f"lower batch, which is {planned.batch}, or set batch to auto"
    return DoesNotFitError(f"systems.{system.name}: {what}; {advice}", system.model, planned.batch)


def _taken_back(row: Decoded) -> tuple[int | None, ...]:
    """The steps at which commits were taken back; empty if none was."""
    steps = tuple(one.taken_back for one in row.commits)
    return steps if any(step is not None for step in steps) else ()


def _cut(problems: Sequence[Problem], size: int) -> Iterator[Sequence[Problem]]:
    return (problems[start : start + size] for start in range(0, len(problems), size))


def _keep_computed(planned: PlannedCell) -> None:
    """Write beside the rows what they are computed with, for a machine of another kind."""
    file = planned.folder / COMPUTED
    if not file.exists():
        text = json.dumps(dataclasses.asdict(planned.facts.machine), indent=1)
        with atomic_write(file, alone=False) as part:
            part.write_text(text + "\n", encoding="utf-8")


def write_rows(file: Path, table: pa.Table) -> None:
    """Write a file of rows, which another process may write at the same time."""
    with atomic_write(file, alone=False) as part:
        pq.write_table(table, part, compression="zstd")
