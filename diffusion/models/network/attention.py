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
    return sdpa_attention_forward(module, query, key, value, mask, **kw)


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention, dynamic=True)


def _mask(*_: Any, attention_mask: Tensor | None = None, **__: Any) -> Tensor | None:
    return None if attention_mask is None else attention_mask[:, None, None, :].bool()


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _mask)
