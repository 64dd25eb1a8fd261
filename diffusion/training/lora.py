"""LoRA adapters in place of all weights, through peft."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from diffusion import models
from diffusion.models.network.low_rank import merged
from diffusion.settings import Lora, Settings
from support.errors import UserError, first_line
from support.files import atomic_folder

_LAYER = ".base_layer."  # how peft names the layer that an adapter is beside


def adapt(net: Any, settings: Settings) -> Any:
    """Put adapters into `net`, if the settings ask for them; returns peft's model of it."""
    if settings.lora is None:
        return None
    from peft import LoraConfig, get_peft_model

    lora = settings.lora
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=list(lora.modules),
    )
    head = net.get_output_embeddings()
    try:
        adapted = get_peft_model(net, config)
    except ValueError as error:
        raise UserError(f"lora.modules: {first_line(error)}") from None
    if net.get_output_embeddings() is not head:
        raise UserError("lora.modules: the output head takes no adapter; leave it out")
    return adapted


def save_adapter(
    adapted: Any, settings: Settings, state: Mapping[str, Tensor], folder: Path
) -> None:
    """Write the adapter as peft does, and beside it which model it was trained on.

    `state` holds the weights of the denoiser, gathered where they were sharded.
    """
    base = models.base_model(settings.model)
    config = replace(
        adapted.peft_config["default"], base_model_name_or_path=base.path, revision=base.commit
    )
    config.inference_mode = True
    own = {  # by peft's names
        f"base_model.model.{name.removeprefix('net.')}".replace(
            ".default.", "."
        ): one.detach().clone()
        for name, one in state.items()
        if ".lora_" in name
    }
    with atomic_folder(folder) as part:
        config.save_pretrained(str(part))
        save_file(own, part / "adapter_model.safetensors", metadata={"format": "pt"})
        models.write_base(part, base)


def merged_state(
    adapted: Any, settings: Settings, state: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """The weights of the denoiser with its adapters merged into them; takes them out of its net."""
    assert settings.lora is not None
    adapted.unload()
    return merge(state, settings.lora)


def merge(state: Mapping[str, Tensor], lora: Lora) -> Mapping[str, Tensor]:
    """Weights under the names that they have without adapters, each adapter added to its layer."""
    whole = {}
    for name, tensor in state.items():
        if ".lora_A." in name or ".lora_B." in name:
            continue
        layer, _, which = name.partition(_LAYER)
        if which == "weight":
            # Beside weights of 4 bits the layer is on the CPU (`four_bit.dequantised`).
            down, up = (
                state[f"{layer}.lora_{part}.default.weight"].to(tensor.device) for part in "AB"
            )
            tensor = merged(tensor, down, up, lora.alpha / lora.rank)
        whole[name.replace(_LAYER, ".")] = tensor
    return whole
