"""OpenAI's completions as vLLM 0.32 reads and writes them. In: bodies; out: `Asked`, answers.

Fields of a request that are not read here are accepted and have no effect; so has `max_tokens`:
how long a text is, and whether it is cut off, is the behaviour's to say.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import orjson

from tests.servers.loopback.behaviour import Behaviour
from tests.servers.loopback.text import Sample, tokens


class BadRequestError(ValueError):
    """What a client gets a 400 for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A completion request, read."""

    chat: bool
    model: str
    prompt: str  # the last user message or the prompt
    whole: str  # all that was said
    context: bytes  # the same with its roles: what a text depends on
    n: int
    seed: int | None
    greedy: bool
    digest: bytes  # of the body
    fields: tuple[str, ...]  # their names


def asked_of(body: bytes, *, chat: bool) -> Asked:
    """Read a request; BadRequestError where vLLM would refuse it."""
    try:
        row = orjson.loads(body)
        messages = row["messages"] if chat else [{"role": "user", "content": row["prompt"]}]
        said = [(str(one["role"]), _text(one.get("content"))) for one in messages]
        asked = Asked(
            chat=chat,
            model=str(row["model"]),
            prompt=next((text for role, text in reversed(said) if role == "user"), ""),
            whole="\n".join(text for _, text in said),
            context=orjson.dumps(said),
            n=1 if row.get("n") is None else int(row["n"]),
            seed=None if row.get("seed") is None else int(row["seed"]),
            greedy=row.get("temperature") == 0,
            digest=blake2b(body, digest_size=8).digest(),
            fields=tuple(row),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadRequestError(f"the request cannot be read: {error!r}") from error
    if asked.n < 1 or row.get("stream"):
        raise BadRequestError("n must be at least 1, and nothing is streamed here")
    return asked


def _text(content: object) -> str:
    """A message's text: a string, or OpenAI's list of parts."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list):
        return "".join(part["text"] for part in content)
    raise TypeError(f"content is a {type(content).__name__}")


def error_body(status: int, kind: str, message: str, param: str | None = None) -> bytes:
    """VLLM's error."""
    return orjson.dumps(
        {"error": {"message": message, "type": kind, "param": param, "code": status}}
    )


def too_long_body(asked: Asked, limit: int) -> bytes:
    """VLLM's refusal of a prompt that does not fit (vllm/renderers/params.py), limit in chars."""
    length = tokens(asked.whole)
    return error_body(
        400,
        "BadRequestError",
        f"This model's maximum context length is {limit // 4} tokens. However, your prompt "
        f"contains {length} input tokens, which exceeds this limit even without any output "
        f"tokens. Please reduce the length of the input prompt. "
        f"(parameter=input_tokens, value={length})",
        "input_tokens",
    )


def unsupported_body(field: str) -> bytes:
    """OpenAI's refusal of a field that a model does not take."""
    message = f"Unsupported parameter: '{field}' is not supported with this model."
    if field == "max_tokens":
        message += " Use 'max_completion_tokens' instead."
    return orjson.dumps(
        {
            "error": {
                "message": message,
                "type": "invalid_request_error",
                "param": field,
                "code": "unsupported_parameter",
            }
        }
    )


def answer_body(asked: Asked, samples: Sequence[Sample], behaviour: Behaviour) -> bytes:
    """The answer to a request."""
    prompt_tokens = tokens(asked.whole)
    completion_tokens = sum(tokens(sample.text) for sample in samples)
    choose = _chat_choice if asked.chat else _choice
    choices = [choose(index, sample, behaviour) for index, sample in enumerate(samples)]
    return orjson.dumps(
        {
            "id": f"{'chatcmpl' if asked.chat else 'cmpl'}-{asked.digest.hex()}",
            "object": "chat.completion" if asked.chat else "text_completion",
            "created": int(time.time()),
            "model": asked.model,
            "choices": choices,
            "service_tier": None,
            "system_fingerprint": None,
            "usage": {
                "prompt_tokens": prompt_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
                "completion_tokens": completion_tokens,
                "prompt_tokens_details": None,
            },
            "prompt_logprobs": None,
            "kv_transfer_params": None,
        }
    )


def _choice(index: int, sample: Sample, behaviour: Behaviour) -> dict[str, object]:
    return {
        "index": index,
        "text": sample.text,
        "logprobs": None,
        "finish_reason": sample.finish_reason,
        "stop_reason": None,
    }


def _chat_choice(index: int, sample: Sample, behaviour: Behaviour) -> dict[str, object]:
    message: dict[str, object] = {
        "role": "assistant",
        "content": sample.text,
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
    }
    if behaviour.reasoning != "none":
        message[behaviour.reasoning] = sample.text
        last = sample.text.rpartition("\n")[2]
        message["content"] = None if behaviour.reasoning_only else last
    return {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": sample.finish_reason,
        "stop_reason": None,
    }


def models_body(behaviour: Behaviour) -> bytes:
    """What /v1/models says."""
    cards: list[dict[str, object]] = [
        {
            "id": name,
            "object": "model",
            "created": int(time.time()),
            "owned_by": "vllm",
            "root": behaviour.root or name,
            "parent": None,
            "max_model_len": (behaviour.context_limit or 131_072) // 4,
            "permission": [],
        }
        for name in behaviour.models
    ]
    return orjson.dumps({"object": "list", "data": cards})
