"""Requests to an OpenAI-compatible server and its replies, as pure functions.

Sampling settings and a prompt become the JSON body of a request; the bytes of a reply become its
choices. A reply that does not hold what was requested raises `BadReplyError`: nothing is made up.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import PurePath
from typing import Any, Literal, NamedTuple

import orjson

from curation.teachers._part import ReplyPart, TraceText, take
from curation.teachers.openai.reply_body import most_bytes, parse
from curation.teachers.openai.request_form import STANDARD, RequestForm
from schemas.recipe import digest
from schemas.records import END_OF_THINKING, FinishReason, Prompt, Trace

PROBLEM, HINT = "{problem}", "{hint}"
SEED_SPACING = 1024  # sibling i of a request has seed + i, so two prompts' seeds must lie apart
TEMPLATE_VERSION = 1
UNSTATED = "unstated"
# By default vLLM takes these from the model's generation_config.json, where we do not see them. It
# also deletes special tokens, which joins the texts between them.
VLLM = {
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "skip_special_tokens": False,
}
FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "content_filter": FinishReason.LENGTH,  # cut off as well
}
Api = Literal["chat", "completions"]


class BadReplyError(Exception):
    """A reply with status 200 that holds no samples."""


class BrokenOffError(BadReplyError):
    """A choice that the engine did not finish."""


class Choice(NamedTuple):
    """One sample of a reply; `number` is its place in the request, `tokens` None where unknown."""

    number: int
    text: str
    finish_reason: FinishReason
    tokens: int | None
    prompt_tokens: int | None


def published_name(model: str) -> str:
    """A model's name; of a local directory its last part, because traces are published."""
    return PurePath(model).name if PurePath(model).is_absolute() else model


@dataclass(frozen=True, kw_only=True)
class ServerSampling:
    """All settings that shape a sample; the endpoint is not one of them."""

    api: Api
    model: str
    revision: str
    temperature: float
    top_p: float
    max_tokens: int
    stop: tuple[str, ...]
    system: str | None
    prompt: str
    hints: tuple[str, ...]
    part: ReplyPart
    seeds: bool
    seed: int
    extra: Mapping[str, Any]

    @cached_property
    def settings(self) -> str:
        """A hash of all settings; the seed counts only where it is sent."""
        facts = dataclasses.asdict(self) | {"seed": self.seed if self.seeds else None}
        return digest(["openai_server", TEMPLATE_VERSION, facts])

    @cached_property
    def name(self) -> str:
        """The model's name in traces."""
        return published_name(self.model)

    def key(self, prompt: Prompt, index: int) -> str:
        """A hash of everything that shapes sample `index`."""
        name = f"{self.settings}\0{index}\0{prompt.id}\0{prompt.text}"
        return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    def hint(self, index: int) -> str | None:
        """The method hint of a sample; path j gets hint j, and they repeat."""
        return self.hints[index % len(self.hints)] if self.hints else None

    def message(self, prompt: Prompt, index: int) -> str:
        """The user message: the hint stands at its place, else after the problem."""
        hint = self.hint(index)
        text = self.prompt
        if hint is not None and HINT not in text:
            text = f"{text}\n\n{HINT}"
        # The problem last: it may hold anything, also the other placeholder.
        return text.replace(HINT, hint or "").replace(PROBLEM, prompt.text)

    def sample_seed(self, prompt: Prompt, index: int) -> int | None:
        """The sample's own seed, below 2^53, so that every JSON reader keeps it."""
        if not self.seeds:
            return None
        name = f"{self.seed}\0{prompt.id}".encode("utf-8", "surrogatepass")
        start = int.from_bytes(blake2b(name, digest_size=8).digest(), "big") >> 21
        return start * SEED_SPACING + index

    def batches(self, prompt: Prompt, indices: Sequence[int]) -> list[tuple[int, ...]]:
        """Samples that one request with `n` can ask for: one message, consecutive seeds."""
        batches: list[tuple[int, ...]] = []
        for index in sorted(indices, key=lambda i: (self.message(prompt, i), i)):
            last = batches[-1][-1] if batches else None
            is_alike = last is not None and self.hint(last) == self.hint(index)
            if last is not None and is_alike and (not self.seeds or index == last + 1):
                batches[-1] += (index,)
            else:
                batches.append((index,))
        return batches

    def has_made(self, trace: Trace) -> bool:
        """Whether a trace that a request has came of these settings; recorded ones did not."""
        return (trace.teacher, trace.revision) == (self.name, self.revision or UNSTATED)

    def trace(self, prompt: Prompt, index: int, choice: Choice) -> Trace:
        """The trace of a reply."""
        return Trace(
            prompt_id=prompt.id,
            index=index,
            key=self.key(prompt, index),
            text=choice.text,
            teacher=self.name,
            revision=self.revision or UNSTATED,
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            seed=self.sample_seed(prompt, index),
            hint=self.hint(index),
            finish_reason=choice.finish_reason,
            prompt_tokens=choice.prompt_tokens,
            completion_tokens=choice.tokens,
        )

    def body(
        self,
        prompt: Prompt,
        indices: Sequence[int],
        *,
        is_vllm: bool,
        form: RequestForm = STANDARD,
    ) -> bytes:
        """The JSON of one request for `indices`."""
        message = self.message(prompt, indices[0])
        body: dict[str, Any] = {"model": self.model}
        if self.api == "chat":
            system = [{"role": "system", "content": self.system}] if self.system else []
            body["messages"] = [*system, {"role": "user", "content": message}]
        else:
            body["prompt"] = message
        body |= {
            "temperature": self.temperature,
            "top_p": self.top_p,
            form.tokens_field: self.max_tokens,
            "n": len(indices),
        }
        for name in form.left_out:
            del body[name]
        if self.stop:
            body["stop"] = list(self.stop)
        if (seed := self.sample_seed(prompt, indices[0])) is not None:
            body["seed"] = seed
        if is_vllm:
            body |= VLLM
            if len(indices) > 1:  # else the reply tells the tokens of all samples together
                body["return_token_ids"] = True
        return orjson.dumps(body | dict(self.extra))

    def most_reply(self, samples: int, request: int) -> int:
        """Bytes that the reply to a request of so many bytes may hold."""
        return most_bytes(
            max_tokens=self.max_tokens, samples=samples, request=request, extra=self.extra
        )


def choices(reply: bytes, requested: int, part: ReplyPart) -> list[Choice]:
    """The samples of a reply, at most `requested`; BadReplyError where there are none."""
    try:
        data = parse(reply)
    except ValueError:
        raise BadReplyError(f"no JSON: {reply[:80]!r}") from None
    return choices_of(data, requested, part)


def choices_of(data: object, requested: int, part: ReplyPart) -> list[Choice]:
    """`choices`, of a reply whose JSON is read already."""
    try:
        return _choices(data, requested, part)
    except RecursionError:  # no message can show it either
        raise BadReplyError("its JSON is nested too deep") from None


def _choices(data: object, requested: int, part: ReplyPart) -> list[Choice]:
    if not isinstance(data, dict) or not isinstance(data.get("choices"), list):
        raise BadReplyError(f"no choices: {str(data)[:80]!r}")
    raw_choices = data["choices"][:requested]
    if not raw_choices:
        raise BadReplyError("the list of choices is empty")
    is_one = requested == len(data["choices"]) == 1  # usage is the sum over all choices
    tokens = _count(data.get("usage"), "completion_tokens") if is_one else None
    prompt_tokens = _count(data.get("usage"), "prompt_tokens")
    whole, broken = [], None
    for number, raw in enumerate(raw_choices):
        try:
            whole.append(_choice(raw, number, requested, part, tokens, prompt_tokens))
        except BrokenOffError as error:  # the others are whole, and paid for
            broken = error
    if broken is not None and not whole:
        raise broken
    if len({choice.number for choice in whole}) < len(whole):
        raise BadReplyError("two choices have one index")
    return whole


def _choice(
    raw: object,
    number: int,
    requested: int,
    part: ReplyPart,
    tokens: int | None,
    prompt_tokens: int | None,
) -> Choice:
    if not isinstance(raw, dict):
        raise BadReplyError(f"choice {number} is no object")
    index = raw.get("index", number)
    if not isinstance(index, int) or not 0 <= index < requested:
        raise BadReplyError(f"choice {number} of {requested} has index {index!r:.80}")
    reason = raw.get("finish_reason")
    if reason in (None, "abort", "error"):  # the engine broke off: that is no sample
        raise BrokenOffError(f"choice {number} was broken off (finish_reason {reason!r:.80})")
    message = raw.get("message", raw)
    if not isinstance(message, dict):
        raise BadReplyError(f"choice {number} has no message")
    content, thought = message.get("content", message.get("text")), _thought(message)
    if not (isinstance(content, str) or thought is not None or message.get("content", 0) is None):
        raise BadReplyError(f"choice {number} has no text")
    finish = FINISH_REASONS.get(str(reason), FinishReason.UNKNOWN)
    if isinstance(content, str):
        taken = _trace_text(thought, content, part, finish)
    elif thought is not None and part == "full":
        taken = TraceText(thought.strip(), finish)
    else:
        taken = TraceText("", FinishReason.NO_CONTENT)
    return Choice(
        number=index,
        text=taken.text,
        finish_reason=taken.finish_reason,
        tokens=len(ids) if isinstance(ids := raw.get("token_ids"), list) else tokens,
        prompt_tokens=prompt_tokens,
    )


def _trace_text(
    thought: str | None, content: str, part: ReplyPart, finish: FinishReason
) -> TraceText:
    """The trace of a reply whose server may have separated thinking and answer."""
    if thought is None or (part != "full" and END_OF_THINKING in content):
        return take(content, part, finish)
    parts = (thought.strip(), content.strip()) if part == "full" else (content.strip(),)
    return TraceText("\n\n".join(filter(None, parts)), finish)


def _thought(message: Mapping[str, Any]) -> str | None:
    for name in ("reasoning", "reasoning_content"):
        value = message.get(name)
        if isinstance(value, str):  # even if empty: the server separates the two
            return value
    return None


def _count(usage: object, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and value >= 0 else None
