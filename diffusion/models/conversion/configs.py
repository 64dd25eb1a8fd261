"""What families share whose config.json has transformers' own names.

In: the parsed config.json and the files of a model's directory. Out: a config of a transformers
class, the tokenizer, the size of a block, and the ids of mask and fill.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

from diffusion.models import Config, SpecialIds, known_families
from diffusion.models.conversion import weights
from support.errors import UserError

REPOSITORY = "take the file of the model's repository"
_NEEDED = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "rms_norm_eps",
)
_UNUSED = ("architectures", "dtype", "transformers_version", "use_cache")


def config_of(kind: Any, config: Config, **more: Any) -> Any:
    """A config of transformers' class `kind` with the values of config.json, and with `more`.

    Keys that the class does not know are left out. UserError if one that decides what is computed
    is missing, or has a value that the class does not take.
    """
    check(config)
    known = {field.name for field in dataclasses.fields(kind)} - {*_UNUSED}
    values = {key: config[key] for key in known & config.keys()}
    rope = {key: config[key] for key in ("rope_theta", "rope_scaling") if key in config}
    with weights.config_faults():
        return kind(**values | rope | more)


def check(config: Config, *more: str) -> None:
    """Raise UserError if a size or a constant of the network, or a key of `more`, is missing."""
    missing = [key for key in (*_NEEDED, *more) if config.get(key) is None]
    if config.get("rope_theta") is None and not config.get("rope_parameters"):
        missing.append("rope_theta")
    if missing:
        raise UserError(f"config.json: {', '.join(missing)} missing; {REPOSITORY}")
    for key in ("hidden_size", "num_attention_heads", *more):
        if not isinstance(value := config[key], int) or value < 1:
            raise UserError(f"config.json: {key}: {value!r} is no positive number; {REPOSITORY}")


def tokenizer(folder: Path) -> Any:
    """The tokenizer beside the model: the fast one, or Qwen2's from vocab.json and merges.txt.

    Repositories name classes of their own, which are these under another name; their code is never
    run. UserError if the files are not there, of which transformers would make an empty tokenizer.
    """
    fast = (folder / "tokenizer.json").exists()
    if not fast and not all((folder / name).exists() for name in ("vocab.json", "merges.txt")):
        raise UserError("there is no tokenizer.json, and no vocab.json with merges.txt")
    return (PreTrainedTokenizerFast if fast else Qwen2Tokenizer).from_pretrained(folder)


def block_size(config: Config, key: str, usual: str, default: int | None = None) -> int:
    """The tokens of a block of a block-causal model; UserError if config.json does not say it."""
    size = config.get(key)
    size = default if size is None else size
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise UserError(
            f"config.json: {key}: {size!r} is no number of tokens; this model is decoded in the "
            f"blocks that it was trained with ({usual}): {REPOSITORY}"
        )
    return size


def special_ids(
    config: Config, tokenizer: Any, masks: Sequence[str], default: int | None = None
) -> SpecialIds:
    """The mask, and what fills a slot: the padding, which is also trained on, or else the EOS.

    The mask is `mask_token_id` of config.json, else the tokenizer's, else a token whose name is in
    `masks`, else the `default` of the family's published models. UserError if there is none.
    """
    fills = (
        config.get("pad_token_id"),
        tokenizer.pad_token_id,
        config.get("eos_token_id"),
        tokenizer.eos_token_id,
    )
    fill = next((one for one in fills if type(one) is int and one >= 0), None)
    if fill is None:
        raise UserError(f"{tokenizer.name_or_path}: its tokenizer has no padding to fill with")
    return SpecialIds(mask_id(config, tokenizer, masks, default), fill)


def mask_id(
    config: Config, tokenizer: Any, masks: Sequence[str] = (), default: int | None = None
) -> int:
    """The id of the mask as `special_ids` looks for it."""
    added: dict[str, int] = getattr(tokenizer, "get_added_vocab", dict)()
    named = (added[name] for name in masks if name in added)
    found = config.get("mask_token_id")
    known = (found, getattr(tokenizer, "mask_token_id", None), *named, default)
    if (mask := next((one for one in known if one is not None), None)) is not None:
        return cast(int, mask)  # whether it is a number is looked at by `tokenizer_of`
    raise UserError(
        f"{tokenizer.name_or_path}: no mask token: config.json says model_type "
        f"{config.get('model_type')!r} and mask_token_id {found!r}, and its tokenizer has none; "
        f"take a model of the {known_families()}"
    )
