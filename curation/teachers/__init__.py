"""Teachers, one file each. A teacher turns requests into traces and decides on batching itself."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from schemas.records import Prompt, Trace
from schemas.samples import Rounds


class SampleBudget(NamedTuple):
    """How many samples a prompt gets: `required`, and up to `maximum` while too few are usable."""

    required: int
    maximum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A sample that could not be delivered, and why; `retryable` if running again may help.

    Otherwise the teacher refused the prompt: that is recorded, and it is not requested again.
    """

    prompt_id: str
    index: int
    reason: str
    detail: str
    retryable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A sample beyond the required ones that is not needed and was not requested."""

    prompt_id: str
    index: int


SampleOutcome = Trace | Failure | Skipped
Outcomes = AsyncIterator[SampleOutcome]


def _never() -> bool:
    return False


def _ignore(prompt_tokens: int, completion_tokens: int) -> None:
    pass


def _keep_nothing(traces: Sequence[Trace]) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prompt to be sampled.

    `shard` and `position` are the prompt's place in the corpus, so that a teacher can form its
    batches from the shard. `missing` are the indices, below `wanted.maximum`, of samples without an
    outcome; `have` are the traces that exist; `refusal` is set where the prompt was refused before.
    `keys` holds the key of every sample below `wanted.maximum`. The samples below `recorded` are in
    the prompt's record, and cost nothing. `in_rounds`: the recipe asks for rounds, so that no more
    samples may be drawn at a time than the shortfall says. Requests with nothing missing are passed
    to the teacher, too. `is_stopped` turns true when the build's budget is spent: then no more
    requests come, no prompt lacks a trace any more, and what was not sent yet need not be. A
    teacher that lets replies wait may call `expect` with their tokens, read and written, as they
    come, so that the budget's end shows before their outcomes are yielded, and `keep` with their
    traces, in the thread that takes its outcomes, so that a kill costs none of them.
    """

    prompt: Prompt
    shard: int
    position: int
    wanted: SampleBudget
    missing: tuple[int, ...]
    keys: tuple[str, ...]
    have: tuple[Trace, ...] = ()
    refusal: Failure | None = None
    recorded: int = 0
    in_rounds: bool = False
    is_stopped: Callable[[], bool] = _never
    expect: Callable[[int, int], None] = _ignore
    keep: Callable[[Sequence[Trace]], None] = _keep_nothing

    @property
    def lacks_required(self) -> bool:
        """Whether a sample is missing that is wanted in any case, and has to be drawn."""
        return any(self.recorded <= index < self.wanted.required for index in self.missing)


Shortfall = Callable[[Prompt, Sequence[Trace]], int]
"""How many more samples a prompt needs, given all of its traces so far; callable in any thread.

That is how many usable, distinct traces it lacks or, where samples are drawn in rounds, the size of
the next round. It may grade the traces, which can take seconds: see `is_slow` and `at_once`.
"""


AT_A_TIME = 16


def is_slow(shortfall: Shortfall) -> bool:
    """Whether it grades, so that nothing that must not wait may call it."""
    return bool(getattr(shortfall, "grades", False))


def most_at_a_time(shortfall: Shortfall) -> int:
    """In how many threads one that `is_slow` may be asked: few where it works in this machine."""
    return int(getattr(shortfall, "most_at_a_time", AT_A_TIME))


def at_once(shortfall: Shortfall, prompt: Prompt, traces: Sequence[Trace]) -> int | None:
    """What it says, where it need not wait to say so; None where it has to be asked in a thread."""
    if not is_slow(shortfall):
        return shortfall(prompt, traces)
    known: int | None = shortfall.at_once(prompt, traces) if hasattr(shortfall, "at_once") else None
    return known


@runtime_checkable
class ServedTeacher(Protocol):
    """A teacher whose model may be behind servers that others run."""

    async def reach(self) -> None:
        """Ask the servers, if any are named, whether they are well and serve the model.

        Raises ShortError where none of them answers, UserError where one serves another model.
        """


@runtime_checkable
class HoldsRecord(Protocol):
    """A teacher that may draw samples beside those that a prompt's source has recorded."""

    def recorded(self, prompt: Prompt) -> int:
        """How many samples of a prompt are recorded; they come first."""


class Teacher(Protocol):
    """A model, or a record of one, that writes traces.

    `name` and `revision` go into every trace. Every sample becomes a Trace, a Failure or Skipped. A
    teacher that `is_record` yields traces that the prompts hold already: they cost nothing to get
    again, and are not journaled.
    """

    name: str
    revision: str
    is_record: bool

    @property
    def note(self) -> str:
        """What the teacher is doing now, for the progress bar; may be empty."""

    def wanted(self, prompt: Prompt, samples: int) -> SampleBudget:
        """How many samples this prompt gets when the recipe asks for `samples`.

        A recipe that samples in rounds asks twice (`budget`): for one round, and for all of them.
        """

    def key(self, prompt: Prompt, index: int) -> str:
        """A hash of all that shapes sample `index`: messages, parameters, seed, model."""

    def sample(self, requests: Iterable[Request], shortfall: Shortfall) -> Outcomes:
        """Consume `requests` lazily; yield one outcome for every missing sample, in any order.

        Raises ShortError where the model cannot be reached any more, UserError for a mistake in
        the recipe that only the model could tell.
        """


def recorded_samples(teacher: Teacher) -> Callable[[Prompt], int]:
    """How many samples of a prompt its teacher does not draw, because they are recorded."""
    # Asked once: to look for the methods of a protocol takes longer than all else for a prompt.
    return teacher.recorded if isinstance(teacher, HoldsRecord) else lambda prompt: 0


def sample_budget(teacher: Teacher, prompt: Prompt, samples: int | Rounds) -> SampleBudget:
    """How many samples a teacher gives a prompt: the recipe's number, or a first round and more.

    Required is what it would give for one round (recorded traces all count as drawn), maximum what
    it would give for `most`, but no more than that.
    """
    if isinstance(samples, int):
        return teacher.wanted(prompt, samples)
    first = teacher.wanted(prompt, samples.per_round).required
    most = min(teacher.wanted(prompt, samples.most).maximum, samples.most)
    return SampleBudget(first, max(first, most))
