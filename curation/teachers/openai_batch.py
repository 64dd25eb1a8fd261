"""Teacher `openai_batch`: a model behind OpenAI's batch API: half the price, within a day.

Samples are sent in files of requests, and come back in files. Stopping a build stops no batch: the
same command finds its batches on the server, by their metadata and the names of their requests, and
fetches what they delivered. A sample's key is that of `openai_server` with the same settings, so
samples of either are used by both.
"""

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any

from curation.teachers import Outcomes, Request, SampleBudget, Shortfall
from curation.teachers._part import ReplyPart
from curation.teachers.openai.batch.api import BatchApi
from curation.teachers.openai.batch.stream import BatchStream
from curation.teachers.openai.client import Connection, address
from curation.teachers.openai.endpoints import read_key, say
from curation.teachers.openai.options import (
    Few,
    Grouping,
    check_reaching,
    require,
    server_sampling,
)
from curation.teachers.openai.reply_body import READ_BYTES
from curation.teachers.openai.request_form import TokensField, first_form
from curation.teachers.openai.wire import PROBLEM, SEED_SPACING, UNSTATED, Api, ServerSampling
from schemas.records import Prompt
from support.errors import UserError
from support.signals import said_when_ended

REQUEST_BYTES = 65_536  # of a request, so far as its reply may repeat it


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
    in_flight: int = 40_000,
    timeout_seconds: float = 600.0,
    patience_seconds: float = 600.0,
    api_key_env: str | None = None,
    extra: dict[str, Any] | None = None,
) -> "OpenAIBatch":
    """A teacher out of an address; raises UserError where an option makes no sense.

    Options that are not named here are those of `openai_server`.

    Args:
        model: the name under which the server knows the model.
        endpoints: one base address, such as https://api.openai.com/v1.
        revision: the model's commit; part of every trace's key.
        api: chat completions, or plain completions of the prompt as it is.
        requests: one request a sample, or one request with `n` for all samples of a prompt.
        temperature: 0 is greedy.
        top_p: nucleus, in (0, 1].
        max_tokens: of one sample.
        tokens_field: the request's field for it; see `openai_server`.
        stop: stop strings.
        system: the system message.
        prompt: the user message.
        hints: method hints.
        part: what of a reply becomes the trace.
        seeds: send each sample a seed of its own.
        seed: the seeds' seed.
        top_up: at most so many more samples a prompt, in a later batch.
        in_flight: samples in submitted batches; each batch holds a quarter of them.
        timeout_seconds: of one call of the API.
        patience_seconds: for how long a server that does not answer is called again.
        api_key_env: the name of the environment variable that holds the key.
        extra: more fields of the request.
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
    require(len(addresses) <= 1, "endpoints", "one address: a batch belongs to one server")
    return OpenAIBatch(
        sampling,
        address(addresses[0]) if addresses else None,
        grouped=requests == "group",
        top_up=top_up,
        in_flight=in_flight,
        tokens_field=tokens_field,
        timeout=timeout_seconds,
        patience=patience_seconds,
        key_name=api_key_env,
    )


class OpenAIBatch:
    """Samples by batches; see `build` for the options."""

    is_record = False

    def __init__(
        self,
        sampling: ServerSampling,
        url: str | None,
        *,
        grouped: bool,
        top_up: int,
        in_flight: int,
        tokens_field: TokensField,
        timeout: float,
        patience: float,
        key_name: str | None,
    ) -> None:
        self.name = sampling.name
        self.revision = sampling.revision or UNSTATED
        self._sampling, self._url = sampling, url
        self._grouped, self._top_up, self._in_flight = grouped, top_up, in_flight
        self._tokens_field: TokensField = tokens_field
        self._timeout, self._patience, self._key_name = timeout, patience, key_name
        self._stream: BatchStream | None = None

    @property
    def note(self) -> str:
        """The batches at the server, and how far they are."""
        return self._stream.note() if self._stream else ""

    def wanted(self, prompt: Prompt, samples: int) -> SampleBudget:
        """As many as the recipe asks for, and the spare ones."""
        return SampleBudget(samples, samples + self._top_up)

    def key(self, prompt: Prompt, index: int) -> str:
        """A hash of all that shapes the sample; the address of a server does not."""
        return self._sampling.key(prompt, index)

    async def reach(self) -> None:
        """Ask the server for its batches once; ShortError where it does not answer."""
        connection = self._connect()
        async with connection.session:
            async for _ in BatchApi(connection, patience=0).batches():
                break

    async def sample(self, requests: Iterable[Request], shortfall: Shortfall) -> Outcomes:
        """Outcomes as batches come back; the server is asked when the first sample is missing."""
        connection = self._connect()
        most = SEED_SPACING if self._grouped else 1  # samples of one request
        stream = self._stream = BatchStream(
            self._sampling,
            BatchApi(connection, self._patience, self._sampling.most_reply(most, REQUEST_BYTES)),
            grouped=self._grouped,
            in_flight=self._in_flight,
            form=first_form(self._tokens_field),
        )
        with said_when_ended(stream.left_behind):
            async with connection.session, aclosing(stream.run(requests, shortfall)) as outcomes:
                try:
                    async for outcome in outcomes:
                        yield outcome
                except asyncio.CancelledError:
                    if sentence := stream.left_behind():
                        say(sentence)
                    raise

    def _connect(self) -> Connection:
        import aiohttp

        if self._url is None:
            raise UserError("teacher.endpoints: none; give the address of a server's batch API")
        key = read_key(self._key_name)
        session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=10),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            read_bufsize=READ_BYTES,
        )
        return Connection(session, self._url, key)
