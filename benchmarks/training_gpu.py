"""The share of a GPU's matrix-product rate that training reaches (attention left out)."""

import statistics

import torch

from benchmarks.lines import Line
from benchmarks.seqdep_gpu import SIZE, product_rate
from benchmarks.training_case import TrainingCase

SHARE = "gpu_training_share_of_matmul_rate"


def share(case: TrainingCase, rate: float, runs: int) -> Line:
    """Of our loop, at `rate` useful tokens/s: what its rows need over what the GPU multiplies."""
    flops = product_rate(runs)
    return Line(
        name=SHARE,
        value=round(rate * flops_per_useful_token(case) / flops, 3),
        unit=f"ratio of FLOP/s, {parameters(case)[0] / 1e6:.0f} M parameters, {case.precision}, "
        f"{torch.cuda.get_device_name()}",
        better="higher",
        baseline=f"bfloat16 product of {SIZE} x {SIZE} matrices, {flops / 1e12:.0f} TFLOP/s",
        n=runs,
    )


def parameters(case: TrainingCase) -> tuple[int, int]:
    """All, and those of the output embeddings, which are the input's too."""
    model = case.model()
    return (
        sum(p.numel() for p in model.parameters()),
        model.get_output_embeddings().weight.numel(),
    )


def flops_per_useful_token(case: TrainingCase) -> float:
    """Forward and backward: the trunk on whole rows, the output head on half the masks."""
    total, head = parameters(case)
    row = statistics.fmean(one.tokens(case.layout) for one in case.instances)
    useful = statistics.fmean(one.content_tokens for one in case.instances)
    return 6 * ((total - head) * row + head * case.layout.masks / 2) / useful
