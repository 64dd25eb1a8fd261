"""Rows of the released dataset: made from a canvas and its scores, read back from Parquet."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curation.canvases import assembly
from schemas import arrow
from schemas.records import (
    Canvas,
    Draws,
    Grade,
    Level,
    Message,
    Released,
    ReleasedPath,
    Scores,
    SeqDep,
)
from support.capacity import raise_if_out_of_memory
from support.errors import DamagedError, first_line
from support.stats import wilson

PATH_TOKENS = "paths.list.element.tokens"  # tokens of every path, as Parquet names the column


def released(canvas: Canvas, scores: Scores) -> Released:
    """The dataset's row for a canvas; ValueError where the scores belong to another prompt."""
    prompt = canvas.prompt
    if scores.prompt_id != prompt.id:
        raise ValueError(f"scores of prompt {scores.prompt_id} given for the canvas of {prompt.id}")
    response = assembly.response(canvas)
    siblings = scores.siblings
    return Released(
        id=prompt.id,
        prompt=prompt.text,
        response=response,
        messages=(
            Message(role="user", content=prompt.text),
            Message(role="assistant", content=response),
        ),
        long_cot=assembly.long_cot_text(canvas),
        gold=canvas.answer or prompt.gold,
        paths=tuple(
            ReleasedPath(
                text=path.text,
                answer=path.answer,
                grade=path.grade,
                tokens=tokens,
                trace=path.trace,
            )
            for path, tokens in zip(canvas.paths, canvas.path_tokens, strict=True)
        ),
        summary=canvas.summary,
        summary_by=canvas.summary_by,
        summary_tokens=canvas.summary_tokens,
        correct_paths=sum(path.grade is Grade.CORRECT for path in canvas.paths),
        similarity=canvas.similarity,
        **_seqdep(Level.PATH, scores.path),
        **_seqdep(Level.STEP, scores.step),
        **_seqdep(Level.WINDOW, scores.window),
        seqdep_is_cut=any(s.is_cut for s in (scores.path, scores.step, scores.window) if s),
        summary_gain_nats=scores.summary_gain,
        sibling_gains=siblings.gains_per_token if siblings else None,
        near_copies=siblings.near_copies if siblings else None,
        scorer=scores.scorer or None,
        scorer_revision=scores.scorer_revision or None,
        source=prompt.source,
        source_row=prompt.row,
        license=prompt.license,
        **_draws(canvas.draws),
    )


def _draws(draws: Draws | None) -> dict[str, Any]:
    """The columns of what was sampled; none where it is not known."""
    if draws is None:
        return {}
    rate = wilson(draws.correct, draws.drawn)
    return {
        "samples_drawn": draws.drawn,
        "samples_correct": draws.correct,
        "stop_reason": draws.stop_reason,
        "pass_rate": rate.value,
        "pass_rate_low": rate.low,
        "pass_rate_high": rate.high,
        "first_round_drawn": draws.first_round_drawn,
        "first_round_correct": draws.first_round_correct,
    }


def _seqdep(level: Level, scores: SeqDep | None) -> dict[str, Any]:
    """The columns of one level; None where nothing was measured."""
    names = ("nats", "nats_per_token", "gains", "tokens")
    return {f"seqdep_{level}_{name}": getattr(scores, name) if scores else None for name in names}


def read_rows(path: Path, *, batch_rows: int = 256) -> Iterator[Released]:
    """The rows of a release file, streamed; DamagedError where it cannot be read."""
    with readable(path) as file:
        for batch in file.iter_batches(batch_size=batch_rows):
            yield from arrow.records(Released, pa.Table.from_batches([batch]))


def finite(batch: pa.RecordBatch, column: str) -> NDArray[np.float64]:
    """The finite values of a column of the release, or of `PATH_TOKENS`."""
    array = (
        batch.column("paths").flatten().field("tokens")
        if column == PATH_TOKENS
        else batch.column(column)
    )
    values = array.to_numpy(zero_copy_only=False).astype(np.float64)
    return np.asarray(values[np.isfinite(values)])


@contextmanager
def readable(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a release file, with checksums verified; DamagedError where it cannot be read."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        raise_if_out_of_memory(error)
        raise DamagedError(
            f"{path}: cannot be read ({first_line(error)}); run polytrace verify"
        ) from None
