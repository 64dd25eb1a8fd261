"""What Fast-dLLM's caches gain and what they change: the tiny DLM on its own test problems.

`python -m benchmarks.caches`: Fast-dLLM (threshold 0.9, blocks of 13) in one slot of 156 masks,
with nothing kept and with each cache, in bfloat16 on two threads; the ways take turns. Beside the
speed stand the share of tokens that differ from the exact row's, and what is solved.
"""

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from statistics import median

import torch

from benchmarks.lines import Line, ratio_line, report
from benchmarks.training_case import TINY_DLM
from benchmarks.turns import THREADS
from diffusion.decoding.decode import Decoded
from diffusion.decoding.kv_cache import APPROXIMATE, CacheSettings
from diffusion.decoding.rules.fast_dllm import FastDllm
from diffusion.evaluation.answers import load_decoder
from diffusion.models.network.denoiser import Dlm
from diffusion.settings import ModelReference
from tools.tiny.measure_dlm import BATCH, decoded, solved
from tools.tiny.problems import Problem, distinct

PROBLEMS, RUNS = 128, 5
RULE = FastDllm(threshold=0.9, block=13)
WAYS = (None, *(CacheSettings(kind=kind) for kind in APPROXIMATE))


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(THREADS)
    dlm = load_decoder(ModelReference(path=str(TINY_DLM)), "cpu")
    problems = list(islice(distinct(2, "test"), PROBLEMS))
    report("caches", *lines(dlm, problems))


def lines(dlm: Dlm, problems: Sequence[Problem]) -> Iterator[Line]:
    """A line for each cache."""
    seconds: dict[CacheSettings | None, list[float]] = {way: [] for way in WAYS}
    rows: dict[CacheSettings | None, list[Decoded]] = {}
    decoded(dlm, problems[:BATCH], RULE)  # warms up
    for number in range(RUNS):
        for way in reversed(WAYS) if number % 2 else WAYS:
            began = time.perf_counter()
            rows[way] = decoded(dlm, problems, RULE, caching=way)
            seconds[way].append(time.perf_counter() - began)
    exact = rows[None]
    for way in WAYS[1:]:
        assert way is not None
        pairs = [
            a == b
            for one, other in zip(exact, rows[way], strict=True)
            for a, b in zip(one.ids_C.tolist(), other.ids_C.tolist(), strict=True)
        ]
        right, before = (sum(solved(dlm, problems, some)) for some in (rows[way], exact))
        passes, all_passes = (median(row.nfe for row in some) for some in (rows[way], exact))
        yield ratio_line(
            f"cache_{way.kind}_vs_exact",
            seconds[None],
            seconds[way],
            baseline=f"nothing kept, {PROBLEMS / median(seconds[None]):.1f} problems/s; "
            f"{1 - sum(pairs) / len(pairs):.2%} of the tokens are others, {right} of {PROBLEMS} "
            f"are solved, {before} exactly; median passes {passes:.0f}, exactly {all_passes:.0f}",
        )


if __name__ == "__main__":
    main()
