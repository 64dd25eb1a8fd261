"""How the loopback server behaves, and what it remembers of a request: plain values, as JSON.

Behaviours flow from the handle (`handle.py`) to the server, and a log of requests flows back.
"""

from dataclasses import asdict, dataclass, replace
from typing import Literal

import orjson


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What the server does. Shares lie in [0, 1]; what they hit depends on the request alone.

    The counters (`*_next`) are for the next so many completion requests, one at a time in the order
    in which they stand here. What a `*_substring` looks for is looked for in all messages.
    """

    # time
    latency_s: float = 0.0
    jitter_s: float = 0.0  # up to so much longer
    tail_share: float = 0.0  # that share of requests …
    tail_s: float = 0.0  # … takes so much longer

    # the server as a whole
    status: int | None = None  # answer every completion with it
    retry_after: str | None = None  # the header of errors by status, fail_next and outage
    health: int = 200
    outage_s: float = 0.0  # from the moment it is set everything answers 503, /health too

    most_at_once: int | None = None  # completions inside the server; one more gets a 429
    most_a_second: int | None = None  # completions that arrive within a second; so here
    refused_fields: tuple[str, ...] = ()  # of completions: OpenAI's 400 for an unsupported one

    # the next requests
    reset_next: int = 0  # the connection is reset
    hang_next: int = 0  # no answer until the client goes away
    fail_next: int = 0
    fail_status: int = 500
    malformed_next: int = 0  # 200 with broken JSON
    empty_next: int = 0  # 200 with no choices
    fewer_next: int = 0  # one choice fewer than asked for
    abort_next: int = 0  # finish_reason "abort" and half a text, as when vLLM drops a request

    # some prompts
    context_limit: int | None = None  # characters; a longer prompt gets vLLM's 400
    refuse_substring: str | None = None  # a 400 that is not about the context
    poison_substring: str | None = None  # a 500, every time
    die_substring: str | None = None  # the server kills itself (SIGKILL)

    # texts
    text_bytes: int = 400
    length_share: float = 0.0  # of samples: cut off, finish_reason "length"
    empty_text_share: float = 0.0  # of samples
    duplicate_share: float = 0.0  # of samples: the same text whatever the seed
    reasoning: Literal["none", "reasoning", "reasoning_content"] = "none"  # the text's field
    reasoning_only: bool = True  # content is null; else it holds the last line, the answer

    # Pairs of a text and a reply: a prompt that holds the text gets the reply, whatever the seed.
    # Several replies to one text are given in turn, again and again.
    script: tuple[tuple[str, str], ...] = ()

    # the engine
    max_running: int | None = None  # so many sequences run at once, the rest waits
    kv_when_full: float = 0.5  # the KV cache's use when max_running sequences run
    metrics: bool = True  # else /metrics is 404
    gauges: Literal["vllm", "sglang"] = "vllm"  # whose names /metrics has
    models: tuple[str, ...] = ("loop",)
    root: str | None = None  # what /v1/models says the model was loaded from

    def json(self) -> bytes:
        """The behaviour as JSON."""
        return orjson.dumps(asdict(self))

    def spent(self) -> "Behaviour":
        """The same without what is over after its moment: the counters and the outage."""
        return replace(
            self,
            reset_next=0,
            hang_next=0,
            fail_next=0,
            malformed_next=0,
            empty_next=0,
            fewer_next=0,
            abort_next=0,
            outage_s=0.0,
        )


COUNTERS = (
    "reset_next",
    "hang_next",
    "fail_next",
    "malformed_next",
    "empty_next",
    "fewer_next",
    "abort_next",
)


def behaviour_of(data: bytes | str) -> Behaviour:
    """The inverse of `Behaviour.json`; TypeError for a field that there is not."""
    row = orjson.loads(data)
    lists = {name: tuple(row[name]) for name in ("models", "refused_fields") if name in row}
    script = tuple((text, reply) for text, reply in row.get("script", ()))
    return Behaviour(**{**row, **lists, "script": script})


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A completion request that the server received.

    Times are seconds of the machine's monotonic clock, so they compare across restarts and with a
    client's `time.monotonic()`. `ended` is None while it is open and where the server was killed
    meanwhile; `status` is None too where no answer was given (reset, hung, the client went away).
    """

    arrived: float
    ended: float | None
    status: int | None
    n: int
    seed: int | None
    prompt: str  # the last user message or the prompt, its first 200 characters
    digest: str  # of the whole body
    in_flight: int  # completion requests inside the server as it arrived, this one included
    fields: tuple[str, ...] = ()  # of the request, by name


def served_of(log: bytes) -> list[Served]:
    """Read a server's log in order of arrival: a line as a request arrives, one as it ends.

    `[id, arrived, n, seed, in_flight, digest, prompt, fields]`, `[id, ended, status]`; `[]` is a
    start of the server, after which ids begin anew. A torn last line is left out.
    """
    found: list[Served] = []
    places: dict[int, int] = {}
    for line in log.split(b"\n")[:-1]:
        match orjson.loads(line):
            case []:
                places.clear()
            case [number, ended, status]:
                if (at := places.pop(number, None)) is not None:
                    found[at] = replace(found[at], ended=ended, status=status)
            case [number, arrived, n, seed, in_flight, digest, prompt, fields]:
                places[number] = len(found)
                found.append(
                    Served(
                        arrived=arrived,
                        ended=None,
                        status=None,
                        n=n,
                        seed=seed,
                        prompt=prompt,
                        digest=digest,
                        in_flight=in_flight,
                        fields=tuple(fields),
                    )
                )
    return found
