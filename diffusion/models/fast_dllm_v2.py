"""Fast_dLLM_v2: Qwen2 that sees blocks in both directions, logits shifted by one.

In: a directory of a Fast_dLLM_v2 model. Out: transformers' own `Qwen2ForCausalLM`, run with
attention that is causal over blocks of `bd_size` tokens. Weights have transformers' names. The
first token of a block is read at the last position of the block before it.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from diffusion.models import Config, SpecialIds, State
from diffusion.models.conversion import configs, weights
from support.errors import UserError

MODEL_TYPES = ("Fast_dLLM_Qwen",)
SHIFT = True
_MASK = 151665  # `|<MASK>|` of the published models


def block_size(config: Config) -> int:
    """`bd_size` of config.json."""
    return configs.block_size(config, "bd_size", "32 in the published ones")


def build(folder: Path, config: Config, dtype: torch.dtype, trust: bool) -> Any:
    """The network with its weights; remote code is never needed."""
    return weights.build(folder, Qwen2ForCausalLM, _qwen2(config), str, dtype)


def blank(config: Config, dtype: torch.dtype, trust: bool) -> Any:
    """The network with random weights."""
    return weights.blank(Qwen2ForCausalLM, _qwen2(config), dtype)


def tokenizer(folder: Path, trust: bool) -> Any:
    """The tokenizer beside the model, which is Qwen2's."""
    return configs.tokenizer(folder)


def special_ids(config: Config, tokenizer: Any) -> SpecialIds:
    """The ids of `|<MASK>|`, and of `<|endoftext|>`, which pads."""
    return configs.special_ids(config, tokenizer, ("|<MASK>|",), _MASK)


def write(net: Any, state: State, original: Path, folder: Path) -> None:
    """Write a trained model in the layout of the `original` directory."""
    weights.write(state, original, folder, str)


def _qwen2(config: Config) -> Any:
    if config.get("use_sliding_window"):
        raise UserError(
            "config.json: use_sliding_window is not supported, and Fast_dLLM_v2 has none; "
            f"{configs.REPOSITORY}"
        )
    return configs.config_of(Qwen2Config, config)
