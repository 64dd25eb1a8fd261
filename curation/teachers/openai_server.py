"""Teacher `openai_server`: models behind OpenAI-compatible endpoints, vLLM first.

Requests come in, and traces come out as the servers answer, many at a time and in no order. A
prompt whose traces are empty, truncated, over-long, unusable or equal gets up to `top_up` spare
samples. No server is asked anything before a sample is missing.
"""

from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import Any

from curation.teachers import Outcomes, Request, SampleBudget, Shortfall
from curation.teachers._part import ReplyPart
from curation.teachers.openai.client import address
from curation.teachers.openai.endpoints import EndpointPool, read_key
from curation.teachers.openai.options import Few, Grouping, check_reaching, server_sampling
from curation.teachers.openai.request_form import TokensField, first_form
from curation.teachers.openai.scheduler import Stream
from curation.teachers.openai.wire import PROBLEM, UNSTATED, Api, ServerSampling
from schemas.records import Prompt
from support.errors import UserError


def build(
    model: str,
    endpoints: str | Few = (),
    revision: str = "",
    api: Api = "chat",
    requests: Grouping = "single",
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_tokens: int = 330,
    tokens_field: TokensField = "auto",
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
        tokens_field: the request's field for it; `auto` is `max_tokens` until a server refuses that
            and asks for `max_completion_tokens`.
        stop: stop strings.
        system: the system message.
        prompt: the user message; `{problem}` in it is the problem's text, `{hint}` the hint.
        hints: method hints; path j gets hint j, and they repeat.
        part: `after_think` keeps only what follows the last `</think>`; `answer` does so where
            thinking is marked, and else keeps everything.
        seeds: send each sample a seed of its own; some servers cannot take them.
        seed: the seeds' seed.
        top_up: at most so many more samples a prompt, where usable and distinct ones lack.
        in_flight: samples in flight at each endpoint; when not set, it is found from the server's
            /metrics, or from its answers with 429.
        timeout_seconds: of one request.
        patience_seconds: without any endpoint, until the run ends short; a request that fails
            for a fifth of it, while its server is well, is given up.
        api_key_env: the name of the environment variable that holds the key.
        extra: more fields of the request, such as min_p or chat_template_kwargs.
    """
    sampling = server_sampling(
        model=model,
        revision=revision,
        api=api,
        requests=requests,
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
        extra=extra,
    )
    check_reaching(
        api=api,
        tokens_field=tokens_field,
        top_up=top_up,
        in_flight=in_flight,
        timeout_seconds=timeout_seconds,
        patience_seconds=patience_seconds,
        api_key_env=api_key_env,
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
            form=first_form(tokens_field),
        )

    return OpenAIServer(
        sampling,
        new_pool if urls else None,
        grouped=requests == "group",
        top_up=top_up,
        give_up=patience_seconds / 5,
    )


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
