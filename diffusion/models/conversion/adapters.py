"""LoRA adapters, as `polytrace train` and peft write them, put beside the layers of their model.

In: a directory with adapter_config.json and adapter_model.safetensors, and the network of its base
model. Out: the network with the adapter beside its linear layers, or merged into them. Nothing is
unpickled, and nothing in the directory names code that is run: peft itself is not needed. What is
no plain LoRA is refused, because it would compute something else.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from diffusion.data.turns import read_json_object
from diffusion.models.network.low_rank import LowRank, merged
from scorers.revision import directory_revision
from scorers.weights import ADAPTER, weight_files
from support.capacity import raise_if_out_of_memory
from support.errors import UserError
from support.files import replace_text

WEIGHTS = "adapter_model.safetensors"
BASE = "base_model.json"  # which model an adapter was trained on; written here, not by peft
Rename = Callable[[str], object]  # transformers' name of a family's weight, or anything else
_PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
# Keys of adapter_config.json that decide nothing beside the weights, or are read below.
_KNOWN = frozenset(
    (
        *(
            "alpha_pattern",
            "auto_mapping",
            "base_model_name_or_path",
            "bias",
            "ensure_weight_tying",
        ),
        *("eva_config", "exclude_modules", "inference_mode", "init_lora_weights", "layers_pattern"),
        *("layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout", "megatron_core"),
        *("peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern", "revision"),
        *("runtime_config", "target_modules", "task_type", "use_rslora"),
    )
)
_INITIAL = (None, True, False, "gaussian", "eva", "orthogonal")  # others change the base's weights


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """The model that an adapter is for: where it was, and its revision where that is known.

    `commit` is that of the Hub, which peft calls its revision.
    """

    path: str
    revision: str | None = None
    commit: str | None = None


def is_adapter(folder: Path) -> bool:
    """Whether a directory holds an adapter, and so no whole model."""
    return (folder / ADAPTER).is_file()


def base_of(folder: Path, given: str | None = None) -> BaseModel:
    """The model that an adapter is for: the `given` one, or that of its files, which must name one.

    Its commit is known where its files name the `given` one, and its revision where the adapter was
    trained here. UserError also if the directory holds a whole model, too.
    """
    if (folder / "config.json").exists() and list(folder.glob("model*.safetensors")):
        raise UserError(
            f"{folder}: holds a model and an adapter ({ADAPTER}); take one of them away"
        )
    named = _named(folder)
    if given is not None:
        return named if named is not None and named.path == given else BaseModel(path=given)
    if named is None:
        raise UserError(f"{folder}: its {ADAPTER} names no base model; give it as base_model")
    return named


def _named(folder: Path) -> BaseModel | None:
    """The model that the files of an adapter name."""
    file = folder / BASE
    if file.exists():
        facts = read_json_object(file)
        is_text = all(isinstance(value, str) for value in facts.values())
        unknown = facts.keys() - {one.name for one in fields(BaseModel)}
        if unknown or not is_text or not facts.get("path"):
            raise UserError(
                f"{file}: cannot be read: it holds a path, and perhaps a revision and a commit, as "
                "texts; delete it, and the base is the one that adapter_config.json names"
            )
        return BaseModel(**facts)
    config = read_json_object(folder / ADAPTER)
    path, commit = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(path, str) or not path:
        return None
    return BaseModel(path=path, commit=commit if isinstance(commit, str) else None)


def write_base(folder: Path, base: BaseModel) -> None:
    """Write beside an adapter which model it was trained on."""
    facts = {key: value for key, value in asdict(base).items() if value is not None}
    replace_text(folder / BASE, json.dumps(facts, indent=1) + "\n")


def check_base(folder: Path, base: Path) -> None:
    """Raise UserError if the directory `base` is no model, or not the one it was trained on."""
    if is_adapter(base):
        raise UserError(f"{folder}: its base model {base} is an adapter, too; merge that one first")
    weight_files(base)
    known = base_of(folder).revision if (folder / BASE).exists() else None
    found = directory_revision(base)
    if known is not None and known != found:
        raise UserError(
            f"{folder}: was trained on a model of revision {known}, and {base} has {found}; give "
            f"the one that it was trained on as base_model, or delete {BASE} to take this one"
        )


def apply(net: Any, folder: Path, rename: Rename | None = None, *, merge: bool = False) -> None:
    """Put the adapter in `folder` beside the linear layers of its base model `net`, or merge it.

    `rename` gives transformers' name of a family's weight, for adapters that were trained on the
    family's own code. UserError if it is no plain LoRA, or one of another network.
    """
    scale_of = _scale(folder)
    head = net.get_output_embeddings()
    for name, (down_RI, up_OR) in _pairs(folder, dict(net.named_parameters()), rename).items():
        layer = _layer(net, name, rename)
        if layer is None:
            raise UserError(
                f"{folder}: adapts {name}, which is no linear layer of its base model; give the "
                "model that it was trained on as base_model"
            )
        parent, last = layer
        linear = getattr(parent, last)
        if linear is head:
            raise UserError(
                f"{folder}: adapts the output head ({name}), which takes no adapter; merge it into "
                "its base model"
            )
        rank = down_RI.shape[0] if down_RI.ndim else 0
        outputs, inputs = linear.weight.shape
        if not rank or (down_RI.shape, up_OR.shape) != ((rank, inputs), (outputs, rank)):
            raise UserError(
                f"{folder}: its adapter of {name} is {list(down_RI.shape)} and "
                f"{list(up_OR.shape)}, and the layer {[outputs, inputs]}; give the model that it "
                "was trained on as base_model"
            )
        if merge:
            down, up = (one.to(linear.weight) for one in (down_RI, up_OR))
            with torch.no_grad():
                linear.weight.copy_(merged(linear.weight, down, up, scale_of(rank)))
        else:
            setattr(parent, last, LowRank(linear, down_RI, up_OR, scale_of(rank)))


def _scale(folder: Path) -> Callable[[int], float]:
    """The factor of an adapter of some rank; UserError if it is no plain LoRA."""
    file = folder / ADAPTER
    config = read_json_object(file)
    if config.get("peft_type") != "LORA":
        raise UserError(
            f"{file}: peft_type {config.get('peft_type')!r}; only LORA is loaded, so merge it into "
            "its base model"
        )
    unknown = sorted(key for key in config.keys() - _KNOWN if config[key])
    wrong = [f"{key}: {config[key]!r}"[:_SHOWN] for key in unknown]
    if config.get("bias") not in (None, "none"):
        wrong.append(f"bias: {config['bias']!r}")
    if config.get("alpha_pattern"):
        wrong.append(f"alpha_pattern: {config['alpha_pattern']!r}"[:_SHOWN])
    if config.get("init_lora_weights", True) not in _INITIAL:
        wrong.append(f"init_lora_weights: {config['init_lora_weights']!r}"[:_SHOWN])
    if wrong:
        raise UserError(
            f"{file}: {'; '.join(wrong)}: no plain LoRA; merge it into its base model with peft"
        )
    alpha = config.get("lora_alpha")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not isfinite(alpha):
        raise UserError(f"{file}: lora_alpha: {alpha!r} is no number")
    power = 0.5 if config.get("use_rslora") else 1.0
    pattern = config.get("rank_pattern")
    ranks = [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else ())]

    def of(rank: int) -> float:
        if rank not in ranks:
            raise UserError(
                f"{file}: r: {config.get('r')!r}, and the weights have the rank {rank}; fetch both "
                "files again"
            )
        return float(alpha / rank**power)

    return of


_SHOWN = 80  # characters of a value


def _pairs(
    folder: Path, known: Mapping[str, Tensor], rename: Rename | None
) -> Mapping[str, tuple[Tensor, Tensor]]:
    """Both matrices of every adapted layer, by the layer's name.

    Copies of the base's `known` weights, which peft sometimes writes beside them, are left out.
    """
    file = folder / WEIGHTS
    if not file.exists():
        raise UserError(
            f"{folder}: holds no {WEIGHTS}; other formats are pickles and are not loaded"
        )
    try:
        found = load_file(file)
    except (OSError, SafetensorError) as error:
        raise_if_out_of_memory(error)
        raise UserError(f"{file}: cannot be read: {error}; fetch it again") from None
    for name, one in found.items():
        if not one.is_floating_point() or one.element_size() == 1:
            raise UserError(
                f"{file}: {name} has the type {str(one.dtype).removeprefix('torch.')}, and "
                "quantised weights are not read; take the adapter in bfloat16 or float32"
            )
        if not one.isfinite().all():
            raise UserError(f"{file}: {name} holds a number that is not finite; fetch it again")
    pairs, left_over = {}, {*found}
    for down in found:
        name = down.removeprefix(_PREFIX).removesuffix(_DOWN)
        up = f"{_PREFIX}{name}{_UP}"
        if down == f"{_PREFIX}{name}{_DOWN}" and up in found:
            pairs[name] = found[down], found[up]
            left_over -= {down, up}
    for name in sorted(left_over):
        plain = name.removeprefix(_PREFIX)
        own = next((known[one] for one in _names(plain, rename) if one in known), None)
        if own is not None and torch.equal(own, found[name].to(own)):
            left_over.remove(name)
    if left_over or not pairs:
        raise UserError(
            f"{file}: {min(left_over, default='nothing in it')} is no part of a pair "
            f"{_DOWN[1:]}, {_UP[1:]} of a layer; merge it into its base model with peft"
        )
    return pairs


def _names(name: str, rename: Rename | None) -> list[str]:
    """What a weight may be called in the network: its name, and what its family makes of it."""
    ours = rename(name) if rename is not None else None
    return [name, *([ours] if isinstance(ours, str) else [])]


def _layer(net: Any, name: str, rename: Rename | None) -> tuple[nn.Module, str] | None:
    """The module that holds a linear layer, and the layer's name in it; None if there is none."""
    for weight in _names(f"{name}.weight", rename):
        parent, _, last = weight.removesuffix(".weight").rpartition(".")
        try:
            holder = net.get_submodule(parent)
        except AttributeError:
            continue
        if isinstance(getattr(holder, last, None), nn.Linear):
            return holder, last
    return None
