"""Dream: Qwen2 weights without the causal mask, logits shifted by one (METHOD section 5).

In: a Dream directory. Out: transformers' own `Qwen2ForCausalLM`, run without its causal mask. The
weights have the same names in Dream's files and in transformers.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from diffusion.models import Config, SpecialIds, State
from diffusion.models.conversion import configs, weights
from support.errors import UserError

MODEL_TYPES = ("Dream", "dream")
SHIFT = True
_MASK, _PAD = 151666, 151643  # of Dream-7B; a config may say otherwise
_NEEDED = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "rope_theta",
    "rms_norm_eps",
)


def rename(name: str) -> str | None:
    """The name that transformers gives a weight of Dream: the same name."""
    return name


def build(folder: Path, config: Config, dtype: torch.dtype, trust: bool) -> Any:
    """The network with its weights; remote code is never needed."""
    return weights.build(folder, Qwen2ForCausalLM, _qwen2(config), rename, dtype)


def blank(config: Config, dtype: torch.dtype, trust: bool) -> Any:
    """The network with random weights."""
    return weights.blank(Qwen2ForCausalLM, _qwen2(config), dtype)


def tokenizer(folder: Path, trust: bool) -> Any:
    """The tokenizer; Dream's own class is Qwen2's under another name: no remote code is run."""
    return configs.tokenizer(folder)


def special_ids(config: Config, tokenizer: Any) -> SpecialIds:
    """The ids of `<|mask|>`, and of `<|endoftext|>`, which pads batches and fills slots."""
    mask, pad = (config.get(name) for name in ("mask_token_id", "pad_token_id"))
    return SpecialIds(_MASK if mask is None else mask, _PAD if pad is None else pad)


def write(net: Any, state: State, original: Path, folder: Path) -> None:
    """Write a trained model in the layout of the `original` directory."""
    weights.write(state, original, folder, rename)


def _qwen2(config: Config) -> Qwen2Config:
    if missing := [key for key in _NEEDED if key not in config]:
        raise UserError(
            f"config.json: {', '.join(missing)} missing; take the file of the model's repository"
        )
    if config.get("use_sliding_window") or config.get("rope_scaling"):
        raise UserError(
            "config.json: use_sliding_window and rope_scaling are not supported, and Dream has "
            "neither; take the file of the model's repository"
        )
    names = ("num_key_value_heads", "pad_token_id", "bos_token_id", "eos_token_id")
    optional: dict[str, Any] = {name: config.get(name) for name in names}
    with weights.config_faults():
        return Qwen2Config(
            **{key: config[key] for key in _NEEDED if key != "rope_theta"},
            **optional,
            hidden_act=config.get("hidden_act", "silu"),
            rope_parameters={"rope_type": "default", "rope_theta": config["rope_theta"]},
            tie_word_embeddings=config.get("tie_word_embeddings", False),
        )
