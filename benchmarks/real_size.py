"""Decoding at a real size: random models of 160 to 180 M parameters in bfloat16.

`python -m benchmarks.real_size [BATCH …]`: rows of 192 prompt tokens and 64 masks. Exact decoding
of a Dream against a loop over full-vocabulary logits and against dLLM's sampler; the dual and the
prefix cache of a LLaDA (blocks of 32, 8 steps each) against no cache and against Fast-dLLM's own
code; the cache of finished blocks of an SDAR against computing whole rows. All ways run in turn in
one process, on the GPU where there is one. Before that, one row is decoded in float32 by a peer
and by us: the tokens must be the same.

The peers' code is not here. `POLYTRACE_DLLM` and `POLYTRACE_FAST_DLLM` name folders with their
repositories; without them their lines have no value and say why. Fast-dLLM also needs einops.
"""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from statistics import median

import torch

from benchmarks.lines import NO_GPU, Line, absent, ratio_line, report
from benchmarks.real_size_case import MASKS, Way, dream_ways, llada_ways, sdar_ways
from benchmarks.real_size_peers import DLLM, FAST_DLLM, missing
from benchmarks.turns import THREADS

BATCHES = (1, 8)
RUNS = {1: 3, 8: 2}  # timed; batch 1 warms up once
# Name, the family's ways, what is held against what, target at batch 1 and 8, what is compared.
_Ways = Callable[[int, str, torch.dtype], Mapping[str, Way]]
_Compared = tuple[str, str, str, tuple[float | None, float | None], str]
LINES: tuple[tuple[_Ways, tuple[_Compared, ...]], ...] = (
    (
        dream_ways,
        (
            ("exact_vs_plain_loop", "plain", "ours", (1.0, 1.3), "a loop over all logits"),
            ("exact_vs_dllm", "dllm", "ours", (1.0, 1.0), "dLLM's DreamSampler"),
        ),
    ),
    (
        llada_ways,
        (
            ("dual_vs_exact", "exact", "dual", (None, 3.0), "ours without a cache"),
            ("prefix_vs_exact", "exact", "prefix", (None, None), "ours without a cache"),
            ("dual_vs_fast_dllm", "fast_dual", "dual", (1.0, 1.3), "Fast-dLLM's dual cache"),
            (
                "prefix_vs_fast_dllm",
                "fast_prefix",
                "prefix",
                (1.0, 1.3),
                "Fast-dLLM's prefix cache",
            ),
        ),
    ),
    (sdar_ways, (("finished_vs_exact", "exact", "finished", (None, 3.0), "ours without a cache"),)),
)


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(THREADS)
    batches = tuple(int(one) for one in sys.argv[1:]) or BATCHES
    report("real_size", *lines("cpu", batches), *_gpu(batches))


def lines(device: str, batches: tuple[int, ...]) -> Iterator[Line]:
    """The lines of one device."""
    for make, compared in LINES:
        same = _same_tokens(make(1, "cpu", torch.float32))
        for batch in batches:
            ways = make(batch, device, torch.bfloat16)
            if batch == 1:
                _timed(ways, 1, device)
            seconds, cpu = _timed(ways, RUNS.get(batch, 2), device)
            for name, slow, fast, targets, baseline in compared:
                full = f"{'gpu_' if device == 'cuda' else ''}{name}_batch_{batch}"
                lacking = [missing(way) for way in (slow, fast) if way not in ways]
                if lacking:
                    yield from absent([full], lacking[0])
                    continue
                rates = [batch * MASKS / median(seconds[one]) for one in (slow, fast)]
                cores = [median(cpu[one]) for one in (slow, fast)]
                yield ratio_line(
                    full,
                    seconds[slow],
                    seconds[fast],
                    target=targets[batch > 1],
                    baseline=f"{baseline}, {rates[0]:,.0f} tokens/s; ours {rates[1]:,.0f}; "
                    f"{cores[0] / cores[1]:.2f} in processor time"
                    + (f"; in float32 {same[slow]} tokens of one row" if slow in same else ""),
                )


def _timed(
    ways: Mapping[str, Way], runs: int, device: str
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall-clock and processor seconds of every way, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(runs):
        for name in reversed(list(ways)) if number % 2 else ways:
            began, busy = time.perf_counter(), time.process_time()
            ways[name]()
            if device == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - began)
            cpu[name].append(time.process_time() - busy)
            print(f"{name} {seconds[name][-1]:.2f} s", os.getloadavg()[0], file=sys.stderr)
    return seconds, cpu


def _same_tokens(ways: Mapping[str, Way]) -> dict[str, str]:
    """Whether a peer decodes one row to our tokens in float32: `the same`, or the share."""
    found: dict[str, str] = {}
    for theirs, ours in (
        (DLLM, "ours"),
        ("plain", "ours"),
        (f"{FAST_DLLM}_dual", "dual"),
        (f"{FAST_DLLM}_prefix", "prefix"),
    ):
        if theirs in ways:
            pairs = [a == b for a, b in zip(ways[theirs]()[0], ways[ours]()[0], strict=True)]
            share = math.floor(100 * sum(pairs) / len(pairs))
            found[theirs] = "the same" if all(pairs) else f"{share} % the same"
    return found


def _gpu(batches: tuple[int, ...]) -> Iterator[Line]:
    if torch.cuda.is_available():
        yield from lines("cuda", batches)
        return
    names = [
        f"gpu_{one[0]}_batch_{b}" for _, compared in LINES for b in batches for one in compared
    ]
    yield from absent(names, NO_GPU)


if __name__ == "__main__":
    main()
