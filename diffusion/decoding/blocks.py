"""Decoding block-causal models: one block of the model after the other.

Such a model was trained on blocks of a fixed number of tokens, counted from the start of the row,
each with whole blocks before it. So a step commits masks of a row's first unfinished block alone:
the rule is asked as if that block were all that is masked. With a rule that has a number of steps a
step commits as many masks as it would elsewhere, at most those that are left of the block; so a row
takes some more steps than were asked for, unless they divide every block.

Axes: B rows, C columns of a layout.
"""

from dataclasses import fields, is_dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from diffusion.decoding import Order, Rule


def rule_inside_blocks(rule: Rule, block: int) -> Rule:
    """The rule as it works inside one block of a model whose blocks have `block` tokens.

    Raises ValueError if the rule has no blocks, or others than the model.
    """
    if rule.order is Order.AR:  # from left to right, in blocks of any size
        return rule
    own = getattr(rule, "block", None)
    if own is None or not is_dataclass(rule) or "block" not in {one.name for one in fields(rule)}:
        raise ValueError(
            f"rule: this model is decoded in blocks of {block} tokens, and this rule has no "
            f"blocks; take blockwise or fast_dllm with block: {block}, or ar_order"
        )
    if own != block:
        raise ValueError(
            f"rule: this model is decoded in blocks of {block} tokens, and this rule has "
            f"blocks of {own}; give it block: {block}"
        )
    whole: Any = replace(cast(Any, rule), block=_EVERYTHING)  # the loop shows it one block alone
    return cast(Rule, whole)


_EVERYTHING = 1 << 30


def first_unfinished(masked_BC: Tensor, at_BC: Tensor, block: int) -> Tensor:
    """The masks of each row's first block with masks, [B, C] bool.

    `at_BC`: the position of each column, counted from the start of the row.
    """
    block_BC = at_BC // block
    far = int(block_BC.max()) + 1 if block_BC.numel() else 0
    first_B1 = torch.where(masked_BC, block_BC, far).amin(1, keepdim=True)
    return masked_BC & (block_BC == first_B1)
