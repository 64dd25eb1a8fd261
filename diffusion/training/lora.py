"""LoRA adapters in place of all weights, through peft."""

from typing import Any

from diffusion.settings import Settings
from support.errors import UserError, first_line


def adapt(net: Any, settings: Settings, is_sharded: bool) -> Any:
    """`net` with adapters in place, if the settings ask for them; what merges and saves them."""
    if settings.lora is None:
        return None
    if is_sharded:
        raise UserError("lora: adapters are not merged under FSDP; train them under DDP")
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
