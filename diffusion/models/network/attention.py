"""Bidirectional attention for transformers' decoder classes: every token sees the whole row.

LLaDA and Dream are Llama and Qwen2 blocks without the causal mask (METHOD section 5). transformers
lets an attention function and a mask function be registered under one name: ours is its own SDPA
with `is_causal=False`, and a mask of padding alone, [B, 1, 1, T], or none at all.
"""

from typing import Any

from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface

NAME = "polytrace_bidirectional"


def _attend(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kw: Any) -> Any:
    kw["is_causal"] = False
    return sdpa_attention_forward(module, query, key, value, mask, **kw)


def _mask(*_: Any, attention_mask: Tensor | None = None, **__: Any) -> Tensor | None:
    return None if attention_mask is None else attention_mask[:, None, None, :].bool()


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _mask)
