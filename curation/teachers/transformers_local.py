"""Teacher `transformers_local`: any local directory of a causal LM.

Batches are fixed blocks of consecutive positions of a shard and always hold every sample of their
prompts. A block with one sample missing is sampled whole again and only the missing samples are
yielded, so that a resumed run writes the same bytes. A block with nothing missing is skipped, and
the weights are loaded for the first block that is sampled. Where a recipe samples in rounds, a
batch is one round of a block (`local/rounds.py`).
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from random import Random

from curation.teachers import (
    Failure,
    Outcomes,
    Request,
    SampleBudget,
    SampleOutcome,
    Shortfall,
)
from curation.teachers._part import ReplyPart, take
from curation.teachers.local.causal_lm import (
    CausalLM,
    check_model_directory,
    cut_at_stop,
    load_causal_lm,
)
from curation.teachers.local.rounds import Batch, Round, sample_block, sample_nothing
from schemas.recipe import digest
from schemas.records import FinishReason, Prompt, Trace
from scorers.revision import directory_revision
from support.errors import UserError

TEMPLATE_VERSION = 1
_PROBLEM = "{problem}"


def build(
    path: str,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_tokens: int = 330,
    stop: tuple[str, ...] = (),
    prompt: str = _PROBLEM,
    part: ReplyPart = "full",
    seed: int = 0,
    batch_prompts: int = 64,
    device: str | None = None,
    trust_remote_code: bool = False,
) -> "LocalTeacher":
    """A teacher out of a model directory; raises UserError where an option makes no sense.

    `prompt` is the user message, `{problem}` in it the problem's text. `temperature: 0` is greedy.
    `batch_prompts` bounds memory: the cache holds that many prompts times the samples of each.
    `part: after_think` keeps what follows the last `</think>`.
    """
    _require(temperature >= 0, "temperature", f"{temperature} is negative; 0 is greedy")
    _require(0 < top_p <= 1, "top_p", f"{top_p} is not in (0, 1]")
    _require(max_tokens >= 1, "max_tokens", f"{max_tokens} is no number of tokens; at least 1")
    _require(batch_prompts >= 1, "batch_prompts", f"{batch_prompts} is no batch; at least 1")
    _require(all(stop), "stop", "an empty stop string ends every trace at once; remove it")
    _require(_PROBLEM in prompt, "prompt", f"{prompt!r} lacks {_PROBLEM}, the problem's place")
    check_model_directory(Path(path))
    return LocalTeacher(
        path=Path(path),
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        stop=stop,
        prompt=prompt,
        part=part,
        seed=seed,
        batch_prompts=batch_prompts,
        device=device,
        trust_remote_code=trust_remote_code,
    )


def _require(holds: bool, field: str, message: str) -> None:
    if not holds:
        raise UserError(f"teacher.{field}: {message}")


@dataclass(kw_only=True, eq=False)
class LocalTeacher:
    """Samples with transformers in this process, one block of a shard at a time; see `build`."""

    note = ""
    is_record = False

    path: Path
    temperature: float
    top_p: float
    max_tokens: int
    stop: tuple[str, ...]
    prompt: str
    part: ReplyPart
    seed: int
    batch_prompts: int
    device: str | None
    trust_remote_code: bool

    def __post_init__(self) -> None:
        self.name = self.path.absolute().name
        self.revision = directory_revision(self.path)

    def message(self, prompt: Prompt) -> str:
        """The user message for a problem."""
        return self.prompt.replace(_PROBLEM, prompt.text)

    def sample_seed(self, prompt: Prompt, index: int) -> int:
        """The sample's own seed, 63 bits."""
        name = f"{self.seed}\0{prompt.id}\0{index}".encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(name, digest_size=8).digest(), "big") >> 1

    def wanted(self, prompt: Prompt, samples: int) -> SampleBudget:
        """As many as the recipe asks for: there are no spares but in rounds."""
        return SampleBudget(samples, samples)

    def key(self, prompt: Prompt, index: int) -> str:
        """A hash of all that shapes the sample; the chat template is part of the revision."""
        return digest(
            [
                "transformers_local",
                TEMPLATE_VERSION,
                prompt.id,
                index,
                self.message(prompt),
                self.temperature,
                self.top_p,
                self.max_tokens,
                self.stop,
                self.part,
                self.seed,
                self.name,
                self.revision,
            ]
        )

    async def sample(self, requests: Iterable[Request], shortfall: Shortfall) -> Outcomes:
        """Outcomes block by block, as the samples of a block end."""
        for block in _blocks(requests, self.batch_prompts):
            is_stopped = block[0].is_stopped()
            # Half a block, whose other requests did not come, would not be sampled the same again.
            is_cut = is_stopped and any(request.lacks_required for request in block)
            if is_cut or not any(request.missing for request in block):
                continue
            sample = sample_nothing if is_stopped else self._sample_batch
            outcomes = sample_block(block, shortfall, sample)
            # A thread, so that journals are committed while the model computes.
            while (outcome := await asyncio.to_thread(next, outcomes, None)) is not None:
                yield outcome

    @cached_property
    def _model(self) -> CausalLM:
        return load_causal_lm(self.path, self.device, self.trust_remote_code)

    def _sample_batch(self, batch: Batch) -> Iterator[SampleOutcome]:
        """Sample the batch whole, and yield what is missing."""
        from curation.teachers.local.decode import PendingSample, sample

        model = self._model
        fitting: list[tuple[Round, list[int]]] = []
        for one in batch:
            ids, failures = self._encode(one, model)
            yield from failures
            if ids:
                fitting.append((one, ids))
        samples = [(at, n) for at, (one, _) in enumerate(fitting) for n in one.indices]
        if not samples:
            return
        rows = [
            PendingSample(
                prompt=at,
                uniforms=self._uniforms(fitting[at][0].request.prompt, n, len(fitting[at][1])),
            )
            for at, n in samples
        ]
        for sampled in sample(
            model.model,
            [ids for _, ids in fitting],
            rows,
            temperature=self.temperature,
            top_p=self.top_p,
            end_ids=model.end_ids,
            is_stopped=model.stop_test(self.stop),
        ):
            at, index = samples[sampled.row]
            (request, _), ids = fitting[at]
            if index in request.missing:
                text, is_cut = cut_at_stop(model.decode(sampled.ids, before=ids[-1]), self.stop)
                reason = FinishReason.STOP if is_cut else sampled.finish_reason
                yield self._trace(request.prompt, index, text, reason, len(ids), sampled.tokens)

    def _encode(self, one: Round, model: CausalLM) -> tuple[list[int], list[Failure]]:
        """The prompt's ids, or none and a failure for each missing sample of the batch."""
        try:
            ids = model.encode(self.message(one.request.prompt))
        except UnicodeEncodeError as error:
            return [], _failures(one, "prompt_not_encodable", f"not UTF-8: {error.reason}")
        if model.context is not None and len(ids) >= model.context:
            detail = f"{len(ids)} tokens leave no room in a context of {model.context}"
            return [], _failures(one, "prompt_too_long", detail)
        return ids, []

    def _uniforms(self, prompt: Prompt, index: int, prompt_tokens: int) -> list[float]:
        """A uniform number for each token that the limits allow.

        Python's generator, because its sequence for a seed is guaranteed to stay the same.
        """
        limit, context = self.max_tokens, self._model.context
        if context is not None:
            limit = min(limit, context - prompt_tokens)
        draw = Random(self.sample_seed(prompt, index)).random
        return [draw() for _ in range(limit)]

    def _trace(
        self,
        prompt: Prompt,
        index: int,
        text: str,
        reason: FinishReason,
        prompt_tokens: int,
        completion_tokens: int,
    ) -> Trace:
        taken = take(text, self.part, reason)
        return Trace(
            prompt_id=prompt.id,
            index=index,
            key=self.key(prompt, index),
            text=taken.text,
            teacher=self.name,
            revision=self.revision,
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            seed=self.sample_seed(prompt, index),
            hint=None,
            finish_reason=taken.finish_reason,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
        )


def _blocks(requests: Iterable[Request], size: int) -> Iterator[list[Request]]:
    """Fixed blocks of consecutive positions of one shard, whatever is missing in them."""
    block: list[Request] = []
    for request in requests:
        place = (request.shard, request.position // size)
        if block and place != (block[0].shard, block[0].position // size):
            yield block
            block = []
        block.append(request)
        if request.position % size == size - 1:  # full: the next shard need not be opened yet
            yield block
            block = []
    if block:
        yield block


def _failures(one: Round, reason: str, detail: str) -> list[Failure]:
    return [
        Failure(
            prompt_id=one.request.prompt.id,
            index=index,
            reason=reason,
            detail=detail,
            retryable=False,
        )
        for index in one.request.missing
        if index in one.indices
    ]
