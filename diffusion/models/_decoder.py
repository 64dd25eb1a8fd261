"""Checkpoints of a family's own layout in transformers' decoder classes, run bidirectionally.

In: safetensors, and a function from the family's names of weights to transformers'. Out: the
network with exactly those weights (none missing, left over or of another shape), and back.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diffusion.models.network.attention import NAME
from scorers.weights import weight_files
from support.errors import UserError

Rename = Callable[[str], str | None]
_SHOWN = 4
_SHOWN_CHARACTERS = 200  # of another library's message


@contextmanager
def config_faults() -> Iterator[None]:
    """Raises UserError instead of what a config class says of a value that it does not take."""
    try:
        yield
    except (TypeError, ValueError, StrictDataclassError) as error:
        fault = " ".join(str(error).split())[:_SHOWN_CHARACTERS]
        raise UserError(f"config.json: {fault}; take the file of the model's repository") from None


def blank(architecture: Any, config: Any, dtype: torch.dtype) -> Any:
    """An untrained network of a transformers class."""
    return architecture._from_config(_prepared(config), dtype=dtype)


def build(folder: Path, architecture: Any, config: Any, rename: Rename, dtype: torch.dtype) -> Any:
    """The network with the weights in `folder`; UserError lists every kind of mismatch."""
    with torch.device("meta"):
        untrained = architecture(_prepared(config)).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in untrained.items()}
    if config.tie_word_embeddings:
        shapes.pop("lm_head.weight", None)
    weights: dict[str, Tensor] = {}
    left_over, misshapen = [], []
    for name, tensor in tensors(folder):
        ours = rename(name)
        if ours is None or ours not in shapes:
            left_over.append(name)
        elif tuple(tensor.shape) != shapes[ours]:
            misshapen.append(f"{name} {list(tensor.shape)} (expected {list(shapes[ours])})")
        else:
            weights[ours] = tensor
    named = {rename(name) for name in header(folder)}
    missing = sorted(shapes.keys() - named)
    faults = [
        f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{' …' if len(names) > _SHOWN else ''}"
        for what, names in (
            ("missing", missing),
            ("left over", left_over),
            ("of another shape", misshapen),
        )
        if names
    ]
    if faults:
        raise UserError(f"{folder}: its weights do not match its config.json; {'; '.join(faults)}")
    return architecture.from_pretrained(
        None, config=_prepared(config), state_dict=weights, dtype=dtype
    )


def write(state: Mapping[str, Tensor], original: Path, folder: Path, rename: Rename) -> None:
    """Write the weights under the names and in the types of the checkpoint in `original`."""
    weights = {}
    for name, dtype in header(original).items():
        ours = rename(name)
        assert ours is not None, f"{name} was loaded from {original}"
        weights[name] = state[ours].detach().to("cpu", dtype).contiguous().clone()
    save_torch_state_dict(weights, folder, metadata={"format": "pt"})


def tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a checkpoint with its name."""
    for file in weight_files(folder):
        with _opened(file) as weights:
            for name in sorted(weights.keys()):
                yield name, weights.get_tensor(name)


def header(folder: Path) -> Mapping[str, torch.dtype]:
    """The names and types of a checkpoint's tensors, without reading them."""
    dtypes = {}
    for file in weight_files(folder):
        with _opened(file) as weights:
            for name in weights.keys():  # noqa: SIM118 - a file, not a mapping
                kind = weights.get_slice(name).get_dtype()
                if kind in _DTYPES:  # integers are buffers that transformers makes itself
                    dtypes[name] = _DTYPES[kind]
    return dtypes


_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, "pt")
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file}: cannot be read: {error}; fetch it again") from None


def _prepared(config: Any) -> Any:
    config._attn_implementation = NAME
    config.use_cache = False
    return config
