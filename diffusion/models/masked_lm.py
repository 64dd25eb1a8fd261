"""Any masked language model that transformers knows (`AutoModelForMaskedLM`), such as ModernBERT.

In: a model directory. Out: its network. Position i predicts i; mask and fill are the tokenizer's.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer

from diffusion.models import Config, SpecialIds, State, known_families
from diffusion.models.conversion import configs, weights
from support.capacity import raise_if_out_of_memory
from support.errors import UserError, first_line

MODEL_TYPES: tuple[str, ...] = ()  # those that no other family takes
SHIFT = False


def build(folder: Path, config: Config, dtype: torch.dtype, trust: bool) -> Any:
    """The network with its weights; code that comes with the model runs only with `trust`."""
    weights.check_types(folder)  # safetensors, or nothing: other formats are pickles
    auto: Any = AutoModelForMaskedLM
    try:
        net, info = auto.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=trust,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:  # an unknown type, a damaged file, or any error of remote code
        raise_if_out_of_memory(error)
        raise UserError(
            f"{folder}: cannot be loaded as a masked language model: {first_line(error)}"
        ) from error
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := sorted(map(str, info[what])):
            raise UserError(
                f"{folder}: its weights do not match its config.json; {len(names)} "
                f"{what.removesuffix('_keys')}: {', '.join(names[:4])}"
            )
    if net.config.is_encoder_decoder:
        raise UserError(
            f"{folder}: {type(net).__name__} has a decoder beside its encoder, and is not "
            f"supported; take a model of the {known_families()}"
        )
    if net.get_output_embeddings() is None:
        raise UserError(f"{folder}: {type(net).__name__} names no output embeddings; not supported")
    return net


def blank(config: Config, dtype: torch.dtype, trust: bool) -> Any:
    """The network with random weights."""
    try:
        known = AutoConfig.for_model(**config)
        return AutoModelForMaskedLM.from_config(known, dtype=dtype, trust_remote_code=trust)
    except Exception as error:
        raise_if_out_of_memory(error)
        fault = first_line(error).partition(" Should contain one of ")[0]  # a list of all models
        raise UserError(
            f"config.json: no masked language model that transformers knows: {fault}"
        ) from error


def tokenizer(folder: Path, trust: bool) -> Any:
    """The tokenizer that transformers finds in the folder."""
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust)


def special_ids(config: Config, tokenizer: Any) -> SpecialIds:
    """The mask of config.json or of the tokenizer; its EOS, or SEP where there is none."""
    mask = configs.mask_id(config, tokenizer)
    for fill in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        if fill is not None:
            return SpecialIds(mask, fill)
    raise UserError(f"{tokenizer.name_or_path}: its tokenizer has no EOS token to fill with")


def write(net: Any, state: State, original: Path, folder: Path) -> None:
    """Write transformers' own layout, in the types of the checkpoint in `original`."""
    types = weights.header(original)
    usual = max(set(types.values()), key=list(types.values()).count)
    tied = net.all_tied_weights_keys or {}  # these are saved once, under the other's name
    typed = {
        name: tensor.detach().to("cpu", types.get(name, usual))
        for name, tensor in state.items()
        if name not in tied
    }
    net.save_pretrained(folder, state_dict=typed)
    (folder / "config.json").write_bytes((original / "config.json").read_bytes())
