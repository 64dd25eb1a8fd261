"""LLaDA2: a mixture of experts that sees blocks in both directions.

In: a LLaDA2 directory (2.0 and 2.1, mini and flash). Out: transformers' own `Glm4MoeForCausalLM`,
whose layers compute the same, run with attention that is causal over blocks. Position i predicts i.
In LLaDA2's files the experts are one tensor each, and queries, keys and values are one matrix.
"""

import re
from pathlib import Path
from typing import Any

import torch
from transformers import Glm4MoeConfig, Glm4MoeForCausalLM

from diffusion.models import Config, SpecialIds, State
from diffusion.models.conversion import configs, experts, weights
from diffusion.models.conversion.weights import Part
from support.errors import UserError

MODEL_TYPES = ("llada2_moe",)
SHIFT = False
_MASK, _BLOCK = 156895, 32  # of the published models and their sampler; a config may say otherwise
# What makes its layers GLM-4-MoE's; with other values they would be computed wrongly.
_REQUIRED = {
    "score_function": (None, "sigmoid"),
    "use_sliding_window": (None, False),
    "norm_head": (None, False),
    "using_split_qkv_in_self_attention": (None, False),
    "expert_capacity": (None,),  # of LLaDA2.2, which first chooses experts for a whole block
}
_NEEDED = (
    "intermediate_size",
    "moe_intermediate_size",
    "num_experts",
    "num_experts_per_tok",
    "num_key_value_heads",
    "num_shared_experts",
)
_IN_LAYER = {
    "attention.dense.weight": "self_attn.o_proj.weight",
    "attention.query_layernorm.weight": "self_attn.q_norm.weight",
    "attention.key_layernorm.weight": "self_attn.k_norm.weight",
    "mlp.gate.expert_bias": "mlp.gate.e_score_correction_bias",
}
_LAYER = re.compile(r"(model\.layers\.\d+\.)(.+)")
_FUSED = re.compile(r"attention\.query_key_value\.(weight|bias)")


def block_size(config: Config) -> int:
    """`block_size` of config.json; the published models, which do not say it, have 32."""
    return configs.block_size(config, "block_size", "32 in the published ones", _BLOCK)


def build(folder: Path, config: Config, dtype: torch.dtype, trust: bool) -> Any:
    """The network with its weights; remote code is never needed."""
    made = _glm4(config)
    return weights.build(folder, Glm4MoeForCausalLM, made, _rename(made), dtype)


def blank(config: Config, dtype: torch.dtype, trust: bool) -> Any:
    """The network with random weights."""
    return weights.blank(Glm4MoeForCausalLM, _glm4(config), dtype)


def tokenizer(folder: Path, trust: bool) -> Any:
    """The fast tokenizer beside the model."""
    return configs.tokenizer(folder)


def special_ids(config: Config, tokenizer: Any) -> SpecialIds:
    """The ids of `<|mask|>`, and of `<|endoftext|>`, which pads."""
    return configs.special_ids(config, tokenizer, ("<|mask|>",), _MASK)


def write(net: Any, state: State, original: Path, folder: Path) -> None:
    """Write a trained model in the layout of the `original` directory."""
    weights.write(state, original, folder, _rename(net.config))


def _rename(made: Any) -> weights.Rename:
    def of(name: str) -> str | tuple[Part, ...]:
        if name == "model.word_embeddings.weight":
            return "model.embed_tokens.weight"
        if parts := experts.expert(name, made.moe_intermediate_size):
            return parts
        if (match := _LAYER.fullmatch(name)) is None:
            return name
        layer, inside = match[1], match[2]
        if fused := _FUSED.fullmatch(inside):
            return tuple(Part(f"{layer}self_attn.{one}_proj.{fused[1]}") for one in "qkv")
        return layer + _IN_LAYER.get(inside, inside)

    return of


def _glm4(config: Config) -> Any:
    experts.check(config, "LLaDA2 that layers of GLM-4-MoE compute", _REQUIRED, _NEEDED)
    groups, chosen = config.get("n_group", 8), config.get("topk_group", 4)
    count, picked = config["num_experts"], config["num_experts_per_tok"]
    if not 0 < chosen <= groups or count % groups or picked > count // groups * chosen:
        raise UserError(
            f"config.json: {picked} of {count} experts in {chosen} of {groups} groups are no "
            f"choice; {configs.REPOSITORY}"
        )
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return configs.config_of(
        Glm4MoeConfig,
        config,
        head_dim=width,
        attention_bias=config.get("use_qkv_bias", False),
        use_qk_norm=config.get("use_qk_norm", True),
        n_routed_experts=count,
        n_shared_experts=config["num_shared_experts"],
        norm_topk_prob=picked > 1,  # LLaDA2's own code reads no such key
        partial_rotary_factor=config.get("partial_rotary_factor", 0.5),
        n_group=groups,
        topk_group=chosen,
        routed_scaling_factor=config.get("routed_scaling_factor", 2.5),
        first_k_dense_replace=config.get("first_k_dense_replace", 0),
        num_mtp_layers=0,
    )
