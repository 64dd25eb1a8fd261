"""What an evaluation has to decode: cells with the digests of their rows, cut into pieces.

A piece is a few batches of one cell, and one file of its rows. A batch holds consecutive problems,
and always the same ones, so that no row depends on which process decodes its piece, or when. What
several processes or machines share are pieces.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from diffusion import models
from diffusion.evaluation.answers import check_decodable
from diffusion.evaluation.benchmarks import Problem
from diffusion.evaluation.computed import Computed, attention_of, computed, rows_that_fit
from diffusion.evaluation.settings import BENCHMARKS, MOST_ROWS, RULES, Cell, Evaluation, part
from diffusion.settings import ModelReference, digest_of
from scorers.answers.grade import GRADING
from support import plugins
from support.errors import UserError

LEAST_ROWS = 8  # of a piece, in whole batches; a killed process decodes one piece again


class Shard(NamedTuple):
    """The `number`-th of so many `shards` of all pieces, counted from 1."""

    number: int
    shards: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """From `2/4`; UserError if there is no such share."""
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise UserError(f"--shard {text!r}: write I/N, such as 2/4, with I from 1 to N")
        return cls(int(found[1]), int(found[2]))


class Facts(NamedTuple):
    """What shapes the rows of a cell, beside the settings; all of it is in its digest.

    `revision` of the model's files, digest of the problems and of how they are graded, the machine,
    and the distribution of a plugged-in rule (another version of it may decode otherwise).
    """

    revision: str
    problems: str
    machine: Computed
    rule: plugins.Plugin | None


class PlannedCell(NamedTuple):
    """A cell, the facts that shape it, and the file of all its rows."""

    cell: Cell
    facts: Facts
    file: Path

    @property
    def folder(self) -> Path:
        """The folder that holds the rows of an incomplete cell."""
        return self.file.with_name(self.file.name.removesuffix(".parquet"))

    @property
    def batch(self) -> int:
        """Rows that are decoded together."""
        return self.facts.machine.batch

    @property
    def is_begun(self) -> bool:
        """Whether some of its rows are there."""
        return self.file.exists() or self.folder.exists()

    def __str__(self) -> str:
        """As messages name it."""
        return f"{self.cell.system.name}, {self.cell.steps or 'own'} steps"


class Piece(NamedTuple):
    """The problems from `first` up to `end` of the `cell`-th cell; its `number`-th file of rows."""

    cell: int
    number: int
    first: int
    end: int

    @property
    def rows(self) -> int:
        """How many problems it has."""
        return self.end - self.first


class Plan(NamedTuple):
    """All cells of an evaluation, and the problems of each."""

    evaluation: Evaluation
    problems: Sequence[Problem]
    cells: Sequence[PlannedCell]

    def pieces_of(self, cell: int) -> list[Piece]:
        """The pieces of a cell, in the order of the problems."""
        batch, count = self.cells[cell].batch, len(self.problems)
        size = batch * -(-LEAST_ROWS // batch)
        starts = enumerate(range(0, count, size))
        return [Piece(cell, number, at, min(at + size, count)) for number, at in starts]

    def pieces(self) -> list[Piece]:
        """Those of all cells, of each that with the longest prompt first.

        So a batch that does not fit into the memory shows at once.
        """

        def longest(piece: Piece) -> int:
            return -max(len(one.prompt) for one in self.problems[piece.first : piece.end])

        cells = range(len(self.cells))
        return [piece for cell in cells for piece in sorted(self.pieces_of(cell), key=longest)]

    def missing(self, among: Iterable[Piece]) -> list[Piece]:
        """Those whose rows are not there."""
        whole = [cell.file.exists() for cell in self.cells]
        return [one for one in among if not whole[one.cell] and not self.file(one).exists()]

    def file(self, piece: Piece) -> Path:
        """The file of a piece's rows."""
        return self.cells[piece.cell].folder / f"rows-{piece.number:05d}.parquet"

    def named(self, piece: Piece) -> str:
        """A piece as messages name it."""
        first, last = self.problems[piece.first].id, self.problems[piece.end - 1].id
        which = f"problem {first!r}" if first == last else f"problems {first!r} to {last!r}"
        return f"{which} of {self.cells[piece.cell]}"


def plan(
    evaluation: Evaluation,
    out: Path,
    device: str,
    *,
    most: Mapping[ModelReference, int] | None = None,
    batches: Sequence[int] | None = None,
    sharing: int = 1,
) -> Plan:
    """What is to be decoded on a device; loads no weights.

    Where the memory decides how many rows are decoded together: not more than `most` of a model,
    on a device that `sharing` processes share; rows that are there decide first. `batches` says it
    for every cell. Raises UserError for a benchmark, a model or a rule that cannot be used.
    """
    problems, digest = problems_of(evaluation)
    for system in evaluation.systems:
        block = models.identify(models.located(system.model).folder).block
        check_decodable(system.made_rule(), block, system.cache, f"systems.{system.name}")
    nets = {
        model: models.blank_model(model)
        for model in dict.fromkeys(system.model for system in evaluation.systems)
    }
    cells = []
    for number, cell in enumerate(evaluation.cells()):
        net = nets[cell.system.model]
        machine = computed(evaluation, attention_of(net), 1, device)

        def planned(batch: int, cell: Cell = cell, machine: Computed = machine) -> PlannedCell:
            made = dataclasses.replace(machine, batch=batch)
            return planned_cell(evaluation, cell, digest, made, out)

        if batches is not None:
            batch = batches[number]
        elif (batch := evaluation.rows_at_once or 0) == 0:
            limit = (most or {}).get(cell.system.model, MOST_ROWS)
            longest = max(len(problem.prompt) for problem in problems)
            hints = sorted(map(len, cell.system.path_hints))
            longest += sum(hints[-cell.system.paths :])
            batch = _begun(planned, limit) or min(
                limit, rows_that_fit(net, evaluation, longest, device, sharing)
            )
        cells.append(planned(batch))
    return Plan(evaluation, problems, cells)


def problems_of(evaluation: Evaluation) -> tuple[list[Problem], str]:
    """The problems, and the digest of these and of how they are graded; UserError without any."""
    problems: list[Problem] = part(BENCHMARKS, evaluation.benchmark, "benchmark")
    problems = problems[: evaluation.limit]
    if not problems:
        raise UserError("benchmark: holds no problem")
    return problems, digest_of([GRADING, problems])


def planned_cell(
    evaluation: Evaluation, cell: Cell, problems: str, machine: Computed, out: Path
) -> PlannedCell:
    """The cell with its facts, and the file that is named by their digest."""
    revision = models.located(cell.system.model).revision
    rule = plugins.origin(RULES, str(cell.system.rule["kind"]))
    shaping = (revision, problems, machine.facts(), *([rule] if rule else []))
    file = f"{cell_name(cell)}-{evaluation.digest(cell, shaping)}.parquet"
    return PlannedCell(cell, Facts(revision, problems, machine, rule), out / "cells" / file)


def cell_name(cell: Cell) -> str:
    """What the names of a cell's files begin with, before the digest."""
    name = re.sub(r"[^A-Za-z0-9.]+", "_", cell.system.name).strip("_.") or "system"
    return f"{name}-{cell.steps or 'own'}"


def _begun(planned: Callable[[int], PlannedCell], most: int) -> int | None:
    """How many rows at once the rows that are there have, if there are any.

    Of an incomplete cell, whose other rows have to be decoded, at most `most`.
    """
    for size in (1 << power for power in reversed(range(MOST_ROWS.bit_length()))):
        cell = planned(size)
        if cell.file.exists() or (size <= most and cell.is_begun):
            return size
    return None
