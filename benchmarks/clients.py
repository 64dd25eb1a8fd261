"""Two clients for one server: a bare loop over HTTP, and the sampling stage of a build.

In: a server's address, how many prompts, samples of each, requests in flight. The bare loop reads
every answer and keeps nothing: it is what the client library and the server can do at most. Ours is
the stage itself (`curation/stages/trace_stage.py`): journal, top-up rules, shards closed into
Parquet.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from curation.context import Job
from curation.graders.judging import question as judging
from curation.run_store import shards
from curation.stages import prompt_stage, trace_stage
from curation.stages.prompt_stage import SourceIndex
from schemas import arrow
from schemas.recipe import validate_recipe
from schemas.records import Stage, Trace
from support.errors import ShortError

MAX_TOKENS = 2048  # the loopback server does not obey it, but a request without it is no request
JUDGED = f"{judging.DEFAULT}\n{400 * '-'}"  # as long as a question about a trace of 400 bytes
VERDICT = (judging.DEFAULT.split("\n", 1)[0], f"They agree.\n\n{judging.VERDICT}CORRECT")
"""What the loopback server's `script` needs to be a judge as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is asked of a server; `grouped` asks for all samples of a prompt in one request.

    `in_rounds`: each prompt is graded while sampling runs, and might get as many samples again.
    `judged`: by a judge on the same server, which is asked about every sample.
    """

    prompts: int
    samples: int = 4
    in_flight: int = 50  # requests
    grouped: bool = True
    in_rounds: bool = False
    judged: bool = False
    slot_tokens: int = 330  # a trace of 400 bytes has about 200; a longer one would be topped up

    @property
    def requests(self) -> int:
        """How many that makes, of the teacher."""
        return self.prompts if self.grouped else self.prompts * self.samples

    @property
    def judgements(self) -> int:
        """How many requests of the judge each of them is followed by."""
        return (self.samples if self.grouped else 1) if self.judged else 0


def question(number: int) -> str:
    """The text of a prompt."""
    return f"What is {number} + {number}? [gold {2 * number}]"


def bare(url: str, work: Work) -> None:
    """Workers over one iterator: send, read, parse, forget."""
    asyncio.run(_bare(url + "/chat/completions", work))


async def _bare(url: str, work: Work) -> None:
    import aiohttp

    n = work.samples if work.grouped else 1
    numbers = iter(range(work.requests))
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def ask(message: str, n: int) -> None:
            body = orjson.dumps(
                {
                    "model": "loop",
                    "messages": [{"role": "user", "content": message}],
                    "temperature": 1.0,
                    "max_tokens": MAX_TOKENS,
                    "n": n,
                }
            )
            async with session.post(url, data=body) as answer:
                parsed = orjson.loads(await answer.read())
            if len(parsed["choices"]) != n:
                raise RuntimeError(f"{len(parsed['choices'])} choices, not {n}")

        async def worker() -> None:
            for number in numbers:
                await ask(question(number), n)
                await asyncio.gather(*(ask(JUDGED, 1) for _ in range(work.judgements)))

        await asyncio.gather(*(worker() for _ in range(work.in_flight)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A build whose prompts are read and whose traces are not sampled yet."""

    job: Job
    source_index: SourceIndex

    def sample(self) -> int:
        """Run the stage; how many traces it has made durable, also where it ends short."""
        try:
            trace_stage.sample_traces(self.job, self.source_index)
        except ShortError:
            pass
        finally:
            self.job.close()
        marks = (
            shards.read_marker(self.job.run, Stage.TRACES, i)
            for i in range(self.source_index.shards)
        )
        return sum(mark.rows for mark in marks if mark is not None)

    def traces(self) -> Iterator[Trace]:
        """The traces of the shards that are closed."""
        for index in range(self.source_index.shards):
            if shards.read_marker(self.job.run, Stage.TRACES, index) is not None:
                yield from arrow.records(Trace, shards.read(self.job.run, Stage.TRACES, index))


def prepare(folder: Path, url: str, work: Work) -> Build:
    """A build in `folder`, as far as its prompts."""
    source = folder / "prompts.jsonl"
    with source.open("w", encoding="utf-8") as file:
        for i in range(work.prompts):
            file.write(json.dumps({"question": question(i), "answer": str(2 * i)}) + "\n")
    rounds = {"per_round": work.samples, "most": 2 * work.samples}
    server = {"kind": "openai_server", "model": "loop", "endpoints": url}
    in_flight = work.in_flight * (work.samples if work.grouped else 1)
    judge = {"kind": "judge", "teacher": {**server, "in_flight": in_flight}}
    recipe = validate_recipe(
        {
            "name": "benchmark",
            "paths": work.samples,
            "samples": rounds if work.in_rounds else work.samples,
            "source": {
                "kind": "jsonl",
                "path": str(source),
                "columns": {"prompt": "question", "gold": "answer"},
            },
            "teacher": {
                **server,
                "requests": "group" if work.grouped else "single",
                "in_flight": in_flight,
                "max_tokens": MAX_TOKENS,
            },
            **({"grader": judge} if work.judged else {}),
            "canvas": {"slot_tokens": work.slot_tokens, "tokenizer": "tiny/teacher"},
            "scorer": None,
        },
        "benchmark",
    )
    job = Job(recipe=recipe, run=folder / "run")
    job.check()  # as the command does: it makes every part before any work
    return Build(job=job, source_index=prompt_stage.read_prompts(job))


def builds(folder: Path, url: str, work: Work, count: int) -> Callable[[], int]:
    """`count` builds, all prepared now; every call samples the next."""
    ready = []
    for number in range(count):
        (folder / str(number)).mkdir()
        ready.append(prepare(folder / str(number), url, work))
    waiting = iter(ready)
    return lambda: next(waiting).sample()
