"""SeqDep against its floor, one call a term, and vLLM's prompt_logprobs, on the same model.

`python -m benchmarks.seqdep`: a random Llama of 8 layers x 512 with 32,768 tokens in float32, a
prompt of 64 tokens, segments of 40. The floor is what no method can avoid: a plain causal forward
over as many tokens as our packed row holds, with the output head on every row, some at a time, and
no log-probability taken. The naive way is one call of the model a term, as one writes it; beside it
stands a frugal one, which applies the output head to the term's rows alone. vLLM is asked for all
terms at once, in both ways too: one request a term, or the whole text once and every segment behind
the prompt once; its processes are stopped while ours runs. Ways take turns.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import aiohttp
import torch

from benchmarks.lines import NO_GPU, Line, absent, interleaved, ratio_line, report
from benchmarks.models import random_llama
from benchmarks.real_vllm import MISSING, RealVLLM, interpreter
from scorers.seqdep import loader
from scorers.seqdep.causal_lm import Scorer
from scorers.seqdep.packing import Document, Segment, score_documents

Ways = dict[str, Callable[[], object]]

PROMPT, SEGMENT, VOCABULARY = 64, 40, 32_768
RUNS = 5
ROWS = 512  # of the output head at a time, as the scorer takes them
FLOOR = {"512": 6, "2k": 25, "8k": 102}  # segments: 504, 2,024 and 8,184 packed tokens
NAIVE = {20: RUNS, 100: RUNS}  # segments, runs: 100 take minutes
VLLM_SEGMENTS = 20
SIZES = (10_000, 100_000)  # texts


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        model = random_llama(Path(name) / "model", vocabulary=VOCABULARY)
        scorer = loader.load_scorer(str(model))
        lines = [*_floor(scorer), *_naive(scorer), *_vllm(scorer, model, Path(name))]
    lines += [_memory(), _corpus_size(), *_gpu()]
    report("seqdep", *lines)


def document(segments: int, vocabulary: int = VOCABULARY) -> Document:
    """Random tokens."""
    ids = torch.randint(
        vocabulary,
        (PROMPT + segments * SEGMENT,),
        generator=torch.Generator().manual_seed(segments),
    ).tolist()
    edges = range(0, segments * SEGMENT + 1, SEGMENT)
    return Document(
        prompt_T=tuple(ids[:PROMPT]),
        response_T=tuple(ids[PROMPT:]),
        segmentations=(tuple(Segment(a, a, b) for a, b in pairwise(edges)),),
    )


def packed(scorer: Scorer, one: Document) -> list[float]:
    """Gains in one pass."""
    ((terms,),) = score_documents(scorer, [one], batch_tokens=1 << 20, finished=lambda _: None)
    return list(terms.gains)


def packed_tokens(segments: int) -> int:
    """Tokens of the packed row."""
    return PROMPT + (2 * segments - 1) * SEGMENT


@torch.inference_mode()
def plain_forward(scorer: Scorer, tokens: int) -> float:
    """A causal forward with the output head on every row; a number that depends on all of it."""
    ids_1T = torch.arange(tokens, device=scorer.model.device)[None] % VOCABULARY
    hidden_TH = scorer.model.base_model(input_ids=ids_1T, use_cache=False).last_hidden_state[0]
    head = scorer.model.get_output_embeddings()
    return sum(float(head(rows)[-1, -1]) for rows in hidden_TH.split(ROWS))


@torch.inference_mode()
def naive(scorer: Scorer, one: Document, *, frugal: bool = False) -> list[float]:
    """Gains with one call a term; with `frugal`, logits of the term's rows alone."""

    def term(before: tuple[int, ...], segment: tuple[int, ...]) -> float:
        ids_1T = torch.tensor([before + segment])
        kept = len(segment) + 1 if frugal else 0  # 0: all
        logits = scorer.model(input_ids=ids_1T, use_cache=False, logits_to_keep=kept).logits[0]
        rows = logits[-len(segment) - 1 : -1].log_softmax(-1)
        return float(rows.gather(1, torch.tensor([segment]).T).double().sum())

    x, response = one.prompt_T, one.response_T
    return [
        term(x + response[:first], response[first:end]) - term(x, response[first:end])
        for _, first, end in one.segmentations[0][1:]
    ]


def _floor(scorer: Scorer) -> Iterator[Line]:
    for label, segments in FLOOR.items():
        tokens = packed_tokens(segments)
        ways: Ways = {
            "packed": partial(packed, scorer, document(segments)),
            "floor": partial(plain_forward, scorer, tokens),
        }
        seconds = interleaved(ways, RUNS)
        yield ratio_line(
            f"packed_vs_floor_{label}",
            seconds["packed"],
            seconds["floor"],
            better="lower",
            target=1.15,
            baseline=f"a plain causal forward over {tokens:,} tokens, "
            f"{median(seconds['floor']):.2f} s",
        )


def _naive(scorer: Scorer) -> Iterator[Line]:
    for segments, runs in NAIVE.items():
        one = document(segments)
        found: dict[str, list[float]] = {}
        ways: dict[str, Callable[[], list[float]]] = {
            "packed": partial(packed, scorer, one),
            "naive": partial(naive, scorer, one),
            "frugal": partial(naive, scorer, one, frugal=True),
        }
        seconds = interleaved({n: partial(_keep, found, n, way) for n, way in ways.items()}, runs)
        worst = max(abs(a - b) for a, b in zip(found["packed"], found["naive"], strict=True))
        assert worst / SEGMENT <= 1e-5, f"packed and naive differ by {worst / SEGMENT} nats a token"
        yield ratio_line(
            f"speedup_vs_naive_{segments}",
            seconds["naive"],
            seconds["packed"],
            target=6.0 if segments == 20 else 20.0,
            baseline=f"one forward call a term, {median(seconds['naive']):.1f} s",
        )
        yield ratio_line(
            f"speedup_vs_frugal_naive_{segments}",
            seconds["frugal"],
            seconds["packed"],
            baseline=f"the same, with logits of the term alone, {median(seconds['frugal']):.1f} s",
        )


def _keep(found: dict[str, list[float]], name: str, way: Callable[[], list[float]]) -> None:
    found[name] = way()


def _vllm(scorer: Scorer, model: Path, folder: Path) -> Iterator[Line]:
    python = interpreter()
    one = document(VLLM_SEGMENTS)
    x, response = list(one.prompt_T), list(one.response_T)
    alone = [x + response[s.first : s.end] for s in one.segmentations[0][1:]]
    joint = [x + response[: s.end] for s in one.segmentations[0][1:]]
    asked = {"naive": joint + alone, "frugal": [*joint[-1:], *alone]}
    seconds: dict[str, list[float]] = {}
    if python is not None:
        options = ("--max-model-len", "1024", "--max-num-batched-tokens", "4096")
        with RealVLLM(python, folder / "vllm.log", *options, model=model) as server:

            def ours() -> None:
                with server.stopped():
                    packed(scorer, one)

            ways: Ways = {
                name: partial(_ask, server.url, prompts) for name, prompts in asked.items()
            }
            interleaved(ways, 1)  # warm
            seconds = interleaved(ways | {"packed": ours}, RUNS)
    for name, target in (("naive", 3.0), ("frugal", None)):
        best = f", {median(seconds[name]):.1f} s" if seconds else ""
        what = {"naive": "one request a term", "frugal": "the text once, every segment once"}
        yield ratio_line(
            f"speedup_vs_{'frugal_' if name == 'frugal' else ''}vllm_prompt_logprobs",
            seconds.get(name, []),
            seconds.get("packed", []),
            target=target,
            baseline=f"{what[name]}: {len(asked[name])} at once, {sum(map(len, asked[name])):,} "
            f"tokens{best}",
            reason=None if seconds else MISSING,
        )


def _ask(url: str, prompts: list[list[int]]) -> None:
    asyncio.run(_prompt_log_probs(url, prompts))


async def _prompt_log_probs(url: str, prompts: list[list[int]]) -> list[int]:
    """Ask for all prompts at once; how many log-probabilities came for each."""

    async def ask(session: aiohttp.ClientSession, ids: list[int]) -> int:
        body = {"model": "tiny-teacher", "prompt": ids, "max_tokens": 1, "prompt_logprobs": 0}
        async with session.post(f"{url}/completions", json=body) as reply:
            reply.raise_for_status()
            found = (await reply.json())["choices"][0]["prompt_logprobs"]
        assert len(found) == len(ids)
        return len(found)

    async with aiohttp.ClientSession() as session:
        return list(await asyncio.gather(*(ask(session, ids) for ids in prompts)))


def _memory() -> Line:
    """Peak memory above the weights, in processes of their own, at two vocabularies."""
    peaks = {}
    for vocabulary in (8_192, 151_936):
        command = [sys.executable, "-m", "benchmarks.seqdep_memory", str(vocabulary)]
        peaks[vocabulary] = float(subprocess.check_output(command, text=True).split()[-1])
    return Line(
        name="memory_v152k_vs_v8k",
        value=round(peaks[151_936] / peaks[8_192], 2),
        unit="ratio of MB above the weights",
        better="lower",
        target=1.3,
        baseline=f"V = 8,192: {peaks[8_192]:.0f} MB for {packed_tokens(102):,} tokens",
        n=1,
    )


def _corpus_size() -> Line:
    """Peak memory of `polytrace score` over short texts, with a model that weighs nothing."""
    peaks = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = random_llama(folder / "model", vocabulary=257, layers=1, hidden=64, heads=1)
        for rows in SIZES:
            texts = folder / f"{rows}.jsonl"
            texts.write_text("".join(f'{{"text": "{n}. So {n}."}}\n' for n in range(rows)))
            options = ("--model", str(model), "--input", str(texts), "--window-tokens", "4")
            command = [sys.executable, "-m", "flows.cli", "score", *options]
            command += ["--out", str(folder / f"{rows}.parquet")]
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            _, status, usage = os.wait4(process.pid, 0)
            assert status == 0
            peaks[rows] = usage.ru_maxrss / 1024
    small, large = SIZES
    return Line(
        name="score_rss_100k_vs_10k",
        value=round(peaks[large] / peaks[small], 2),
        unit="ratio of peak MB",
        better="lower",
        target=1.1,
        baseline=f"{small:,} texts, {peaks[small]:.0f} MB with Python, torch and the model",
        n=1,
    )


def _gpu() -> Iterator[Line]:
    """The lines that need a GPU: what `benchmarks.seqdep_gpu` prints there, else a reason."""
    names = ("gpu_tokens_per_s", "gpu_share_of_matmul_rate", "gpu_packed_vs_floor_8k")
    if torch.cuda.is_available():
        printed = subprocess.check_output(
            [sys.executable, "-m", "benchmarks.seqdep_gpu"], text=True
        )
        yield from (Line(**json.loads(line)) for line in printed.splitlines())
    else:
        yield from absent(names, NO_GPU, lower=names[2:])


if __name__ == "__main__":
    main()
