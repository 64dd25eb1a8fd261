"""Teacher `openai_server`: models behind OpenAI-compatible endpoints, vLLM first.

Requests come in, and traces come out as the servers answer, many at a time and in no order. A
prompt whose traces are empty, truncated, over-long, unusable or equal gets up to `top_up` spare
samples. No server is asked anything before a sample is missing.
"""

import re
from collections.abc import Callable, Iterable
from contextlib import aclosing
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import Field

from curation.teachers import Outcomes, Request, SampleBudget, Shortfall
from curation.teachers._part import ReplyPart
from curation.teachers.openai.client import address
from curation.teachers.openai.endpoints import EndpointPool, read_key
from curation.teachers.openai.scheduler import Stream
from curation.teachers.openai.wire import HINT, PROBLEM, SEED_SPACING, UNSTATED, Api, ServerSampling
from schemas.records import Prompt
from support.errors import UserError

OURS = ("model", "messages", "prompt", "temperature", "top_p", "max_tokens", "n", "seed", "stop")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
Few = Annotated[tuple[str, ...], Field(max_length=1000)]


def build(
    model: str,
    endpoints: str | Few = (),
    revision: str = "",
    api: Api = "chat",
    requests: Literal["single", "group"] = "single",
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_tokens: int = 330,
    stop: Few = (),
    system: str | None = None,
    prompt: str = PROBLEM,
    hints: Few = (),
    part: ReplyPart = "full",
    seeds: bool = False,
    seed: int = 0,
    top_up: int = 3,
    in_flight: int | None = None,
    timeout_seconds: float = 600.0,
    patience_seconds: float = 600.0,
    api_key_env: str | None = None,
    extra: dict[str, Any] | None = None,
) -> "OpenAIServer":
    """A teacher out of addresses; raises UserError where an option makes no sense.

    Args:
        model: the name under which the servers know the model; checked against /v1/models.
        endpoints: base addresses, such as http://localhost:8000/v1; all serve the same model.
        revision: the model's commit; part of every trace's key, checked where a server tells it.
        api: chat completions, or plain completions of the prompt as it is.
        requests: one request a sample, or one request with `n` for all samples of a prompt.
        temperature: 0 is greedy.
        top_p: nucleus, in (0, 1].
        max_tokens: of one sample.
        stop: stop strings.
        system: the system message.
        prompt: the user message; `{problem}` in it is the problem's text, `{hint}` the hint.
        hints: method hints; path j gets hint j, and they repeat.
        part: `after_think` keeps only what follows the last `</think>`; `answer` does so where
            thinking is marked, and else keeps everything.
        seeds: send each sample a seed of its own; some servers cannot take them.
        seed: the seeds' seed.
        top_up: at most so many more samples a prompt, where usable and distinct ones lack.
        in_flight: samples in flight at each endpoint; found from its /metrics when not set.
        timeout_seconds: of one request.
        patience_seconds: without any endpoint, until the run ends short; a request that fails
            for a fifth of it, while its server is well, is given up.
        api_key_env: the name of the environment variable that holds the key.
        extra: more fields of the request, such as min_p or chat_template_kwargs.
    """
    _require(isfinite(temperature) and temperature >= 0, "temperature", "0 (greedy) or more")
    _require(0 < top_p <= 1, "top_p", "in (0, 1]")
    _require(max_tokens >= 1, "max_tokens", "at least 1")
    _require(0 <= top_up < SEED_SPACING // 2, "top_up", f"0 to {SEED_SPACING // 2 - 1}")
    _require(in_flight is None or in_flight >= 1, "in_flight", "at least 1, or not set")
    _require(timeout_seconds > 0, "timeout_seconds", "above 0")
    _require(patience_seconds > 0, "patience_seconds", "above 0")
    if api_key_env is not None and not _VARIABLE.fullmatch(api_key_env):
        raise UserError(  # perhaps it is the key itself: not repeated, and kept nowhere
            "teacher.api_key_env: is no name of an environment variable, such as TEACHER_KEY"
        )
    _require(all(stop), "stop", "without empty strings: they would end every trace at once")
    _require(PROBLEM in prompt, "prompt", f"with {PROBLEM}, the problem's place")
    _require(bool(hints) or HINT not in prompt, "hints", f"given, since prompt holds {HINT}")
    _require(all(hint.strip() for hint in hints), "hints", "without empty ones")
    alike = requests == "group" and temperature == 0
    _require(not alike, "requests", "single at temperature 0: all samples of a request are alike")
    for name in extra or {}:
        _require(name not in OURS, f"extra.{name}", f"set as teacher.{name}, or not at all")
    sampling = ServerSampling(
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
    addresses = (endpoints,) if isinstance(endpoints, str) else endpoints
    urls = tuple(dict.fromkeys(map(address, addresses)))

    def new_pool() -> EndpointPool:
        return EndpointPool(
            urls,
            model=model,
            revision=revision,
            in_flight=in_flight,
            timeout=timeout_seconds,
            patience=patience_seconds,
            key=read_key(api_key_env),
        )

    return OpenAIServer(
        sampling,
        new_pool if urls else None,
        grouped=requests == "group",
        top_up=top_up,
        give_up=patience_seconds / 5,
    )


def _require(holds: bool, field: str, wanted: str) -> None:
    if not holds:
        raise UserError(f"teacher.{field}: must be {wanted}")


class OpenAIServer:
    """Samples over HTTP; see `build` for the options.

    `new_pool` makes the pool of endpoints for one run of sampling, and reads the key from the
    environment; it is None where no endpoint is named. `give_up`: see `Stream`.
    """

    is_record = False

    def __init__(
        self,
        sampling: ServerSampling,
        new_pool: Callable[[], EndpointPool] | None,
        *,
        grouped: bool,
        top_up: int,
        give_up: float,
    ) -> None:
        self.name = sampling.name
        self.revision = sampling.revision or UNSTATED
        self._sampling, self._new_pool = sampling, new_pool
        self._grouped, self._top_up, self._give_up = grouped, top_up, give_up
        self._pool: EndpointPool | None = None
        self.place = "teacher"  # in the recipe, as lines on standard error name it

    @property
    def note(self) -> str:
        """Samples in flight, and the server that is waited for."""
        return self._pool.note() if self._pool else ""

    def wanted(self, prompt: Prompt, samples: int) -> SampleBudget:
        """As many as the recipe asks for, and the spare ones."""
        return SampleBudget(samples, samples + self._top_up)

    def key(self, prompt: Prompt, index: int) -> str:
        """A hash of all that shapes the sample; the address of a server does not."""
        return self._sampling.key(prompt, index)

    async def reach(self) -> None:
        """Ask every endpoint once; ShortError where none is well."""
        if self._new_pool is not None:
            await self._new_pool().reach()

    async def sample(self, requests: Iterable[Request], shortfall: Shortfall) -> Outcomes:
        """Outcomes as they come; the servers are asked when the first sample is missing."""
        if self._new_pool is None:
            raise UserError(
                "teacher.endpoints: none; give the address of a server, or add serve: to start one"
            )
        self._pool = self._new_pool()
        self._pool.place = self.place
        stream = Stream(self._sampling, self._pool, grouped=self._grouped, give_up=self._give_up)
        async with aclosing(stream.run(requests, shortfall)) as outcomes:
            async for outcome in outcomes:
                yield outcome
