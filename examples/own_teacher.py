"""A teacher of your own: traces that a program writes, in place of a language model.

Run it to see some traces: `python examples/own_teacher.py`. To use it in recipes, declare it in the
pyproject.toml of a package that you install:

    [project.entry-points."polytrace.teachers"]
    adder = "own_teacher:build"

and write in a recipe: `teacher: {kind: adder, slips: 0.2}`.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator
from random import Random

from curation.teachers import (
    Failure,
    Outcomes,
    Request,
    SampleBudget,
    SampleOutcome,
    Shortfall,
    Teacher,
)
from curation.teachers.local.rounds import Batch, sample_block
from schemas.recipe import digest
from schemas.records import FinishReason, Prompt, Trace
from support.errors import UserError


class Adder:
    """Adds the numbers of a problem in an order of its own; some of its sums are wrong."""

    name = "adder"
    revision = "1"  # bump it when the same options write other traces
    is_record = False
    note = ""

    def __init__(self, slips: float, seed: int) -> None:
        self._slips, self._seed = slips, seed

    def wanted(self, prompt: Prompt, samples: int) -> SampleBudget:
        """As many samples as the recipe asks for; in rounds, these are the samples of one round."""
        return SampleBudget(required=samples, maximum=samples)

    def key(self, prompt: Prompt, index: int) -> str:
        """A hash of all that shapes a sample: one that is there under this key is not asked for."""
        return digest([self.name, self.revision, self._slips, self._seed, prompt.id, index])

    async def sample(self, requests: Iterable[Request], shortfall: Shortfall) -> Outcomes:
        """One outcome for every missing sample.

        `sample_block` asks the shortfall which prompts of a batch need another round of samples, if
        the recipe samples in rounds. Here, each prompt is a batch of its own.
        """
        for request in requests:
            for outcome in sample_block([request], shortfall, self._write):
                yield outcome

    def _write(self, batch: Batch) -> Iterator[SampleOutcome]:
        """The samples of a batch that are missing, as traces or failures; nothing is made up."""
        for request, indices in batch:
            for index in indices:
                if index not in request.missing:
                    continue
                if text := self._written(request.prompt, index):
                    yield self._trace(request, index, text)
                else:
                    yield Failure(
                        prompt_id=request.prompt.id,
                        index=index,
                        reason="no_numbers",
                        detail="the problem holds fewer than two numbers",
                        retryable=False,
                    )

    def _written(self, prompt: Prompt, index: int) -> str:
        numbers = [int(found) for found in re.findall(r"[0-9]+(?= apples)", prompt.text)]
        if len(numbers) < 2:
            return ""
        draw = Random(self.key(prompt, index))
        draw.shuffle(numbers)
        lines, total = [], numbers[0]
        for number in numbers[1:]:
            slip = draw.choice((-1, 1)) if draw.random() < self._slips else 0
            lines.append(f"{total} + {number} = {total + number + slip}.")
            total += number + slip
        return " ".join([*lines, f"The answer is {total}."])

    def _trace(self, request: Request, index: int, text: str) -> Trace:
        return Trace(
            prompt_id=request.prompt.id,
            index=index,
            key=request.keys[index],
            text=text,
            teacher=self.name,
            revision=self.revision,
            temperature=None,
            top_p=None,
            max_tokens=None,
            seed=self._seed,
            hint=None,
            finish_reason=FinishReason.STOP,
            prompt_tokens=None,
            completion_tokens=None,
        )


def build(slips: float = 0.1, seed: int = 0) -> Teacher:
    """The teacher; a recipe's `seed` is given to it where it has an option of that name."""
    if not 0 <= slips <= 1:
        raise UserError(f"teacher.slips: {slips} is no share; give 0 to 1")
    return Adder(slips, seed)


async def show(problem: str, samples: int) -> None:
    """Print samples of a problem, as a build asks for them."""
    teacher, prompt = (
        build(slips=0.3),
        Prompt(id="p1", text=problem, gold="", source="here", row=1, license="cc0-1.0"),
    )
    request = Request(
        prompt=prompt,
        shard=0,
        position=0,
        wanted=teacher.wanted(prompt, samples),
        missing=tuple(range(samples)),
        keys=tuple(teacher.key(prompt, index) for index in range(samples)),
    )
    async for outcome in teacher.sample([request], lambda _prompt, _traces: 0):
        print(outcome.text if isinstance(outcome, Trace) else outcome)


if __name__ == "__main__":
    asyncio.run(show("3 bags hold 14 apples, 8 apples, 35 apples. How many are there?", 4))
