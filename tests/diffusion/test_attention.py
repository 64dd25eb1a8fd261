"""Attention on the processor in bfloat16, against PyTorch's own kernel."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from diffusion.models.network import attention


class _Inputs(NamedTuple):
    query: Tensor
    key: Tensor
    value: Tensor


def _inputs(rows: int, tokens: int, heads: int, key_heads: int) -> _Inputs:
    draw = torch.Generator().manual_seed(0)
    shapes = ((rows, each, tokens, 32) for each in (heads, key_heads, key_heads))
    return _Inputs(*(torch.randn(shape, generator=draw) for shape in shapes))


def _own(inputs: _Inputs, mask: Tensor | None) -> Tensor:
    module: Any = torch.nn.Module().eval()
    out: Tensor = attention._attend(module, *inputs, mask, scaling=0.2)[0]
    return out


def _exact(inputs: _Inputs, mask: Tensor | None) -> Tensor:
    module: Any = torch.nn.Module().eval()
    own = sdpa_attention_forward(module, *inputs, mask, scaling=0.2, is_causal=False)[0]
    assert own is not None
    return own


@pytest.mark.parametrize("padding", [None, [40, 31, 40, 1, 17]])
@pytest.mark.parametrize("scores", [2 * 4 * 40 * 40, 2**20])  # two rows at a time, and all
def test_products_agree_with_the_kernel_in_results_and_gradients(
    padding: list[int] | None, scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the rounding of bfloat16, also where rows are padded and taken in unequal parts."""
    monkeypatch.setattr(attention, "_SCORES", scores)
    inputs = _inputs(5, 40, 4, 4)
    mask = None
    if padding is not None:
        mask = (torch.arange(40) < torch.tensor(padding)[:, None])[:, None, None, :]
    for one in inputs:
        one.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        assert attention._rows_by_products(inputs.query, inputs.key) == scores // (4 * 40 * 40)
        own = _own(inputs, mask)
    exact = _exact(inputs, mask)
    assert own.dtype == torch.bfloat16
    torch.testing.assert_close(own.float(), exact, rtol=0.02, atol=0.02)
    weights = torch.randn(exact.shape, generator=torch.Generator().manual_seed(1))
    own_grads = torch.autograd.grad((own * weights).sum(), inputs)
    for grad, wanted in zip(
        own_grads, torch.autograd.grad((exact * weights).sum(), inputs), strict=True
    ):
        torch.testing.assert_close(grad, wanted, rtol=0.03, atol=0.03)


def test_the_kernel_computes_what_products_do_not() -> None:
    """Float32, rows too long for the cache, and shared keys: bit for bit the kernel's results."""
    inputs = _inputs(2, 24, 4, 4)
    assert torch.equal(_own(inputs, None), _exact(inputs, None))
    with torch.autocast("cpu", torch.bfloat16):
        long = _inputs(1, 520, 4, 4)
        assert torch.equal(_own(long, None), _exact(long, None))
        assert attention._rows_by_products(*_inputs(2, 24, 4, 2)[:2]) == 0
