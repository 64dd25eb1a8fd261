"""Teacher `recorded`: the traces that the source already holds. Flows in: prompts with traces.

Flows out: one trace for each, in the source's order, under the name of the model that wrote it.
Nothing is sampled, so sampling parameters and token counts are unknown (None).
"""

from collections.abc import AsyncIterator, Iterable

from curation.teachers import Failure, Request
from curation.teachers._part import Part, take
from schemas.recipe import digest
from schemas.records import Prompt, Trace

TEMPLATE_VERSION = 1


def build(part: Part = "full") -> "RecordedTeacher":
    """The recorded traces; `part: after_think` keeps what follows the last `</think>`."""
    return RecordedTeacher(part)


class RecordedTeacher:
    """Hands out `Prompt.recorded`."""

    def __init__(self, part: Part) -> None:
        self.name = "recorded"
        self.revision = "recorded"
        self._part = part

    def wanted(self, prompt: Prompt, samples: int) -> int:
        """All that is recorded, whatever the recipe asks for: surplus traces are chosen from."""
        return len(prompt.recorded)

    def key(self, prompt: Prompt, index: int) -> str:
        """A hash of prompt, index, part and the record itself."""
        record = prompt.recorded[index]
        return digest(
            [
                "recorded",
                TEMPLATE_VERSION,
                prompt.id,
                index,
                self._part,
                record.model,
                record.text,
                record.correct,
                record.finish_reason,
            ]
        )

    async def sample(self, requests: Iterable[Request]) -> AsyncIterator[Trace | Failure]:
        """The missing traces in order."""
        for request in requests:
            for index in request.missing:
                yield self._trace(request.prompt, index)

    def _trace(self, prompt: Prompt, index: int) -> Trace:
        record = prompt.recorded[index]
        return Trace(
            prompt_id=prompt.id,
            index=index,
            key=self.key(prompt, index),
            text=take(record.text, self._part),
            teacher=record.model or self.name,
            revision=self.revision,
            temperature=None,
            top_p=None,
            max_tokens=None,
            seed=None,
            hint=None,
            finish_reason=record.finish_reason,
            prompt_tokens=None,
            completion_tokens=None,
            recorded_correct=record.correct,
        )
