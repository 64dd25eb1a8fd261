"""The records of the pipeline: prompts, traces, graded traces, canvases, scores, rejections.

Frozen, slotted, keyword-only dataclasses, and nothing else. `arrow.py` turns them into columns.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Grade(StrEnum):
    """The grade of a trace's answer."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSED = "unparsed"  # no answer could be read from the trace
    TIMEOUT = "timeout"  # the verifier was killed; never counted as right


END_OF_THINKING = "</think>"  # behind it, a reasoning model gives its answer


class FinishReason(StrEnum):
    """Why a teacher stopped writing."""

    STOP = "stop"  # end token or stop string
    LENGTH = "length"  # cut off by the token limit; a label, not an error
    UNKNOWN = "unknown"  # recorded traces often do not say
    NO_END_OF_THINKING = "no_end_of_thinking"  # `part: after_think`, and there is no `</think>`
    NO_CONTENT = "no_content"  # a server's reply with null where its text should be
    REFUSED = "refused"  # a judge's server refused the request; the text says why


class Stage(StrEnum):
    """The stages of a build, in order; each is also the name of its folder."""

    PROMPTS = "prompts"
    TRACES = "traces"
    GRADED = "graded"
    CANVASES = "canvases"
    SUMMARIES = "summaries"  # only where a teacher writes them
    SCORED = "scored"
    RELEASE = "release"


class Level(StrEnum):
    """What a segment is when SeqDep is measured (METHOD section 2)."""

    PATH = "path"
    STEP = "step"
    WINDOW = "window"


class StopReason(StrEnum):
    """Why no more samples of a prompt were drawn."""

    FIXED = "fixed"  # the recipe's number of samples
    TOPPED_UP = "topped_up"  # the same, and spare ones for those that were unusable or alike
    RECORDED = "recorded"  # the source's own traces, and no others
    GROUP_STANDS = "group_stands"  # enough distinct traces, in the wanted mix
    MOST_REACHED = "most_reached"
    GIVEN_UP = "given_up"  # none of a kind that the mix asks for, after `give_up` samples
    REFUSED = "refused"  # the teacher would not answer the prompt
    GRADED_AGAIN = "graded_again"  # its group stood by the verdicts of an earlier grader


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
class SeqDep:
    """Eq. 4 for one text: N segments, N-1 gains.

    `nats` is the mean gain a segment (Eq. 4), `nats_per_token` the summed gain over the summed
    tokens of segments 2 to N; both are None where N < 2. `gains` [N-1] is in nats, `tokens` [N].
    `is_cut`: only the part that fits into the scorer's context was measured.
    """

    level: Level
    nats: float | None
    nats_per_token: float | None
    gains: tuple[float, ...]
    tokens: tuple[int, ...]
    is_cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Siblings:
    """How much the paths of a canvas tell about one another.

    `gains_per_token` [P, P]: nats a token that path j gains from path i before it, at row i and
    column j; None on the diagonal. `near_copies` are the pairs (i, j), 0-based, where path i saves
    at least half of path j's nats, and at least 0.2 nats a token.
    """

    gains_per_token: tuple[tuple[float | None, ...], ...]
    near_copies: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """All scores of one canvas; the defaults are those of a recipe without a scorer.

    `path` is measured on the canvas, `step` and `window` on its long-CoT form; `summary_gain`
    (nats) is log p(S | x, paths) - log p(S | x). `siblings` is measured where the recipe asks.
    """

    prompt_id: str
    path: SeqDep | None = None
    step: SeqDep | None = None
    window: SeqDep | None = None
    summary_gain: float | None = None
    scorer: str = ""
    scorer_revision: str = ""
    siblings: Siblings | None = None


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
