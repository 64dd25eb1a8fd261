"""Mixtures of experts: their configs, and a tensor for each expert in files, one for all in memory.

transformers holds the matrices of all experts in two tensors: `gate_up_proj`, in which the gate's
rows come before the others, and `down_proj`. Published checkpoints hold three matrices an expert.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from diffusion.models import Config
from diffusion.models.conversion import configs
from diffusion.models.conversion.weights import Part, Rename
from support.errors import UserError

_EXPERT = re.compile(r"(.+\.mlp\.experts)\.(\d+)\.(gate|up|down)_proj\.weight")


def rename(width: int) -> Rename:
    """Where a weight of a checkpoint is, if all others have transformers' names.

    `width` is the number of hidden units of one expert.
    """

    def of(name: str) -> str | tuple[Part, ...]:
        return expert(name, width) or name

    return of


def expert(name: str, width: int) -> tuple[Part, ...] | None:
    """Where an expert's matrix is in the tensors of all experts; None for any other weight."""
    if (match := _EXPERT.fullmatch(name)) is None:
        return None
    experts, number, which = match[1], int(match[2]), match[3]
    if which == "down":
        return (Part(f"{experts}.down_proj", (number,)),)
    rows = slice(0, width) if which == "gate" else slice(width, 2 * width)
    return (Part(f"{experts}.gate_up_proj", (number, rows)),)


def check(
    config: Config, what: str, required: Mapping[str, tuple[Any, ...]], sizes: Sequence[str]
) -> None:
    """Raise UserError if a mixture is not `what`, such as "LLaDA2 that GLM-4-MoE computes".

    `required` are the values that a key may have (None: it may be missing), `sizes` the keys that
    must hold a positive number.
    """
    wrong = [
        f"{key}: {config.get(key)!r}"
        for key, values in required.items()
        if config.get(key) not in values
    ]
    if wrong:
        raise UserError(f"config.json: no {what}; {'; '.join(wrong)}")
    configs.check(config, *sizes)
