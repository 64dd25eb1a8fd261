"""What flows through the stages: prompts, traces, graded traces, canvases and rejections."""

from dataclasses import dataclass
from typing import NamedTuple

from schemas.records.terms import FinishReason, Grade, Stage, StopReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """How many samples of a prompt were drawn, and how many of them are right.

    The first round is drawn whatever comes of it; what follows depends on what came before.
    """

    drawn: int
    correct: int
    first_round_drawn: int
    first_round_correct: int
    stop_reason: StopReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A trace that a source already holds."""

    text: str
    model: str | None = None
    correct: bool | None = None  # the source's own label
    finish_reason: FinishReason = FinishReason.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One problem with its gold answer.

    `id` is a hash of the text alone, `row` the 1-based row of `source` it came from. What a grader
    may need besides the gold: `choices`, the texts of the options in order; `more_golds`, further
    texts that are right; `tests` of a program, as text.
    """

    id: str
    text: str
    gold: str
    source: str
    row: int
    license: str
    recorded: tuple[Recorded, ...] = ()
    choices: tuple[str, ...] = ()
    more_golds: tuple[str, ...] = ()
    tests: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One reasoning path as the teacher wrote it, with everything that shaped it.

    `index` is the sample's number within its prompt; `key` hashes all that determines the sample.
    """

    prompt_id: str
    index: int
    key: str
    text: str
    teacher: str
    revision: str
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    seed: int | None
    hint: str | None
    finish_reason: FinishReason
    prompt_tokens: int | None
    completion_tokens: int | None
    recorded_correct: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedTrace:
    """A trace with its grade; `text` is the trace up to the end of its answer (no run-on)."""

    trace: Trace
    text: str
    grade: Grade
    answer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """P paths and a summary for one prompt: one training instance (Eq. 5, Li et al. 2026).

    `path_tokens` [P] and `summary_tokens` are lengths under the widest of the recipe's tokenizers;
    `similarity` is the highest similarity of two of its paths, in [0, 1]. `answer` is what the
    summary ends in: the gold answer, as the grader writes it (empty in canvases of version 0.1,
    whose summaries end in the gold). `draws` is None in canvases of earlier versions.
    """

    prompt: Prompt
    paths: tuple[GradedTrace, ...]
    summary: str
    summary_by: str  # "template", or the teacher that wrote it
    path_tokens: tuple[int, ...]
    summary_tokens: int
    similarity: float
    answer: str = ""
    draws: Draws | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A prompt or a trace that was dropped: where, and why.

    `index` is None when the whole prompt was dropped; `reason` is a fixed slug, `detail` a
    sentence.
    """

    stage: Stage
    prompt_id: str
    source: str
    row: int
    index: int | None
    reason: str
    detail: str


class Verdict(NamedTuple):
    """The decision of a filter about a canvas; `reason` is empty if the canvas is kept."""

    keep: bool
    reason: str = ""
    detail: str = ""
