"""SeqDep on a GPU: the floor, tokens a second, and the share of the matrix-product rate.

`python -m benchmarks.seqdep_gpu`, called by `benchmarks.seqdep` where there is a GPU: a random
Llama of 1.1 B parameters in bfloat16, 16 documents of 50 segments of 40 tokens in one pass.
"""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median

import torch

from benchmarks.lines import Line, interleaved, ratio_line
from benchmarks.models import random_llama
from benchmarks.seqdep import document, packed, packed_tokens, plain_forward
from scorers.seqdep import loader
from scorers.seqdep.packing import score_documents

DOCUMENTS, SEGMENTS, RUNS = 16, 50, 5
SIZE = 8192  # of the square matrices whose product is the rate to compare with


def main() -> None:
    """Measure and print one JSON object a line."""
    with tempfile.TemporaryDirectory() as name:
        path = random_llama(
            Path(name) / "model", vocabulary=32_768, layers=22, hidden=2048, heads=32
        )
        scorer = loader.load_scorer(str(path))
    parameters = sum(p.numel() for p in scorer.model.parameters())
    documents = [document(SEGMENTS)] * DOCUMENTS
    tokens = DOCUMENTS * packed_tokens(SEGMENTS)

    def ours() -> None:
        score_documents(scorer, documents, batch_tokens=tokens, finished=lambda _: None)

    ours()  # compile
    seconds = median(_timed(ours) for _ in range(RUNS))
    flops = product_rate(4 * RUNS)
    embedding = scorer.model.get_input_embeddings().weight.numel()
    used = 2 * (parameters - embedding) * tokens / seconds  # attention left out
    one = document(102)
    packed(scorer, one)
    ways = {
        "packed": lambda: packed(scorer, one),
        "floor": lambda: plain_forward(scorer, packed_tokens(102)),
    }
    interleaved(ways, 1)  # warm
    both = interleaved(ways, RUNS)
    device = torch.cuda.get_device_name()
    for line in (
        Line(
            name="gpu_tokens_per_s",
            value=round(tokens / seconds),
            unit=f"packed tokens/s, {parameters / 1e9:.1f} B parameters, bfloat16, {device}",
            better="higher",
            n=RUNS,
        ),
        Line(
            name="gpu_share_of_matmul_rate",
            value=round(used / flops, 3),
            unit="ratio of FLOP/s",
            better="higher",
            target=0.45,
            baseline=f"bfloat16 product of {SIZE} x {SIZE} matrices, {flops / 1e12:.0f} TFLOP/s",
            n=RUNS,
        ),
        ratio_line(
            "gpu_packed_vs_floor_8k",
            both["packed"],
            both["floor"],
            better="lower",
            target=1.10,
            baseline=f"a plain causal forward over as many tokens, {median(both['floor']):.3f} s",
        ),
    ):
        print(json.dumps(asdict(line)))


def product_rate(runs: int) -> float:
    """FLOP/s of the product of two large bfloat16 matrices."""
    left = torch.randn(SIZE, SIZE, device="cuda", dtype=torch.bfloat16)
    right = torch.randn_like(left)
    return 2 * SIZE**3 / min(_timed(lambda: left @ right) for _ in range(runs))


def _timed(work: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
