"""Directories of evaluations that were not decoded: results and rows as a test wants them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from diffusion.data.layout import Form
from diffusion.decoding import Order
from diffusion.decoding.sampling import Fill
from diffusion.evaluation.results import RESULTS, Result
from diffusion.evaluation.rows import DecodedProblem
from diffusion.evaluation.settings import Training
from schemas import arrow
from schemas.records import Grade
from support.stats import wilson


def problem(number: int, *, right: bool, **changes: Any) -> DecodedProblem:
    """A decoded problem of two commits, from left to right."""
    fields: dict[str, Any] = {
        "id": str(number),
        "gold": "1",
        "texts": ("1" if right else "2",),
        "scored": "1" if right else "2",
        "answer": "1" if right else "2",
        "grade": Grade.CORRECT if right else Grade.WRONG,
        "nfe": 2,
        "fill_id": 0,
        "end_ids": (0,),
        "steps_K": (0, 1),
        "positions_K": (3, 4),
        "confidences_K": (1.0, 1.0),
        "tokens_K": (5, 6),
        "slots_K": (0, 0),
    }
    return DecodedProblem(**{**fields, **changes})


def canvas(number: int, answers: Sequence[str | None], *, right: bool) -> DecodedProblem:
    """A canvas whose paths have these answers; 1 is right, None is no answer."""
    grades = {"1": Grade.CORRECT, None: Grade.UNPARSED}
    return problem(
        number,
        right=right,
        texts=(*(f"It is {answer}." for answer in answers), "It is 1." if right else "It is 2."),
        path_answers=tuple(answers),
        path_grades=tuple(grades.get(answer, Grade.WRONG) for answer in answers),
    )


def cell(
    system: str,
    rows: Sequence[DecodedProblem],
    training: Training = Training.NAP,
    order: Order = Order.FORCED,
    **changes: Any,
) -> tuple[Result, Sequence[DecodedProblem]]:
    """The result of rows at 39 steps, and the rows."""
    is_canvas = training is Training.NAP or order is Order.FORCED
    right = sum(row.grade is Grade.CORRECT for row in rows)
    accuracy, low, high = wilson(right, len(rows))
    paths = changes.get("paths", 3 if is_canvas else 1)
    fields: dict[str, Any] = {
        "system": system,
        "benchmark": "tiny",
        "base": "tiny",
        "training": training,
        "tuned_paths": paths,
        "order": order,
        "rule": "parallel_forced" if order is Order.FORCED else "confidence",
        "cache": None,
        "form": Form.CANVAS if is_canvas else Form.LONG_COT,
        "paths": paths,
        "masks": 156,
        "temperature": 0.0,
        "fill": Fill.FREE,
        "seed": 0,
        "steps": 39,
        "rows": "",
        "count": len(rows),
        "right": right,
        "unread": 0,
        "accuracy": accuracy,
        "low": low,
        "high": high,
        "nfe": 39.0,
        "tokens_per_step": 4.0,
        "content_tokens_per_step": 2.0,
        "arness": 0.5,
        "arness_low": 0.4,
        "arness_high": 0.6,
        "chance": 0.1,
        "corrected": 0.4,
        "local": 0.3,
        "content_arness": 0.25,
        "content_corrected": 0.2,
        "content_local": 0.1,
        "by_slot": (0.5,),
    }
    return Result(**{**fields, **changes}), rows


def write_run(run: Path, cells: Sequence[tuple[Result, Sequence[DecodedProblem]]]) -> Path:
    """A directory as `polytrace evaluate` leaves it; the directory."""
    (run / "cells").mkdir(parents=True)
    results = []
    for number, (result, rows) in enumerate(cells):
        file = f"cells/{number}.parquet"
        pq.write_table(arrow.table(DecodedProblem, rows), run / file)
        values = {name: getattr(result, name) for name in result.__slots__}
        results.append(Result(**{**values, "rows": file}))
    pq.write_table(arrow.table(Result, results), run / RESULTS)
    return run
