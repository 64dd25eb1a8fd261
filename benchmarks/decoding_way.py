"""One way of decoding in a process of its own: `python -m benchmarks.decoding_way ours CASE`.

`ours` is `diffusion.decoding.decode.decode` on the batch, `alone` the same one row at a time,
`plain` the full-vocabulary loop. Each line on stdin asks for one decode of the batch; each is
answered by a line of JSON: seconds, the peak memory so far in MB above that of the built model, and
the tokens.
"""

import json
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch

from benchmarks import decoding_peer
from benchmarks.decoding_case import CASES, DecodingCase
from benchmarks.memory import forget_peak, peak_mb, resident_mb
from benchmarks.turns import THREADS
from diffusion.decoding.decode import decode
from diffusion.decoding.rules.confidence import Confidence
from support.capacity import keep_freed


def main() -> None:
    """Build, then decode whenever asked."""
    torch.set_num_threads(THREADS)
    keep_freed()  # as evaluations do, and here for every way alike
    case = CASES[sys.argv[2]]
    work = way(sys.argv[1], case)
    is_gpu = case.device == "cuda"
    before = torch.cuda.memory_allocated() / 2**20 if is_gpu else resident_mb()
    forget_peak()
    for _ in sys.stdin:
        began = time.perf_counter()
        with torch.autocast(case.device, torch.bfloat16) if case.is_half else nullcontext():
            tokens = work()
        seconds = time.perf_counter() - began
        peak = torch.cuda.max_memory_allocated() / 2**20 if is_gpu else peak_mb()
        print(json.dumps({"seconds": seconds, "peak_mb": peak - before, "tokens": tokens}))
        sys.stdout.flush()


def way(name: str, case: DecodingCase) -> Callable[[], list[list[int]]]:
    """What decodes the batch and returns every row's answer, headers left out."""
    columns = [n for n, slot in enumerate(case.layout.slot_of()) if slot >= 0]
    requests = case.requests
    if name == "plain":
        net = case.net()
        batch = decoding_peer.laid(case.layout, requests, case.tokenizer.mask_token_id, case.device)
        at = [len(request.prompt) for request in requests]

        def plain() -> list[list[int]]:
            ids_BT, _ = decoding_peer.decode(
                net, batch, case.tokenizer.mask_token_id, case.steps, shift=case.shift
            )
            return [
                [row[begin + column] for column in columns]
                for begin, row in zip(at, ids_BT.tolist(), strict=True)
            ]

        return plain
    dlm = case.dlm_of(case.net(), "llada")
    dlm.denoiser.eval()
    batches = [[one] for one in requests] if name == "alone" else [requests]

    def ours() -> list[list[int]]:
        rows = [
            row
            for some in batches
            for row in decode(dlm, case.layout, some, Confidence(), steps=case.steps)
        ]
        return [row.ids_C[columns].tolist() for row in rows]

    return ours


if __name__ == "__main__":
    main()
