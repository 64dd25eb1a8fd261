"""LLaDA-MoE: Qwen3's mixture of experts without the causal mask.

In: a LLaDA-MoE directory. Out: transformers' own `Qwen3MoeForCausalLM`, run bidirectionally.
Position i predicts i. Published models share `model_type` with LLaDA; the architecture tells them
apart. Their experts are one tensor each in the files.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from diffusion.models import Config, SpecialIds, State
from diffusion.models.conversion import configs, experts, weights
from support.errors import UserError

MODEL_TYPES = ("lladamoe", "llada_moe")
ARCHITECTURES = ("LLaDAMoEModelLM", "LLaDAMoEModel")
SHIFT = False
_MASK = 156895  # `<|mask|>` of the published models, whose config.json does not name it
# What makes its blocks Qwen3's; with other values they would be computed wrongly.
_REQUIRED = {
    "qk_layernorm": (True,),
    "clip_qkv": (None,),
    "shared_expert_intermediate_size": (None,),
    "moe_router_enable_expert_bias": (None, False),
    "moe_router_score_function": (None, "softmax"),
    "partial_rotary_factor": (None, 1),
}
_NEEDED = ("expert_intermediate_size", "num_experts", "num_experts_per_tok")


def build(folder: Path, config: Config, dtype: torch.dtype, trust: bool) -> Any:
    """The network with its weights; remote code is never needed."""
    made = _qwen3(config)
    rename = experts.rename(made.moe_intermediate_size)
    return weights.build(folder, Qwen3MoeForCausalLM, made, rename, dtype)


def blank(config: Config, dtype: torch.dtype, trust: bool) -> Any:
    """The network with random weights."""
    return weights.blank(Qwen3MoeForCausalLM, _qwen3(config), dtype)


def tokenizer(folder: Path, trust: bool) -> Any:
    """The fast tokenizer beside the model."""
    return configs.tokenizer(folder)


def special_ids(config: Config, tokenizer: Any) -> SpecialIds:
    """The ids of `<|mask|>`, and of `<|endoftext|>`, which pads."""
    return configs.special_ids(config, tokenizer, ("<|mask|>",), _MASK)


def write(net: Any, state: State, original: Path, folder: Path) -> None:
    """Write a trained model in the layout of the `original` directory."""
    weights.write(state, original, folder, experts.rename(net.config.moe_intermediate_size))


def _qwen3(config: Config) -> Any:
    experts.check(config, "LLaDA-MoE that blocks of Qwen3 compute", _REQUIRED, _NEEDED)
    layers = config.get("moe_layer_freq")
    if not isinstance(layers, list) or len(layers) != config["num_hidden_layers"]:
        raise UserError(
            f"config.json: moe_layer_freq: {layers!r} says not for every layer whether it is a "
            f"mixture; {configs.REPOSITORY}"
        )
    return configs.config_of(
        Qwen3MoeConfig,
        config,
        head_dim=config["hidden_size"] // config["num_attention_heads"],
        intermediate_size=config.get("dense_intermediate_size") or config["hidden_size"],
        moe_intermediate_size=config["expert_intermediate_size"],
        mlp_only_layers=[number for number, is_mixture in enumerate(layers) if not is_mixture],
        norm_topk_prob=False,  # LLaDA-MoE's own code reads no such key
    )
