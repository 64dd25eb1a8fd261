"""LLaDA: Llama blocks without the causal mask, under OLMo's names (METHOD section 5).

In: a LLaDA directory. Out: transformers' own `LlamaForCausalLM`, run bidirectionally.
"""

import re
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from diffusion.models import Config, SpecialIds, State
from diffusion.models.conversion import configs, weights
from support.errors import UserError

MODEL_TYPES = ("llada",)
SHIFT = False
_MASK, _EOS = 126336, 126081  # of LLaDA-8B; a config may say otherwise
# What makes a LLaDA block a Llama block; with other values it would be computed wrongly.
_REQUIRED = {
    "block_type": "llama",
    "activation_type": "silu",
    "layer_norm_type": "rms",
    "rope": True,
    "alibi": False,
    "include_bias": False,
    "include_qkv_bias": False,
    "attention_layer_norm": False,
    "input_emb_norm": False,
    "scale_logits": False,
}
_NEEDED = ("d_model", "n_heads", "n_layers", "max_sequence_length", "rope_theta")
_BLOCK = re.compile(r"model\.transformer\.blocks\.(\d+)\.(\w+)\.weight")
_IN_BLOCK = {
    "attn_norm": "input_layernorm",
    "ff_norm": "post_attention_layernorm",
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
    "ff_proj": "mlp.gate_proj",
    "up_proj": "mlp.up_proj",
    "ff_out": "mlp.down_proj",
}
_OUTSIDE = {
    "model.transformer.wte.weight": "model.embed_tokens.weight",
    "model.transformer.ln_f.weight": "model.norm.weight",
    "model.transformer.ff_out.weight": "lm_head.weight",
}


def rename(name: str) -> str | None:
    """Transformers' name of a weight; None if a Llama has no such weight."""
    if match := _BLOCK.fullmatch(name):
        part = _IN_BLOCK.get(match[2])
        return part and f"model.layers.{match[1]}.{part}.weight"
    return _OUTSIDE.get(name)


def build(folder: Path, config: Config, dtype: torch.dtype, trust: bool) -> Any:
    """The network with its weights; remote code is never needed."""
    return weights.build(folder, LlamaForCausalLM, _llama(config), rename, dtype)


def blank(config: Config, dtype: torch.dtype, trust: bool) -> Any:
    """The network with random weights."""
    return weights.blank(LlamaForCausalLM, _llama(config), dtype)


def tokenizer(folder: Path, trust: bool) -> Any:
    """The fast tokenizer beside the model."""
    return configs.tokenizer(folder)


def special_ids(config: Config, tokenizer: Any) -> SpecialIds:
    """`<|mdm_mask|>` and `<|endoftext|>`."""
    mask, eos = (config.get(name) for name in ("mask_token_id", "eos_token_id"))
    return SpecialIds(_MASK if mask is None else mask, _EOS if eos is None else eos)


def write(net: Any, state: State, original: Path, folder: Path) -> None:
    """Write a trained model in the layout of the `original` directory."""
    weights.write(state, original, folder, rename)


def _llama(config: Config) -> LlamaConfig:
    wrong = [
        f"{key}: {config[key]!r} (expected {value!r})"
        for key, value in _REQUIRED.items()
        if key in config and config[key] != value
    ]
    if wrong:
        raise UserError(f"config.json: no LLaDA that a Llama block computes; {'; '.join(wrong)}")
    needed = [
        *_NEEDED,
        "vocab_size" if config.get("embedding_size") is None else "embedding_size",
        "mlp_ratio" if config.get("mlp_hidden_size") is None else "mlp_hidden_size",
    ]
    if missing := [key for key in needed if config.get(key) is None]:
        raise UserError(
            f"config.json: {', '.join(missing)} missing; take the file of the model's repository"
        )
    width, heads = config["d_model"], config["n_heads"]
    with weights.config_faults():
        return LlamaConfig(
            vocab_size=config.get("embedding_size") or config["vocab_size"],
            hidden_size=width,
            intermediate_size=config.get("mlp_hidden_size") or config["mlp_ratio"] * width,
            num_hidden_layers=config["n_layers"],
            num_attention_heads=heads,
            num_key_value_heads=config.get("n_kv_heads") or heads,
            max_position_embeddings=config["max_sequence_length"],
            rms_norm_eps=config.get("rms_norm_eps", 1e-5),
            rope_parameters={"rope_type": "default", "rope_theta": config["rope_theta"]},
            tie_word_embeddings=config.get("weight_tying", True),
            pad_token_id=None,
            bos_token_id=None,
            eos_token_id=config.get("eos_token_id"),
        )
