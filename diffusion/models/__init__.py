"""Load and save masked-diffusion language models: one file for each family of models.

In: a directory (or Hub id) with `config.json`, safetensors and a tokenizer, or with a LoRA adapter
of such a model. Out: a `Dlm`. Models are saved in the same layout, so that the family's original
code can load them. A family is a file of this folder that provides what `Family` lists, and is
chosen by the config's `model_type`.

Another distribution adds a family by an entry point in the group `polytrace.models` whose name is
the `model_type` that it takes, and whose object is a module with the same names.
"""

import importlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES
from transformers.utils import logging

from diffusion.data.turns import turn_end_ids
from diffusion.models.conversion import adapters
from diffusion.models.conversion.adapters import write_base as write_base
from diffusion.models.conversion.directories import Located as Located
from diffusion.models.conversion.directories import base_model as base_model
from diffusion.models.conversion.directories import local_directory as local_directory
from diffusion.models.conversion.directories import located as located
from diffusion.models.network.denoiser import Denoiser, Dlm
from diffusion.settings import ModelReference
from scorers.weights import refuse_kernels
from support import plugins
from support.capacity import raise_if_out_of_memory
from support.errors import UserError, first_line
from support.files import read_json

Config = Mapping[str, Any]
State = Mapping[str, Tensor]  # weights under transformers' names


class SpecialIds(NamedTuple):
    """The ids of the mask token, and of the token that fills a slot behind its text."""

    mask: int
    fill: int


class Family(Protocol):
    """What a family provides; `config` is the parsed config.json, `trust` allows remote code."""

    MODEL_TYPES: tuple[str, ...]  # of the configs it takes; empty: those of no other family
    SHIFT: bool  # whether the logits of position i are read at i - 1
    # A family may also have `ARCHITECTURES`, names of classes by which a config is taken before its
    # model type is looked at, and, if its models are block-causal (network/attention.py),
    # `block_size(config)`: the tokens of a block, or None for a model that is not.

    def build(self, folder: Path, config: Config, dtype: torch.dtype, trust: bool) -> Any:
        """The transformers network with the weights in `folder`."""

    def blank(self, config: Config, dtype: torch.dtype, trust: bool) -> Any:
        """The same network, untrained."""

    def tokenizer(self, folder: Path, trust: bool) -> Any:
        """The tokenizer beside the model."""

    def special_ids(self, config: Config, tokenizer: Any) -> SpecialIds:
        """The ids of mask and fill; UserError if there is none."""

    def write(self, net: Any, state: State, original: Path, folder: Path) -> None:
        """Write the weights `state` of `net` into `folder`, named and typed as in `original`."""


@cache
def families() -> Mapping[str, Family]:
    """Every family of this package by its name."""
    modules = {one: importlib.import_module(f"{__name__}.{one}") for one in plugins.kinds(__name__)}
    return cast(Mapping[str, Family], modules)


def family_named(name: str) -> Family:
    """A family by the name that `family_of` gave it."""
    if (family := families().get(name)) is not None:
        return family
    needs = ("SHIFT", "build", "blank", "tokenizer", "special_ids", "write")
    return cast(Family, plugins.load(__name__, name, "config.json: model_type", needs))


def family_of(config: Config) -> tuple[str, Family]:
    """The name of the family that takes a config, and the family.

    UserError if none takes it, or if it is another distribution's and cannot be used.
    """
    kind = config.get("model_type")
    if why := _REFUSED.get(str(kind)):
        raise UserError(
            f"config.json: model_type {kind!r}: {why}; take a model of the {known_families()}"
        )
    named = config.get("architectures")
    architectures = {str(one) for one in named} if isinstance(named, list) else set()
    for name, family in families().items():
        if architectures & set(getattr(family, "ARCHITECTURES", ())):
            return name, family
    for name, family in families().items():
        if kind in family.MODEL_TYPES:
            return name, family
    if isinstance(kind, str) and plugins.origin(__name__, kind):
        return kind, family_named(kind)
    name, family = next((name, one) for name, one in families().items() if not one.MODEL_TYPES)
    if not is_masked_lm(config):
        raise UserError(
            f"config.json: model_type {kind!r} with mask_token_id "
            f"{config.get('mask_token_id')!r} is no masked-diffusion model that is known; take a "
            f"model of the {known_families()}"
        )
    return name, family


_REFUSED = {
    "diffusion_gemma": "DiffusionGemma starts from random tokens, replaces unsure ones by other "
    "random tokens, and has no mask, so that no rule that commits masks decodes it",
}


def is_masked_lm(config: Config) -> bool:
    """Whether transformers, or code beside the model, has a masked language model for a config."""
    code = config.get("auto_map")
    has_code = isinstance(code, dict) and AutoModelForMaskedLM.__name__ in code
    return has_code or str(config.get("model_type")) in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def known_families() -> str:
    """The families with the model types that they take, as messages name them."""
    listed = [
        f"{name} ({', '.join(one.MODEL_TYPES)})"
        for name, one in families().items()
        if one.MODEL_TYPES
    ]
    return f"families {', '.join(listed)}, or a masked language model of transformers"


class Identified(NamedTuple):
    """What a model's config.json says; `block` as in `Denoiser`."""

    config: Config
    name: str
    family: Family
    block: int | None


def identify(folder: Path) -> Identified:
    """The family of the model in a directory; UserError names the directory, if it has none."""
    config = read_config(folder)
    with _naming(folder):
        name, family = family_of(config)
        read = getattr(family, "block_size", None)
        return Identified(config, name, family, None if read is None else read(config))


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Puts the directory before a message on its config.json."""
    try:
        yield
    except UserError as error:
        if not str(error).startswith("config.json"):
            raise
        raise UserError(f"{folder}/{error}") from None


def load_model(
    model: str | ModelReference,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    merge: bool = False,
) -> Dlm:
    """The model in a directory, or of that name on the Hub.

    An adapter stays beside the layers of its base, or is merged into them with `merge`. Raises
    UserError if the directory holds no such model, names or shapes of weights do not match, one is
    not finite, or the tokenizer has no mask token.
    """
    if isinstance(model, str):
        model = ModelReference(path=model)
    trust = model.trust_remote_code
    _, folder, adapter = located(model)
    config, family_name, family, block = identify(folder)
    cast(Any, logging).disable_progress_bar()
    tokenizer, ids = tokenizer_of(family, folder, config, trust)
    with _naming(folder):
        net = family.build(folder, config, dtype, trust)
    rows = net.get_input_embeddings().weight.shape[0]
    for what, number in (("mask", ids.mask), ("fill", ids.fill), ("last", len(tokenizer) - 1)):
        if number >= rows:
            raise UserError(
                f"{folder}: the {what} token's id {number} is beyond the model's {rows} "
                "embeddings; give the model its own tokenizer"
            )
    net = net.to(device)
    _check_finite(net, folder)
    if adapter is not None:
        adapters.apply(net, adapter, getattr(family, "rename", None), merge=merge)
    return Dlm(
        family=family_name,
        denoiser=Denoiser(net, shift=family.SHIFT, block=block),
        tokenizer=tokenizer,
        mask_id=ids.mask,
        fill_id=ids.fill,
        context=context_of(net),
        folder=folder,
        turn_end_ids=turn_end_ids(folder, config, tokenizer),
    )


def _check_finite(net: Any, folder: Path) -> None:
    """UserError names a weight with a NaN or an infinity, which would make every answer noise."""
    for name, weight in net.state_dict().items():
        if weight.is_floating_point() and not all(one.isfinite() for one in weight.aminmax()):
            raise UserError(
                f"{folder}: the weight {name} holds a number that is not finite; fetch the model "
                "again"
            )


def blank_model(model: ModelReference) -> Any:
    """The network of a model on the device `meta`: its shape and its settings, no weights."""
    folder = located(model).folder
    config, _, family, _ = identify(folder)
    with _naming(folder), torch.device("meta"):
        return family.blank(config, torch.float32, model.trust_remote_code)


def context_of(net: Any) -> int | None:
    """The longest row in tokens, or None; RoBERTa's positions begin behind that of padding."""
    most = getattr(net.config, "max_position_embeddings", None)
    if not isinstance(most, int) or most <= 0:
        return None
    table = getattr(getattr(net.base_model, "embeddings", None), "position_embeddings", None)
    before = getattr(table, "padding_idx", None)
    return most if before is None else most - before - 1


def tokenizer_of(
    family: Family, folder: Path, config: Config, trust: bool
) -> tuple[Any, SpecialIds]:
    """The tokenizer of a model, and the ids of its mask and fill."""
    try:
        tokenizer = family.tokenizer(folder, trust)
    except Exception as error:  # tokenizers raises bare Exception, remote code raises anything
        raise_if_out_of_memory(error)
        raise UserError(
            f"{folder}: its tokenizer cannot be read: {first_line(error)}; fetch its files again"
        ) from error
    ids = family.special_ids(config, tokenizer)
    for what, number in zip(("mask", "fill"), ids, strict=True):
        if type(number) is not int or number < 0:
            raise UserError(
                f"{folder}/config.json: the {what} token's id is {number!r}; give a whole number "
                "from 0"
            )
    if ids.mask == ids.fill:
        raise UserError(
            f"{folder}/config.json: the mask and the token that fills an answer are both "
            f"{ids.mask}, and a mask is never predicted; give each its own id"
        )
    return tokenizer, ids


def save(dlm: Dlm, folder: Path, state: State | None = None) -> None:
    """Write the model in its family's own layout; everything but the weights is copied.

    `state` holds the weights, if they had to be gathered first (default: the network's own).
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(dlm.folder.iterdir()):
        is_index = file.name.endswith(".index.json")  # of weights that are written anew
        if file.is_file() and not is_index and file.suffix in _KEPT:
            shutil.copyfile(file, folder / file.name)
    net = dlm.denoiser.net
    state = net.state_dict() if state is None else state
    family_named(dlm.family).write(net, state, dlm.folder, folder)


_KEPT = (".json", ".jinja", ".txt", ".model", ".py", ".tiktoken")


def read_config(folder: Path) -> Config:
    """The parsed config.json."""
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: no model directory: config.json: {error}") from None
    if not isinstance(config, dict):
        raise UserError(f"{folder}/config.json: is no mapping; take a model's own directory")
    refuse_kernels(config, folder)
    return config
