"""SDAR: Qwen3, dense or a mixture of experts, that sees blocks in both directions.

In: an SDAR directory. Out: transformers' own `Qwen3ForCausalLM` or `Qwen3MoeForCausalLM`, run with
attention that is causal over blocks. Position i predicts i. The dense model's weights have
transformers' names; those of experts are one tensor each in SDAR's files.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from diffusion.models import Config, SpecialIds, State
from diffusion.models.conversion import configs, experts, weights
from support.errors import UserError

_NETWORKS: dict[str, tuple[Any, Any]] = {
    "sdar": (Qwen3ForCausalLM, Qwen3Config),
    "sdar_moe": (Qwen3MoeForCausalLM, Qwen3MoeConfig),
}
MODEL_TYPES = tuple(_NETWORKS)
SHIFT = False
_MASK = 151669  # of the published models; a config may say otherwise


def block_size(config: Config) -> int:
    """`block_size` of config.json."""
    return configs.block_size(config, "block_size", "4 in most published ones")


def build(folder: Path, config: Config, dtype: torch.dtype, trust: bool) -> Any:
    """The network with its weights; remote code is never needed."""
    network, made = _network(config)
    return weights.build(folder, network, made, _rename(config), dtype)


def blank(config: Config, dtype: torch.dtype, trust: bool) -> Any:
    """The network with random weights."""
    network, made = _network(config)
    return weights.blank(network, made, dtype)


def tokenizer(folder: Path, trust: bool) -> Any:
    """The tokenizer; SDAR's own class is Qwen2's under another name: no remote code is run."""
    return configs.tokenizer(folder)


def special_ids(config: Config, tokenizer: Any) -> SpecialIds:
    """The ids of `<|MASK|>`, and of `<|endoftext|>`, which pads."""
    return configs.special_ids(config, tokenizer, ("<|MASK|>", "<MASK>"), _MASK)


def write(net: Any, state: State, original: Path, folder: Path) -> None:
    """Write a trained model in the layout of the `original` directory."""
    weights.write(state, original, folder, experts.rename(_width(net.config)))


def _network(config: Config) -> tuple[Any, Any]:
    if config.get("use_sliding_window"):
        raise UserError(
            f"config.json: use_sliding_window is not supported, and SDAR has none; "
            f"{configs.REPOSITORY}"
        )
    network, kind = _NETWORKS[config["model_type"]]
    return network, configs.config_of(kind, config)


def _rename(config: Config) -> weights.Rename:
    return experts.rename(int(config.get("moe_intermediate_size") or 0))


def _width(config: Any) -> int:
    return int(getattr(config, "moe_intermediate_size", 0))
