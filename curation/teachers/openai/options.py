"""The options that the teachers behind OpenAI's interface share, and their checks."""

import re
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import Field

from curation.teachers._part import ReplyPart
from curation.teachers.openai.request_form import TokensField
from curation.teachers.openai.wire import HINT, PROBLEM, SEED_SPACING, Api, ServerSampling
from support.errors import UserError

Few = Annotated[tuple[str, ...], Field(max_length=1000)]
Grouping = Literal["single", "group"]
OURS = ("model", "messages", "prompt", "temperature", "top_p", "max_tokens", "n", "seed", "stop")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


def server_sampling(
    *,
    model: str,
    revision: str,
    api: Api,
    requests: Grouping,
    temperature: float,
    top_p: float,
    max_tokens: int,
    stop: tuple[str, ...],
    system: str | None,
    prompt: str,
    hints: tuple[str, ...],
    part: ReplyPart,
    seeds: bool,
    seed: int,
    extra: dict[str, Any] | None,
) -> ServerSampling:
    """The settings that shape a sample; raises UserError where one makes no sense."""
    require(isfinite(temperature) and temperature >= 0, "temperature", "0 (greedy) or more")
    require(0 < top_p <= 1, "top_p", "in (0, 1]")
    require(max_tokens >= 1, "max_tokens", "at least 1")
    require(all(stop), "stop", "without empty strings: they would end every trace at once")
    require(PROBLEM in prompt, "prompt", f"with {PROBLEM}, the problem's place")
    require(bool(hints) or HINT not in prompt, "hints", f"given, since prompt holds {HINT}")
    require(all(hint.strip() for hint in hints), "hints", "without empty ones")
    alike = requests == "group" and temperature == 0
    require(not alike, "requests", "single at temperature 0: all samples of a request are alike")
    for name in extra or {}:
        require(name not in OURS, f"extra.{name}", f"set as teacher.{name}, or not at all")
    return ServerSampling(
        api=api,
        model=model,
        revision=revision,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        stop=stop,
        system=system,
        prompt=prompt,
        hints=hints,
        part=part,
        seeds=seeds,
        seed=seed,
        extra=extra or {},
    )


def check_reaching(
    *,
    api: Api,
    tokens_field: TokensField,
    top_up: int,
    in_flight: int | None,
    timeout_seconds: float,
    patience_seconds: float,
    api_key_env: str | None,
) -> None:
    """UserError where an option of how the server is reached makes no sense."""
    require(0 <= top_up < SEED_SPACING // 2, "top_up", f"0 to {SEED_SPACING // 2 - 1}")
    require(in_flight is None or in_flight >= 1, "in_flight", "at least 1, or not set")
    require(timeout_seconds > 0, "timeout_seconds", "above 0")
    require(patience_seconds > 0, "patience_seconds", "above 0")
    has_field = api == "chat" or tokens_field != "max_completion_tokens"
    require(has_field, "tokens_field", "auto or max_tokens: api completions knows no other")
    if api_key_env is not None and not _VARIABLE.fullmatch(api_key_env):
        raise UserError(  # perhaps it is the key itself: not repeated, and kept nowhere
            "teacher.api_key_env: is no name of an environment variable, such as TEACHER_KEY"
        )


def require(holds: bool, field: str, wanted: str) -> None:
    """UserError that names the field and what it must be, unless it `holds`."""
    if not holds:
        raise UserError(f"teacher.{field}: must be {wanted}")
