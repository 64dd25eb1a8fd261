"""Attention for transformers' decoder classes: over the whole row, or causal over blocks.

LLaDA and Dream are Llama and Qwen2 blocks without the causal mask (METHOD section 5). transformers
lets an attention function and a mask function be registered under one name: ours is its own SDPA
with `is_causal=False`, and a mask of padding alone, [B, 1, 1, T], or none at all.

Block-causal models (SDAR, Fast_dLLM_v2, LLaDA2) see their own block in both directions, and every
block before it. Blocks have a fixed number of tokens and are counted from the start of the row, so
that the prompt's last tokens and the answer's first ones may share a block.

Axes: B rows, Q positions that attend, K positions that are attended to.
"""

from typing import Any

from torch import Tensor, nn
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


def takes_keys(net: Any) -> bool:
    """Whether a network attends as this module says, and so takes keys and values of a cache."""
    return str(net.config._attn_implementation) == NAME


def _attend(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kw: Any) -> Any:
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


def _mask(*_: Any, attention_mask: Tensor | None = None, **__: Any) -> Tensor | None:
    return None if attention_mask is None else attention_mask[:, None, None, :].bool()


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _mask)
