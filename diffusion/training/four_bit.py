"""Base weights of 4 bits under LoRA adapters (QLoRA, Dettmers et al. 2023), through bitsandbytes.

In: a network before it has adapters. Out: the same with NF4 weights in its linear layers, scales
quantised again; embeddings, the output head, norms and biases stay as they are.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from diffusion.settings import Precision, Settings
from support.errors import UserError


def bitsandbytes() -> Any:
    """The library, imported where it is used: it is an extra."""
    import bitsandbytes

    return bitsandbytes


def quantised_layers(net: Any) -> Mapping[str, nn.Linear]:
    """The linear layers that are quantised, by name: all but the output head.

    UserError if most weights of the network are in none of them.
    """
    head = net.get_output_embeddings()
    layers = {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }
    if any(".experts." in name and one.ndim == 3 for name, one in net.named_parameters()):
        raise UserError(
            "load_in_4bit: the experts of this mixture are no linear layers and would stay as they "
            "are; leave it out"
        )
    return layers


def quantise(net: Any, settings: Settings, is_sharded: bool, device: torch.device) -> None:
    """Replace the linear layers of `net` by quantised ones on `device`."""
    if is_sharded:
        raise UserError("load_in_4bit: weights of 4 bits are not sharded; train under DDP")
    bnb = bitsandbytes()
    is_half = settings.precision is Precision.BFLOAT16
    for name, layer in quantised_layers(net).items():
        parent, _, last = name.rpartition(".")
        made = bnb.nn.Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=torch.bfloat16 if is_half else torch.float32,
            quant_type="nf4",
            device="meta",
        )
        made.weight = bnb.nn.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
        made.bias = layer.bias
        # On some CPUs it would pack weights anew for validation, and round their scales.
        made.support_avx512bf16_for_cpu = False
        setattr(net.get_submodule(parent), last, made)
    net.is_loaded_in_4bit = True  # peft looks for it
    net.to(device)  # quantises


def dequantised(module: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The `state` of a module with the numbers that its quantised weights stand for."""
    bnb = bitsandbytes()
    whole = dict(state)
    layer: Any
    for name, layer in module.named_modules():
        if isinstance(layer, bnb.nn.Linear4bit):
            packed = f"{name}.weight"
            for key in [key for key in whole if key.startswith(f"{packed}.")]:
                del whole[key]
            whole[packed] = bnb.functional.dequantize_4bit(
                layer.weight.data, layer.weight.quant_state
            ).cpu()
    return whole
