"""Attention for transformers' decoder classes: over the whole row, or causal over blocks.

LLaDA and Dream are Llama and Qwen2 blocks without the causal mask (METHOD section 5). transformers
lets an attention function and a mask function be registered under one name: ours is its own SDPA
with `is_causal=False`, and a mask of padding alone, [B, 1, 1, T], or none at all.

Block-causal models (SDAR, Fast_dLLM_v2, LLaDA2) see their own block in both directions, and every
block before it. Blocks have a fixed number of tokens and are counted from the start of the row, so
that the prompt's last tokens and the answer's first ones may share a block.

A row of their training holds the noised copy of T tokens and, behind it, the clean copy: each
noised block sees itself and the clean blocks before it, so one pass denoises every block behind
clean ones (Arriola et al. 2025, "Block Diffusion", Sec. 4).

Axes: B rows, T tokens, Q positions that attend, K positions that are attended to.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface

NAME = "polytrace_bidirectional"


def block_causal(query_at: Tensor, key_at: Tensor, block: int) -> Tensor:
    """Whether a position attends to another, bool: if its block is the other's or a later one.

    Positions are counted from the start of a row; shapes broadcast. [Q, 1] and [K] give [Q, K], and
    two numbers give one value, as FlexAttention's `mask_mod` needs.
    """
    return query_at // block >= key_at // block


def block_diffusion(query_at: Tensor, key_at: Tensor, tokens: int, block: int) -> Tensor:
    """Whether a position of a training's row attends to another, bool; shapes broadcast.

    Positions below `tokens` are the noised copy, those above the clean one. A noised block sees
    itself and the clean blocks before it; a clean block sees itself and the clean ones before it.
    """
    query_block, key_block = query_at % tokens // block, key_at % tokens // block
    is_noised_query, is_noised_key = query_at < tokens, key_at < tokens
    within = (query_block == key_block) & (is_noised_query == is_noised_key)
    return within | ((query_block > key_block) & ~is_noised_key)


def dense_mask(lengths_B: Tensor, tokens: int, block: int) -> Tensor:
    """`block_diffusion` of rows of 2 x `tokens`, [B, 1, 2T, 2T]; padding is never a key."""
    at_K = torch.arange(2 * tokens, device=lengths_B.device)
    seen_QK = block_diffusion(at_K[:, None], at_K, tokens, block)
    return seen_QK & (at_K % tokens < lengths_B[:, None, None, None])


def flex_mask(lengths_B: Tensor, tokens: int, block: int) -> BlockMask:
    """The same for FlexAttention, which does not compute what nothing sees."""

    def seen(row: Tensor, _head: Tensor, query_at: Tensor, key_at: Tensor) -> Tensor:
        is_text = key_at % tokens < lengths_B[row]
        return block_diffusion(query_at, key_at, tokens, block) & is_text

    size = 2 * tokens
    return create_block_mask(seen, len(lengths_B), None, size, size, device=lengths_B.device)


def takes_keys(net: Any) -> bool:
    """Whether a network attends as this module says, and so takes keys and values of a cache."""
    return str(net.config._attn_implementation) == NAME


def _attend(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kw: Any) -> Any:
    if isinstance(mask, BlockMask):
        if kw.get("dropout"):
            raise ValueError("FlexAttention has no dropout")
        flex = _compiled() if query.is_cuda else flex_attention
        is_grouped = query.shape[1] != key.shape[1]
        out = flex(query, key, value, block_mask=mask, scale=kw["scaling"], enable_gqa=is_grouped)
        return out.transpose(1, 2).contiguous(), None
    kw["is_causal"] = False
    heads, queries, keys = key.shape[1], query.shape[2], key.shape[2]
    if queries < keys and heads < query.shape[1] and (mask is None or mask.shape[2] == 1):
        # Few queries: those that share keys and values become one head's. Kernels work on queries
        # in tiles, and fill them better so; the keys are not repeated for each head.
        folded = query.reshape(len(query), heads, -1, query.shape[3])
        out = nn.functional.scaled_dot_product_attention(
            folded, key, value, attn_mask=mask, scale=kw.get("scaling")
        )
        return out.reshape(query.shape).transpose(1, 2).contiguous(), None
    rows = _rows_by_products(query, key)
    if rows and not kw.get("dropout"):
        return _by_products(query, key, value, mask, kw.get("scaling"), rows), None
    return sdpa_attention_forward(module, query, key, value, mask, **kw)


def _rows_by_products(query: Tensor, key: Tensor) -> int:
    """How many rows `_by_products` takes at once; 0 where PyTorch's own kernel is used."""
    is_half = torch.bfloat16 in (query.dtype, key.dtype) or torch.is_autocast_enabled("cpu")
    if query.device.type != "cpu" or not is_half or query.shape[1] != key.shape[1]:
        return 0
    return _SCORES // (query.shape[1] * query.shape[2] * key.shape[2])


def _by_products(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None, rows: int
) -> Tensor:
    """Attention by bfloat16 matrix products, some rows at a time, [B, Q, heads, D].

    PyTorch's CPU kernel keeps scores in float32, which costs more than half of its time on rows of
    some hundred tokens. Here scores are rounded to bfloat16, as in transformers' eager attention,
    and so few of them are held at once that they stay in the processor's cache.
    """
    query = (query * (query.shape[3] ** -0.5 if scale is None else scale)).bfloat16()
    key, value = key.bfloat16().transpose(2, 3), value.bfloat16()
    masks: Sequence[Tensor | None] = [None] * -(-len(query) // rows)
    if mask is not None:
        lowered = torch.zeros(mask.shape, dtype=query.dtype).masked_fill(~mask, -torch.inf)
        masks = lowered.expand(len(query), -1, -1, -1).split(rows)
    parts = (one.split(rows) for one in (query, key, value))
    attended = []
    for mask_r, query_r, key_r, value_r in zip(masks, *parts, strict=True):
        scores = query_r @ key_r
        if mask_r is not None:
            scores = scores + mask_r
        attended.append(scores.softmax(-1) @ value_r)
    return torch.cat(attended).transpose(1, 2).contiguous()


_SCORES = 2**20  # scores at once: 2 MB, which the second-level cache of a core nearly holds


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention, dynamic=True)


def _mask(*_: Any, attention_mask: Tensor | None = None, **__: Any) -> Tensor | None:
    return None if attention_mask is None else attention_mask[:, None, None, :].bool()


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _mask)
