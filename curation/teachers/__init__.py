"""Teachers, one file each. A teacher turns requests into traces and decides on batching itself."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Protocol

from schemas.records import Prompt, Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prompt to be sampled.

    `shard` and `position` say where the prompt stands, so that a teacher can form its batches from
    the shard. `total` samples are wanted; those in `missing` (indices below `total`) are not yet
    paid for. Requests with nothing missing are passed too.
    """

    prompt: Prompt
    shard: int
    position: int
    total: int
    missing: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A sample that could not be delivered, and why; `retryable` if running again may help."""

    prompt_id: str
    index: int
    reason: str
    detail: str
    retryable: bool


class Teacher(Protocol):
    """A model, or a record of one, that writes traces.

    `name` and `revision` go into every trace. Nothing is made up: a sample is a Trace or a Failure.
    """

    name: str
    revision: str

    def wanted(self, prompt: Prompt, samples: int) -> int:
        """How many samples this prompt gets when the recipe asks for `samples`."""

    def key(self, prompt: Prompt, index: int) -> str:
        """A hash of everything that shapes sample `index`: messages, parameters, seed, model."""

    def sample(self, requests: Iterable[Request]) -> AsyncIterator[Trace | Failure]:
        """Consume `requests` lazily; yield one outcome for every missing sample, in any order."""
