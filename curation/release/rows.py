"""One row of the released dataset, as a record: made from a canvas, read back from Parquet.

In: a canvas and its scores, or a release file. Out: `Released`, whose fields are the columns of
`schemas.arrow.RELEASE`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curation.canvases import assemble
from schemas import arrow
from schemas.records import Canvas, Grade, GradedTrace, Scores, SeqDep, Trace
from support.errors import DamagedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a chat."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedPath:
    """One path of a released row; `text` is `trace.text` up to the end of its answer."""

    text: str
    answer: str | None
    grade: Grade
    tokens: int
    trace: Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """One row of the dataset; the fields are the columns of `schemas.arrow.RELEASE`.

    `seqdep_*`, `sibling_gains` (a token) and `summary_gain_nats` are in nats and None where nothing
    was measured; `seqdep_is_cut` says that some of it was measured on a part of the text only.
    """

    id: str
    prompt: str
    response: str
    messages: tuple[Message, ...]
    long_cot: str
    gold: str
    paths: tuple[ReleasedPath, ...]
    summary: str
    summary_by: str
    summary_tokens: int
    correct_paths: int
    similarity: float
    seqdep_path_nats: float | None
    seqdep_path_nats_per_token: float | None
    seqdep_path_gains: tuple[float, ...] | None
    seqdep_path_tokens: tuple[int, ...] | None
    seqdep_step_nats: float | None
    seqdep_step_nats_per_token: float | None
    seqdep_step_gains: tuple[float, ...] | None
    seqdep_step_tokens: tuple[int, ...] | None
    seqdep_window_nats: float | None
    seqdep_window_nats_per_token: float | None
    seqdep_window_gains: tuple[float, ...] | None
    seqdep_window_tokens: tuple[int, ...] | None
    seqdep_is_cut: bool
    summary_gain_nats: float | None
    sibling_gains: tuple[tuple[float | None, ...], ...] | None
    near_copies: tuple[tuple[int, ...], ...] | None
    scorer: str | None
    scorer_revision: str | None
    source: str
    source_row: int
    license: str


def released(canvas: Canvas, scores: Scores) -> Released:
    """The dataset's row for a canvas; ValueError where the scores belong to another prompt."""
    prompt = canvas.prompt
    if scores.prompt_id != prompt.id:
        raise ValueError(f"scores of prompt {scores.prompt_id} given for the canvas of {prompt.id}")
    response = assemble.response(canvas)
    path_nats, path_mean, path_gains = _columns(scores.path)
    step_nats, step_mean, step_gains = _columns(scores.step)
    window_nats, window_mean, window_gains = _columns(scores.window)
    siblings = scores.siblings
    return Released(
        id=prompt.id,
        prompt=prompt.text,
        response=response,
        messages=(
            Message(role="user", content=prompt.text),
            Message(role="assistant", content=response),
        ),
        long_cot=assemble.long_cot_text(canvas),
        gold=prompt.gold,
        paths=tuple(map(_path, canvas.paths, canvas.path_tokens)),
        summary=canvas.summary,
        summary_by=canvas.summary_by,
        summary_tokens=canvas.summary_tokens,
        correct_paths=sum(path.grade is Grade.CORRECT for path in canvas.paths),
        similarity=canvas.similarity,
        seqdep_path_nats=path_nats,
        seqdep_path_nats_per_token=path_mean,
        seqdep_path_gains=path_gains,
        seqdep_path_tokens=scores.path.tokens if scores.path else None,
        seqdep_step_nats=step_nats,
        seqdep_step_nats_per_token=step_mean,
        seqdep_step_gains=step_gains,
        seqdep_step_tokens=scores.step.tokens if scores.step else None,
        seqdep_window_nats=window_nats,
        seqdep_window_nats_per_token=window_mean,
        seqdep_window_gains=window_gains,
        seqdep_window_tokens=scores.window.tokens if scores.window else None,
        seqdep_is_cut=any(s.is_cut for s in (scores.path, scores.step, scores.window) if s),
        summary_gain_nats=scores.summary_gain,
        sibling_gains=siblings.gains_per_token if siblings else None,
        near_copies=siblings.near_copies if siblings else None,
        scorer=scores.scorer or None,
        scorer_revision=scores.scorer_revision or None,
        source=prompt.source,
        source_row=prompt.row,
        license=prompt.license,
    )


def _path(graded: GradedTrace, tokens: int) -> ReleasedPath:
    return ReleasedPath(
        text=graded.text,
        answer=graded.answer,
        grade=graded.grade,
        tokens=tokens,
        trace=graded.trace,
    )


def _columns(
    seqdep: SeqDep | None,
) -> tuple[float | None, float | None, tuple[float, ...] | None]:
    if seqdep is None:
        return None, None, None
    return seqdep.nats, seqdep.nats_per_token, seqdep.gains


def read_rows(path: Path, *, batch_rows: int = 256) -> Iterator[Released]:
    """The rows of a release file, streamed; DamagedError where it cannot be read."""
    with readable(path) as file:
        for batch in file.iter_batches(batch_size=batch_rows):
            yield from arrow.records(Released, pa.Table.from_batches([batch]))


@contextmanager
def readable(path: Path) -> Iterator[pq.ParquetFile]:
    """A release file, checked as it is read; DamagedError where it cannot be."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        message = next(iter(str(error).splitlines()), type(error).__name__)
        raise DamagedError(f"{path}: cannot be read ({message}); run polytrace verify") from None
