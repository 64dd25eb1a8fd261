"""Evaluate systems on a benchmark: decode, grade, count. Continues where it stopped.

In: an evaluation and a run directory. Out, in that directory: `cells/NAME-STEPS-DIGEST.parquet`
(every decoded problem with its commits), `results.json` and `results.parquet` (a line a cell). An
incomplete cell is a folder, `cells/NAME-STEPS-DIGEST/` with `rows-NNNNN.parquet`. Each of these
files is written whole, and only once. The digest changes with the model, the benchmark and the
settings, and with what `computed.py` lists, so that no cell mixes rows of two.
"""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from diffusion import models
from diffusion.data.layout import encode_prompt
from diffusion.decoding.decode import Decoded, Request
from diffusion.evaluation.answers import answers, check_decodable, layout_for, load_decoder
from diffusion.evaluation.benchmarks import Problem
from diffusion.evaluation.computed import computed
from diffusion.evaluation.results import RESULTS, DecodedProblem, Result, result
from diffusion.evaluation.settings import (
    BENCHMARKS,
    ROWS_PER_FILE,
    RULES,
    Cell,
    Evaluation,
    System,
    part,
)
from diffusion.models.network.denoiser import Dlm
from diffusion.settings import ModelReference, digest_of
from schemas import arrow
from scorers.answers.grade import GRADING, Attempt, GradePool
from support import plugins
from support.display.progress import Progress
from support.errors import DamagedError, UserError
from support.files import atomic_write, replace_text


def evaluate_cells(
    evaluation: Evaluation, out: Path, *, say: Callable[[str], None] = print
) -> list[Result]:
    """The results of all cells, in order.

    Raises UserError if a model, a rule or the benchmark cannot be loaded, DamagedError if a file of
    rows cannot be read.
    """
    problems: list[Problem] = part(BENCHMARKS, evaluation.benchmark, "benchmark")
    problems = problems[: evaluation.limit]
    if not problems:
        raise UserError("benchmark: holds no problem")
    problems_digest = digest_of([GRADING, problems])
    cells = evaluation.cells()
    for cell in cells:
        _check(cell.system)
    machines = {
        model: computed(evaluation, models.attention_of(model))
        for model in dict.fromkeys(cell.system.model for cell in cells)
    }
    say(
        f"{len(cells)} cells x {len(problems)} problems on "
        + "; ".join(map(str, dict.fromkeys(machines.values())))
    )
    results = []
    load_once = lru_cache(maxsize=1)(load_decoder)
    with (
        GradePool() as pool,
        Progress(evaluation.name, "problems", total=len(cells) * len(problems)) as bar,
    ):
        for cell in cells:
            machine = machines[cell.system.model]
            model = models.located(cell.system.model)
            facts = (
                model.revision,
                problems_digest,
                dataclasses.asdict(machine),
                *_distributions(cell),
            )
            file = _file(evaluation, cell, facts, out)
            _report_other_rows(file, bar)
            rows = _Work(evaluation, cell, load_once, pool, bar).all_rows(problems, file)
            one = result(evaluation, cell, f"cells/{file.name}", rows, machine)
            results.append(dataclasses.replace(one, model=model.name, revision=model.revision))
            bar.write(_line(results[-1]))
    text = json.dumps([dataclasses.asdict(one) for one in results], indent=1)
    replace_text(out / "results.json", text + "\n")
    _write(out / RESULTS, arrow.table(Result, results))
    for one in results:  # not earlier: results that were published before may name a folder
        shutil.rmtree(_folder(out / one.rows), ignore_errors=True)
    return results


def _check(system: System) -> None:
    """Raise UserError if the system's model cannot be decoded so; loads no weights."""
    block = models.identify(models.located(system.model).folder).block
    check_decodable(system.made_rule(), block, system.cache, f"systems.{system.name}")


class _Work(NamedTuple):
    """Decodes and grades the rows of one cell."""

    evaluation: Evaluation
    cell: Cell
    load: Callable[[ModelReference], Dlm]
    pool: GradePool
    bar: Progress

    def all_rows(self, problems: Sequence[Problem], file: Path) -> list[DecodedProblem]:
        """The cell's rows, from `file` if it exists; else they are decoded and written there."""
        if file.exists():
            self.bar.update(len(problems))
            return _read(file, problems)
        rows: list[DecodedProblem] = []
        for number, some in enumerate(_cut(problems, ROWS_PER_FILE)):
            part_file = _folder(file) / f"rows-{number:05d}.parquet"
            if part_file.exists():
                self.bar.update(len(some))
            else:
                batches = map(self.rows, _cut(some, self.evaluation.rows_at_once))
                _write(part_file, arrow.table(DecodedProblem, chain.from_iterable(batches)))
            rows += _read(part_file, some)
        _write(file, arrow.table(DecodedProblem, rows))
        return rows

    def rows(self, problems: Sequence[Problem]) -> Iterator[DecodedProblem]:
        """Decode and grade one batch."""
        evaluation, system = self.evaluation, self.cell.system
        dlm = self.load(system.model)
        layout = layout_for(
            dlm,
            system.form,
            paths=system.paths,
            masks=evaluation.masks,
            summary_tokens=evaluation.summary_tokens,
        )
        decoded = answers(
            dlm,
            layout,
            [Request(p.id, encode_prompt(dlm.tokenizer, p.prompt)) for p in problems],
            system.made_rule(),
            steps=self.cell.steps,
            sampling=evaluation.sampling,
            precision=evaluation.precision,
            where=f"systems.{system.name}",
            caching=system.cache,
        )
        grades = self.pool.grade(
            [Attempt(a.scored, p.gold, p.prompt) for a, p in zip(decoded, problems, strict=True)]
        )
        self.bar.update(len(problems))
        slots = layout.slot_of()
        for problem, (texts, row), grade in zip(problems, decoded, grades, strict=True):
            yield DecodedProblem(
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


def _taken_back(row: Decoded) -> tuple[int | None, ...]:
    """The steps at which commits were taken back; empty if none was."""
    steps = tuple(one.taken_back for one in row.commits)
    return steps if any(step is not None for step in steps) else ()


def _file(evaluation: Evaluation, cell: Cell, facts: Sequence[object], out: Path) -> Path:
    digest = evaluation.digest(cell, facts)
    name = re.sub(r"[^A-Za-z0-9.]+", "_", cell.system.name).strip("_.") or "system"
    return out / "cells" / f"{name}-{cell.steps or 'own'}-{digest}.parquet"


def _folder(file: Path) -> Path:
    """The folder that holds the rows of an incomplete cell."""
    return file.with_name(file.name.removesuffix(".parquet"))


def _distributions(cell: Cell) -> list[plugins.Plugin]:
    """The distribution of a plugged-in rule: another version of it may decode otherwise."""
    origin = plugins.origin(RULES, str(cell.system.rule["kind"]))
    return [origin] if origin else []


def _report_other_rows(file: Path, bar: Progress) -> None:
    """Say so if there are rows of this system by another model, setting or machine."""
    name = file.name.rpartition("-")[0]
    is_begun = file.exists() or _folder(file).exists()
    if not is_begun and any(file.parent.glob(f"{name}-{'?' * 16}*")):
        bar.write(f"{name}: decoded anew; the rows there are of another model, setting or machine")


def _cut(problems: Sequence[Problem], size: int) -> Iterator[Sequence[Problem]]:
    return (problems[start : start + size] for start in range(0, len(problems), size))


def _write(file: Path, table: pa.Table) -> None:
    with atomic_write(file) as part:
        pq.write_table(table, part, compression="zstd")


def _read(file: Path, problems: Sequence[Problem]) -> list[DecodedProblem]:
    try:
        rows = list(arrow.records(DecodedProblem, pq.read_table(file)))
    except (OSError, pa.ArrowException, TypeError, ValueError, KeyError) as error:
        raise DamagedError(f"{file}: cannot be read ({error}); delete it and run again") from None
    if [row.id for row in rows] != [problem.id for problem in problems]:
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
