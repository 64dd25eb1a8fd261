"""The decoding loop against a plain batched loop over full-vocabulary logits: same tokens, exact.

`python -m benchmarks.decoding`: wall time and peak memory of 32 rows decoded by confidence. The
models are the tiny DLM on its own problems and canvas, and a random LLaDA of 8 layers x 384 with
32,768 tokens on canvases of 256 masks behind GSM8K's prompts; in bfloat16 autocast, on two
threads. Nothing is cached in either way. Each way is a process of its own, and they take turns;
that both decode the same tokens is checked in float32 on the whole batch, and counted in bfloat16.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median
from typing import NamedTuple

import torch

from benchmarks.decoding_case import CASES
from benchmarks.decoding_way import way
from benchmarks.lines import NO_GPU, Line, absent, ratio_line, report
from benchmarks.turns import THREADS, take_turns

WAYS = ("ours", "plain")
SPEED = {"tiny": "tiny_vs_batched_loop", "canvas": "vs_batched_loop"}
TARGETS = {"tiny": 1.0, "canvas": 1.3}
GPU = ("gpu_batch_1_vs_batched_loop", "gpu_batch_8_vs_batched_loop")


class DecodingRun(NamedTuple):
    """What a way answers."""

    seconds: float
    peak_mb: float
    tokens: list[list[int]]


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(THREADS)
    for name in ("tiny", "canvas"):
        check(name)
    report("decoding", *compare("tiny"), *compare("canvas"), *_gpu())


def check(name: str) -> None:
    """Both ways decode the same tokens in float32."""
    case = replace(CASES[name], is_half=False)
    ours, plain = (way(one, case)() for one in WAYS)
    assert ours == plain, f"{name}: the ways decode other tokens"


def taken(name: str, ways: Sequence[str], count: int) -> dict[str, list[DecodingRun]]:
    """The runs of the ways, which take turns."""
    answers = take_turns("benchmarks.decoding_way", name, ways, count)
    return {way: [DecodingRun(**answer) for answer in answers[way]] for way in ways}


def compare(name: str) -> Iterator[Line]:
    """The lines of a case."""
    case = CASES[name]
    runs = taken(name, WAYS, 1 + case.runs) | taken(name, ("alone",), 2)
    seconds = {one: [run.seconds for run in found[1:]] for one, found in runs.items()}
    pairs = [
        a == b
        for ours, plain in zip(runs["ours"][-1].tokens, runs["plain"][-1].tokens, strict=True)
        for a, b in zip(ours, plain, strict=True)
    ]
    tokens = case.batch * case.layout.masks
    yield ratio_line(
        SPEED[name],
        seconds["plain"],
        seconds["ours"],
        target=TARGETS[name],
        baseline=f"a batched loop over full-vocabulary logits, "
        f"{tokens / median(seconds['plain']):,.0f} tokens/s in {case.steps} steps; ours "
        f"{tokens / median(seconds['ours']):,.0f}, one row at a time "
        f"{tokens / median(seconds['alone']):,.0f}; in bfloat16 {sum(pairs) / len(pairs):.2%} of "
        "the tokens are the same, in float32 all",
    )
    if name == "canvas":
        ours_mb, plain_mb = ([run.peak_mb for run in runs[one][1:]] for one in WAYS)
        yield ratio_line(
            "peak_memory_vs_batched_loop",
            ours_mb,
            plain_mb,
            unit="ratio of peak MB above the model",
            better="lower",
            target=0.7,
            baseline=f"the same loop, {median(plain_mb):,.0f} MB; ours {median(ours_mb):,.0f} MB",
        )


def _gpu() -> Iterator[Line]:
    """The same on a GPU; a reason where there is none."""
    if not torch.cuda.is_available():
        yield from absent(GPU, NO_GPU)
        return
    for name, case, target in zip(GPU, ("gpu_batch_1", "gpu_batch_8"), (3.0, 2.0), strict=True):
        runs = taken(case, WAYS, 1 + CASES[case].runs)
        ours, plain = ([run.seconds for run in runs[one][1:]] for one in WAYS)
        baseline = "a batched loop over full-vocabulary logits"
        yield ratio_line(name, plain, ours, target=target, baseline=baseline)


if __name__ == "__main__":
    main()
