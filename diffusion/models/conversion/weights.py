"""Checkpoints of a family's own layout in transformers' decoder classes, run bidirectionally.

In: safetensors, and a function from the family's names of weights to transformers'. Out: the
network with exactly those weights (none missing, left over or of another shape), and back. A
family's tensor is one of transformers', a part of one (a mixture's experts are one tensor there),
or several of them below each other (queries, keys and values in one matrix).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import save_torch_state_dict
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diffusion.models.network.attention import NAME
from scorers.weights import weight_files
from support.capacity import raise_if_out_of_memory
from support.errors import UserError


class Part(NamedTuple):
    """Where a family's tensor, or some of its rows, is in transformers' tensor `name`."""

    name: str
    at: tuple[int | slice, ...] = ()  # an index into it; empty: all of it


# Transformers' name of a family's tensor, or its parts in the order of the tensor's rows; None for
# a tensor that transformers' network does not have.
Rename = Callable[[str], str | tuple[Part, ...] | None]
_HEAD, _EMBEDDINGS = "lm_head.weight", "model.embed_tokens.weight"
_SHOWN = 4
_SHOWN_CHARACTERS = 200  # of another library's message


@contextmanager
def config_faults() -> Iterator[None]:
    """Raises UserError instead of what a class says of a value in a config that it cannot take."""
    try:
        yield
    except (
        *(TypeError, ValueError, LookupError, ArithmeticError, RuntimeError),
        StrictDataclassError,
    ) as error:
        fault = " ".join(str(error).split())[:_SHOWN_CHARACTERS]
        if isinstance(error, LookupError):  # a name that is in none of transformers' tables
            fault = f"{fault} is unknown to transformers"
        raise UserError(f"config.json: {fault}; take the file of the model's repository") from None


def blank(architecture: Any, config: Any, dtype: torch.dtype) -> Any:
    """An untrained network of a transformers class."""
    with config_faults():
        return architecture._from_config(_prepared(config), dtype=dtype)


def check_types(folder: Path) -> None:
    """Raise UserError for quantised weights: numbers that stand for others are not read."""
    for file in weight_files(folder):
        with _opened(file) as weights:
            for name in weights.keys():  # noqa: SIM118 - a file, not a mapping
                kind = weights.get_slice(name).get_dtype()
                if kind not in _DTYPES and kind not in _COUNTS:
                    raise UserError(
                        f"{folder}: the weight {name} has the type {kind}, and quantised weights "
                        "are not read; take the model's files in bfloat16 or float32"
                    )


def build(folder: Path, architecture: Any, config: Any, rename: Rename, dtype: torch.dtype) -> Any:
    """The network with the weights in `folder`; UserError lists every kind of mismatch."""
    check_types(folder)
    with config_faults(), torch.device("meta"):
        untrained = architecture(_prepared(config)).state_dict()
    tied = _HEAD if config.tie_word_embeddings else None
    weights: dict[str, Tensor] = {}
    left_over, misshapen = [], []
    for name, tensor in tensors(folder):
        parts = _parts(rename, name, untrained)
        if not parts:
            left_over.append(name)
            continue
        shape = _shape([untrained[part.name][part.at] for part in parts])
        if tuple(tensor.shape) != shape:
            misshapen.append(f"{name} {list(tensor.shape)} (expected {list(shape)})")
        else:
            _put(weights, tensor, parts, untrained)
    found = Counter[str]()
    for name in header(folder):
        for part in _parts(rename, name, untrained):
            found[part.name] += untrained[part.name][part.at].numel()
    missing = sorted(
        name for name, one in untrained.items() if found[name] < one.numel() and name != tied
    )
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
    # Some files hold a tied matrix twice.
    if (
        tied is not None
        and tied in weights
        and not torch.equal(weights.pop(tied), weights[_EMBEDDINGS])
    ):
        raise UserError(
            f"{folder}: its config.json says that the head is the embeddings' matrix, and its "
            "weights hold two different ones; correct tie_word_embeddings (weight_tying)"
        )
    return architecture.from_pretrained(
        None, config=_prepared(config), state_dict=weights, dtype=dtype
    )


def write(state: Mapping[str, Tensor], original: Path, folder: Path, rename: Rename) -> None:
    """Write the weights under the names and in the types of the checkpoint in `original`."""
    weights = {}
    for name, dtype in header(original).items():
        parts = _parts(rename, name, state)
        assert parts, f"{name} was loaded from {original}"
        pieces = [state[part.name][part.at].detach().to("cpu", dtype) for part in parts]
        weights[name] = torch.cat(pieces) if len(pieces) > 1 else pieces[0].contiguous().clone()
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
_COUNTS = ("I64", "I32", "BOOL")  # of buffers such as positions


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, "pt")
    except (OSError, SafetensorError) as error:
        raise_if_out_of_memory(error)
        raise UserError(f"{file}: cannot be read: {error}; fetch it again") from None


def _parts(rename: Rename, name: str, known: Mapping[str, Tensor]) -> tuple[Part, ...]:
    """Where a family's tensor is in the `known` ones; empty if it is in none."""
    ours = rename(name)
    parts = (Part(ours),) if isinstance(ours, str) else ours or ()
    for part in parts:
        if part.name not in known:
            return ()
        if part.at and isinstance(part.at[0], int) and part.at[0] >= len(known[part.name]):
            return ()
    return parts


def _shape(pieces: list[Tensor]) -> tuple[int, ...]:
    """The shape of pieces that stand below each other."""
    if len(pieces) == 1:
        return tuple(pieces[0].shape)
    return (sum(len(piece) for piece in pieces), *pieces[0].shape[1:])


def _put(
    weights: dict[str, Tensor],
    tensor: Tensor,
    parts: tuple[Part, ...],
    untrained: Mapping[str, Tensor],
) -> None:
    """Copy a family's tensor to its places; a tensor that is transformers' own is not copied."""
    row = 0
    for part in parts:
        rows = len(untrained[part.name][part.at])
        piece = tensor[row : row + rows] if len(parts) > 1 else tensor
        row += rows
        if not part.at:
            weights[part.name] = piece
            continue
        if part.name not in weights:
            weights[part.name] = tensor.new_empty(untrained[part.name].shape)
        weights[part.name][part.at] = piece


def _prepared(config: Any) -> Any:
    config._attn_implementation = NAME
    config.use_cache = False
    return config
