"""A block of prompts, sampled in rounds or at once, for teachers that sample in batches.

In: the requests of a block, and a function that samples a batch. Out: outcomes. In rounds, a batch
holds one round of every prompt that still needs one. That follows from the traces of earlier rounds
alone, whether they come now or came in an earlier run, so a resumed run samples the same batches.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from curation.teachers import (
    Failure,
    Request,
    SampleOutcome,
    Shortfall,
    Skipped,
    most_at_a_time,
)
from schemas.records import Trace


class Round(NamedTuple):
    """The samples of one prompt in a batch; those of `request.missing` are to be yielded."""

    request: Request
    indices: range


Batch = Sequence[Round]
SampleBatch = Callable[[Batch], Iterator[SampleOutcome]]
"""Samples a batch whole, and yields what is missing."""


def is_lacking(batch: Batch) -> bool:
    """Whether a sample of the batch is missing."""
    return any(set(one.indices).intersection(one.request.missing) for one in batch)


def sample_block(
    block: Sequence[Request], shortfall: Shortfall, sample: SampleBatch
) -> Iterator[SampleOutcome]:
    """Every outcome of a block, in rounds or at once, whose batches `sample` samples."""
    if block[0].in_rounds:
        yield from in_rounds(block, shortfall, sample)
        return
    batch = []
    for request in block:
        spares = [index for index in request.missing if index >= request.wanted.required]
        if spares and not shortfall(request.prompt, request.have):
            yield from (Skipped(prompt_id=request.prompt.id, index=index) for index in spares)
            firm = (index for index in request.missing if index not in spares)
            request = replace(request, missing=tuple(firm))
        batch.append(Round(request, range(request.wanted.maximum)))
    if is_lacking(batch):
        yield from sample(batch)


def sample_nothing(batch: Batch) -> Iterator[SampleOutcome]:
    """What samples a batch once the budget is spent: the block shows who needs nothing more."""
    return iter(())


def in_rounds(
    block: Sequence[Request],
    shortfall: Shortfall,
    sample: SampleBatch,
) -> Iterator[SampleOutcome]:
    """Every outcome of the block; `sample` yields those of a batch that are missing."""
    traces = {request.prompt.id: {t.index: t for t in request.have} for request in block}
    refused = {request.prompt.id for request in block if request.refusal is not None}
    batch = [Round(request, range(request.wanted.required)) for request in block]

    def following(last: Round) -> Round:
        """The next round of a prompt; without indices where there is none."""
        request, begin, most = last.request, last.indices.stop, last.request.wanted.maximum
        if begin >= most or request.prompt.id in refused:
            return Round(request, range(begin, begin))
        found = traces[request.prompt.id]
        counted = [found[index] for index in sorted(found) if index < begin]
        more = shortfall(request.prompt, counted)
        return Round(request, range(begin, min(most, begin + max(0, more))))

    with ThreadPoolExecutor(most_at_a_time(shortfall)) as judges:
        while batch:
            for outcome in sample(batch) if is_lacking(batch) else ():
                if isinstance(outcome, Trace):
                    traces[outcome.prompt_id][outcome.index] = outcome
                elif isinstance(outcome, Failure):
                    refused.add(outcome.prompt_id)
                yield outcome
            rounds = list(judges.map(following, batch))
            for request, indices in rounds:
                if not indices:
                    rest = (index for index in request.missing if index >= indices.start)
                    yield from (Skipped(prompt_id=request.prompt.id, index=i) for i in rest)
            batch = [one for one in rounds if one.indices]
