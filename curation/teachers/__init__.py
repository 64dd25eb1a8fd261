"""Teachers, one file each. A teacher turns requests into traces and decides on batching itself."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from schemas.records import Prompt, Trace


class SampleBudget(NamedTuple):
    """How many samples a prompt gets: `required`, and up to `maximum` while too few are usable."""

    required: int
    maximum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A sample that could not be delivered, and why; `retryable` if running again may help.

    What is not retryable is a refusal of the prompt: it is recorded and never asked for again.
    """

    prompt_id: str
    index: int
    reason: str
    detail: str
    retryable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A sample beyond the firm ones that was not needed, and is not asked for."""

    prompt_id: str
    index: int


SampleOutcome = Trace | Failure | Skipped
Outcomes = AsyncIterator[SampleOutcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prompt to be sampled.

    `shard` and `position` say where the prompt stands, so that a teacher can form its batches from
    the shard. `wanted` samples are wanted; those in `missing` (indices below `wanted.maximum`) are
    not yet decided: `have` are the traces that are there, `refusal` says that the prompt was
    refused before. Requests with nothing missing are passed too. `keys` are those of all `wanted`
    samples.
    """

    prompt: Prompt
    shard: int
    position: int
    wanted: SampleBudget
    missing: tuple[int, ...]
    keys: tuple[str, ...]
    have: tuple[Trace, ...] = ()
    refusal: Failure | None = None


Shortfall = Callable[[Prompt, Sequence[Trace]], int]
"""How many more usable, distinct traces a canvas wants beside the given ones; from any thread."""


@runtime_checkable
class ServedTeacher(Protocol):
    """A teacher whose model may be behind servers that somebody else runs."""

    async def reach(self) -> None:
        """Ask the servers, if any are named, whether they are well and serve the model.

        Raises ShortError where none of them answers, UserError where one serves another model.
        """


class Teacher(Protocol):
    """A model, or a record of one, that writes traces.

    `name` and `revision` go into every trace. Nothing is made up: a sample is a Trace, a Failure,
    or a Spare. A teacher that `is_record` hands out what lies in the prompts: that costs nothing to
    have again, and is not journaled.
    """

    name: str
    revision: str
    is_record: bool

    @property
    def note(self) -> str:
        """What the teacher does just now; empty if there is nothing to say."""

    def wanted(self, prompt: Prompt, samples: int) -> SampleBudget:
        """How many samples this prompt gets when the recipe asks for `samples`."""

    def key(self, prompt: Prompt, index: int) -> str:
        """A hash of everything that shapes sample `index`: messages, parameters, seed, model."""

    def sample(self, requests: Iterable[Request], shortfall: Shortfall) -> Outcomes:
        """Consume `requests` lazily; yield one outcome for every missing sample, in any order.

        Raises ShortError where the model cannot be reached any more, UserError for a mistake in
        the recipe that only the model could tell.
        """
