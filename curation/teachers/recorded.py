"""Teacher `recorded`: the traces that the source already holds.

Each comes out as one trace, in the source's order, under the name of the model that wrote it.
Nothing is sampled, so sampling parameters and token counts are unknown (None). With `top_up`,
another teacher writes the traces that a prompt still lacks to make a canvas.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from dataclasses import replace

from curation.teachers import Outcomes, Request, SampleBudget, ServedTeacher, Shortfall, Teacher
from curation.teachers._part import ReplyPart, take
from schemas.recipe import Part, digest
from schemas.records import Prompt, Trace
from support import plugins

TEMPLATE_VERSION = 1


def build(part: ReplyPart = "full", top_up: Part | None = None) -> "RecordedTeacher":
    """The recorded traces; `part: after_think` keeps what follows the last `</think>`.

    `top_up` is a teacher (its `kind` and options) that can give spare samples.
    """
    served: Teacher | None = None
    if top_up is not None:
        served = plugins.build("curation.teachers", top_up.kind, top_up.options, "teacher.top_up")
    return RecordedTeacher(part, served)


class RecordedTeacher:
    """Yields `Prompt.recorded` as traces, and has `served` write those that are missing."""

    def __init__(self, part: ReplyPart, served: Teacher | None = None) -> None:
        self.name = "recorded"
        self.revision = "recorded"
        self.is_record = served is None
        self._part = part
        self._served = served

    @property
    def note(self) -> str:
        """What the other teacher does."""
        return self._served.note if self._served else ""

    def recorded(self, prompt: Prompt) -> int:
        """All of them."""
        return len(prompt.recorded)

    def wanted(self, prompt: Prompt, samples: int) -> SampleBudget:
        """All recorded traces, whatever the recipe asks for: a canvas chooses among them."""
        recorded = len(prompt.recorded)
        spares = self._served.wanted(prompt, samples).maximum if self._served is not None else 0
        return SampleBudget(recorded, recorded + spares)

    def key(self, prompt: Prompt, index: int) -> str:
        """A hash of prompt, index, part and the record itself."""
        if self._served is not None and index >= len(prompt.recorded):
            return self._served.key(prompt, index)
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

    async def reach(self) -> None:
        """Ask the servers of the other teacher, if it has any."""
        if isinstance(self._served, ServedTeacher):
            await self._served.reach()

    async def sample(self, requests: Iterable[Request], shortfall: Shortfall) -> Outcomes:
        """The missing traces in order; where another teacher tops up, its traces among them."""
        if self._served is None:
            for request in requests:
                for index in request.missing:
                    yield self._trace(request, index)
            return
        recorded: deque[Trace] = deque()
        others = self._pass_on(requests, recorded)
        async with aclosing(self._served.sample(others, shortfall)) as outcomes:  # type: ignore[type-var]
            async for outcome in outcomes:
                while recorded:
                    yield recorded.popleft()
                yield outcome
        while recorded:
            yield recorded.popleft()

    def _pass_on(self, requests: Iterable[Request], traces: deque[Trace]) -> Iterator[Request]:
        """Requests for samples that are not recorded; the recorded ones are added to `traces`."""
        for request in requests:
            recorded = len(request.prompt.recorded)
            fresh = [self._trace(request, i) for i in request.missing if i < recorded]
            traces.extend(fresh)
            yield replace(
                request,
                have=tuple(sorted((*request.have, *fresh), key=lambda trace: trace.index)),
                missing=tuple(index for index in request.missing if index >= recorded),
            )

    def _trace(self, request: Request, index: int) -> Trace:
        record = request.prompt.recorded[index]
        taken = take(record.text, self._part, record.finish_reason)
        return Trace(
            prompt_id=request.prompt.id,
            index=index,
            key=request.keys[index],
            text=taken.text,
            teacher=record.model or self.name,
            revision=self.revision,
            temperature=None,
            top_p=None,
            max_tokens=None,
            seed=None,
            hint=None,
            finish_reason=taken.finish_reason,
            prompt_tokens=None,
            completion_tokens=None,
            recorded_correct=record.correct,
        )
