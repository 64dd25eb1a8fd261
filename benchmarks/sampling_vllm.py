"""Sampling from a real vLLM server against a raw loop that saturates it: tokens a second of each.

`python -m benchmarks.sampling_vllm`: the demo's 400 prompts x 9 with the bundled teacher on vLLM's
CPU build, both ways in turn on one server. Ours is timed from nothing to the last shard on disk:
the teacher is made, the server probed, the limit found from its metrics while sampling, every
sample journaled, every shard closed into Parquet, the client shut down. The raw loop is timed from
the opening of its session to its closing: N workers post the same bodies one after another and
read the usage of each reply, no more (what a dropped connection lost is posted again); the best N
of a few, by its median. A run takes half a minute, since the client's start and the two seconds in
which it finds its limit are timed too.

In rounds, a prompt gets three samples at a time, up to nine, until its canvas can hold right and
wrong paths; every round is graded and compared while sampling runs, beside the client. Some test
problems are added, so that there are about as many samples. A run's last rounds, which keep the
server less busy, are timed with the rest.

The clients have the last core to themselves and the server has the others, as where a server is a
machine of its own. On two cores that all may use, vLLM's processes wait for each other by spinning,
and a run takes once or twice as long by chance, whoever asks: 3,457 to 7,088 tokens/s were seen of
the same raw loop. What our client costs in processor time is in `benchmarks.sampling`.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import aiohttp
import orjson

from benchmarks.demo import bundled_prompts, demo_prompts
from benchmarks.lines import Line, median_line, ratio_line, report
from benchmarks.real_vllm import MISSING, NAME, RealVLLM, interpreter
from curation.context import Job
from curation.run_store import shards
from curation.sampling import service
from curation.stages.sampling_rounds import RoundShortfall
from curation.teachers import Shortfall
from curation.teachers.openai_server import build
from schemas import arrow
from schemas.recipe import validate_recipe
from schemas.records import Prompt, Stage, Trace
from schemas.samples import Rounds

SAMPLES, SHARD_ROWS, RUNS, MAX_TOKENS = 9, 100, 5, 72
WORKERS = (144, 192)  # its scheduler runs 128 at once
PER_ROUND, MORE_IN_ROUNDS = 3, 140
IN_ROUNDS = {  # the demo's canvases; source and teacher are not used
    "name": "benchmark",
    "samples": {"per_round": PER_ROUND, "most": SAMPLES, "until": {"correct": [1, 2]}},
    "source": {"kind": "jsonl", "path": "tiny/prompts/demo.jsonl"},
    "teacher": {"kind": "recorded"},
    "canvas": {"slot_tokens": 48, "summary_tokens": 12, "tokenizer": "tiny/teacher"},
    "scorer": None,
}


def main() -> None:
    """Measure and print."""
    python = interpreter()
    if python is None:
        report("sampling_vllm", *_lines({way: [] for way in WAYS}, {}, reason=MISSING))
        return
    prompts = demo_prompts()
    ours: dict[str, list[float]] = {way: [] for way in WAYS}
    raw: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    *others, last = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.sched_setaffinity(0, others or {last})  # the server inherits it
        with RealVLLM(python, folder / "server.log") as server:
            os.sched_setaffinity(0, {last})
            asyncio.run(_raw(server.url, prompts[:50], max(WORKERS)))  # warm
            for number in range(RUNS):
                for way, sample in WAYS.items():
                    ours[way].append(sample(server.url, prompts, folder / f"{number}{way}"))
                for workers, rates in raw.items():
                    rates.append(asyncio.run(_raw(server.url, prompts, workers)))
    report("sampling_vllm", *_lines(ours, raw))


def _lines(
    ours: Mapping[str, Sequence[float]], raw: dict[int, list[float]], reason: str | None = None
) -> Iterator[Line]:
    """For each way, the ratio, run by run, and our rate; then that of the raw loop."""
    best = max(raw, key=lambda workers: statistics.median(raw[workers]), default=0)
    theirs = raw.get(best, [])
    for way, rates in ours.items():
        yield ratio_line(
            f"real_vllm_vs_raw_loop{way}",
            rates,
            theirs,
            unit="ratio of tokens/s",
            target=0.97,
            baseline=f"{best} raw aiohttp workers on the same server" if theirs else None,
            reason=reason,
        )
        yield median_line(f"real_vllm_tokens_per_s{way}", rates, "tokens/s", reason=reason)
    yield median_line("real_vllm_raw_loop_tokens_per_s", theirs, "tokens/s", reason=reason)


def _fixed(url: str, prompts: Sequence[Prompt], folder: Path) -> float:
    """Tokens a second of `SAMPLES` a prompt, from nothing to the last shard on disk."""
    began = time.perf_counter()
    end = _sampled(url, prompts, folder, SAMPLES, service.no_shortfall)
    seconds = time.perf_counter() - began
    assert end.done == SAMPLES * len(prompts)
    return end.completion_tokens / seconds


def _in_rounds(url: str, prompts: Sequence[Prompt], folder: Path) -> float:
    """The same in rounds; the grader and the tokenizer are made and ended in that time, too."""
    prompts = [*prompts, *bundled_prompts("test", MORE_IN_ROUNDS)]
    began = time.perf_counter()
    job = Job(recipe=validate_recipe(IN_ROUNDS, "benchmark"), run=folder)
    try:
        assert isinstance(job.recipe.samples, Rounds)
        shortfall = RoundShortfall(job.grader, job.rules, job.counter)
        end = _sampled(url, prompts, folder, job.recipe.samples, shortfall)
    finally:
        job.close()
    seconds = time.perf_counter() - began
    assert PER_ROUND * len(prompts) < end.done < SAMPLES * len(prompts)
    return end.completion_tokens / seconds


def _sampled(
    url: str,
    prompts: Sequence[Prompt],
    folder: Path,
    samples: int | Rounds,
    shortfall: Shortfall,
) -> service.Progress:
    """Run the sampling service over all prompts with a new client; no sample fails."""

    def close(shard: service.FinishedShard) -> None:
        assert not shard.failures
        shards.write(folder, Stage.TRACES, shard.index, "", arrow.table(Trace, shard.traces), ())

    return service.run(
        build(model=NAME, endpoints=(url,), max_tokens=MAX_TOKENS, top_up=0),
        (
            service.Shard(index=start // SHARD_ROWS, prompts=prompts[start : start + SHARD_ROWS])
            for start in range(0, len(prompts), SHARD_ROWS)
        ),
        samples=samples,
        folder=folder / Stage.TRACES,
        have=lambda index: (),
        close=close,
        shortfall=shortfall,
    )


async def _raw(url: str, prompts: Sequence[Prompt], workers: int) -> float:
    """Tokens a second of `workers` loops that post and read, no more."""
    jobs = iter([prompt for prompt in prompts for _ in range(SAMPLES)])
    address, tokens = f"{url}/chat/completions", 0

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal tokens
        for prompt in jobs:
            body = {
                "model": NAME,
                "messages": [{"role": "user", "content": prompt.text}],
                "temperature": 1.0,
                "top_p": 1.0,
                "max_tokens": MAX_TOKENS,
                "n": 1,
                "skip_special_tokens": False,
            }
            headers = {"Content-Type": "application/json"}
            data = orjson.dumps(body)
            while True:
                try:
                    async with session.post(address, data=data, headers=headers) as reply:
                        reply.raise_for_status()
                        tokens += orjson.loads(await reply.read())["usage"]["completion_tokens"]
                        break
                except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
                    continue  # vLLM drops connections that it takes for idle

    began = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(work(session) for _ in range(workers)))
    return tokens / (time.perf_counter() - began)


WAYS: Mapping[str, Callable[[str, Sequence[Prompt], Path], float]] = {
    "": _fixed,
    "_in_rounds": _in_rounds,
}


if __name__ == "__main__":
    main()
