"""The rows of the released dataset."""

from dataclasses import dataclass

from schemas.records.flow import Trace
from schemas.records.terms import Grade, StopReason


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
    """One row of the released dataset; `arrow.RELEASE` has its fields as columns.

    `seqdep_*`, `sibling_gains` (a token) and `summary_gain_nats` are in nats and None where nothing
    was measured; `seqdep_is_cut` says that some of it was measured on a part of the text only.
    `pass_rate` is the share of right samples among all that were drawn, with its 95 % interval; the
    last eight fields are None in releases of earlier versions.
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
    samples_drawn: int | None = None
    samples_correct: int | None = None
    stop_reason: StopReason | None = None
    pass_rate: float | None = None
    pass_rate_low: float | None = None
    pass_rate_high: float | None = None
    first_round_drawn: int | None = None
    first_round_correct: int | None = None
