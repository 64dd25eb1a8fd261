"""A2D: Llama, Qwen2 and Qwen3 that dLLM trained on without the causal mask.

In: a directory that dLLM wrote. Out: transformers' own network, run without its causal mask. The
weights have transformers' names, and position i predicts i. Nothing in the directory says whether a
model was trained block by block (dLLM's bd3lm); one that was needs `block_size` in its config.json,
with the number of tokens that it was trained with.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from diffusion.models import Config, SpecialIds, State
from diffusion.models.conversion import configs, weights
from support.errors import UserError

_NETWORKS: dict[str, tuple[Any, Any]] = {
    "a2d-llama": (LlamaForCausalLM, LlamaConfig),
    "a2d-qwen2": (Qwen2ForCausalLM, Qwen2Config),
    "a2d-qwen3": (Qwen3ForCausalLM, Qwen3Config),
}
MODEL_TYPES = tuple(_NETWORKS)
SHIFT = False
_BLOCKWISE = "bd3lm"
# dLLM renders prompts without thinking; the template of Qwen3 does so if this is false.
_NO_THINKING = (
    "{%- if enable_thinking is not defined %}{%- set enable_thinking = false %}{%- endif %}"
)


def block_size(config: Config) -> int | None:
    """`block_size` of config.json; without it, every position sees the whole row."""
    if config.get("block_size") is None:
        return None
    return configs.block_size(config, "block_size", "32 in dLLM's")


def build(folder: Path, config: Config, dtype: torch.dtype, trust: bool) -> Any:
    """The network with its weights; remote code is never needed."""
    own = (
        folder.parent.parent if folder.parent.name == "snapshots" else folder
    )  # of the Hub's cache
    if (
        _BLOCKWISE in f"{own.name} {config.get('_name_or_path')}".lower()
        and block_size(config) is None
    ):
        raise UserError(
            f"{folder}: by its name ({_BLOCKWISE}) it was trained block by block; add block_size "
            "to its config.json, with the tokens of a block in its training (32 in dLLM's)"
        )
    network, made = _network(config)
    return weights.build(folder, network, made, str, dtype)


def blank(config: Config, dtype: torch.dtype, trust: bool) -> Any:
    """The network with random weights."""
    network, made = _network(config)
    return weights.blank(network, made, dtype)


def tokenizer(folder: Path, trust: bool) -> Any:
    """The tokenizer; its chat template thinks only if it is told to, as in dLLM."""
    read = configs.tokenizer(folder)
    if "enable_thinking" in (read.chat_template or ""):
        read.chat_template = _NO_THINKING + read.chat_template
    return read


def special_ids(config: Config, tokenizer: Any) -> SpecialIds:
    """The ids of `<|mask|>`, and of the padding, on which dLLM trains as well."""
    return configs.special_ids(config, tokenizer, ("<|mask|>",))


def write(net: Any, state: State, original: Path, folder: Path) -> None:
    """Write a trained model in the layout of the `original` directory."""
    weights.write(state, original, folder, str)


def _network(config: Config) -> tuple[Any, Any]:
    network, kind = _NETWORKS[config["model_type"]]
    return network, configs.config_of(kind, config)
