"""The output head and its cross-entropy, some rows at a time, so that [R, V] is never held whole.

In: features of the masked positions, the head's weight and bias, targets and weights. Out: the
weighted sum of their cross-entropies in nats, and that of each position. Forward also computes the
gradients, chunk by chunk, because the loss is linear in the cross-entropies: the head is computed
once, and memory does not grow with the vocabulary (METHOD section 4).

Axes: R masked positions, H hidden, V vocabulary.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffusion.memory import CHUNK_LOGITS

_BLOCK = 4096  # rows of the weight whose gradient is added at a time


def rows_at_once(vocabulary: int) -> int:
    """How many rows of logits are held at a time."""
    return max(1, CHUNK_LOGITS // vocabulary)


class CrossEntropy(NamedTuple):
    """`total`: sum of weight x cross-entropy, a scalar; `nats_R`: of each row, without graph."""

    total: Tensor
    nats_R: Tensor


def linear_cross_entropy(
    features_RH: Tensor,
    weight_VH: Tensor,
    bias_V: Tensor | None,
    targets_R: Tensor,
    weights_R: Tensor,
) -> CrossEntropy:
    """Weighted cross-entropy of `features @ weight.T + bias` against `targets`.

    Computed in the autocast type if autocast is on; softmax in float32, or float64 for a float64
    model. Without any row, the total and its gradients are 0.
    """
    device = features_RH.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    else:
        dtype = weight_VH.dtype
    wanted = torch.is_grad_enabled()
    total, nats_R = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        features_RH.to(dtype), weight_VH, bias_V, targets_R, weights_R, dtype, wanted
    )
    return CrossEntropy(total, nats_R)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features_RH: Tensor,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        targets_R: Tensor,
        weights_R: Tensor,
        dtype: torch.dtype,
        wanted: bool,
    ) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(dtype, torch.float32)
        matrix_VH = weight_VH.detach().to(dtype)
        offset_V = None if bias_V is None else bias_V.detach().to(dtype)
        to_features, to_weight, to_bias, *_ = (need and wanted for need in ctx.needs_input_grad)
        grad_RH = torch.empty_like(features_RH) if to_features else None
        grad_VH = torch.zeros_like(weight_VH, dtype=wide) if to_weight else None
        grad_V = torch.zeros_like(weight_VH[:, 0], dtype=wide) if to_bias else None
        nats_R = torch.empty(len(targets_R), dtype=wide, device=features_RH.device)
        size = rows_at_once(len(weight_VH))
        with torch.autocast(features_RH.device.type, enabled=False):
            for start in range(0, len(targets_R), size):
                part = slice(start, start + size)
                targets = targets_R[part, None]
                logits = torch.nn.functional.linear(features_RH[part], matrix_VH, offset_V).to(wide)
                chosen = logits.gather(1, targets).squeeze(1)
                top = logits.amax(1)
                logits.sub_(top[:, None]).exp_()  # in place from here on: one [r, V] at a time
                mass = logits.sum(1)
                nats_R[part] = mass.log() + top - chosen
                if not wanted:
                    continue
                scale = weights_R[part].to(wide)
                logits.mul_((scale / mass)[:, None])
                logits.scatter_add_(1, targets, -scale[:, None])
                slope = logits.to(dtype)
                if grad_RH is not None:
                    torch.mm(slope, matrix_VH, out=grad_RH[part])
                if grad_VH is not None:
                    for first in range(0, len(grad_VH), _BLOCK):  # no second [V, H] at any time
                        block = slice(first, first + _BLOCK)
                        grad_VH[block].add_(slope[:, block].T @ features_RH[part])
                if grad_V is not None:
                    grad_V.add_(logits.sum(0))
        ctx.gradients = grad_RH, grad_VH, grad_V  # ours alone: scaled in place, once
        ctx.mark_non_differentiable(nats_R)
        return (nats_R * weights_R.to(wide)).sum(), nats_R

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        gradients, ctx.gradients = ctx.gradients, None
        scaled = (None if g is None else g.mul_(grads[0].to(g.dtype)) for g in gradients)
        return *scaled, None, None, None, None
