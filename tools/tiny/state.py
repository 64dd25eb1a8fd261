"""The state of a small training: weights and moments in one safetensors file, replaced whole."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from support.files import atomic_write


def save_state(model: nn.Module, optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Write the state of both."""
    state: dict[str, Tensor] = {f"model.{n}": p.detach() for n, p in model.named_parameters()}
    for i, slot in optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{i}.{name}": value for name, value in slot.items()}
    with atomic_write(path) as part:
        save_file(state, part)


def load_state(model: nn.Module, optimizer: torch.optim.Optimizer, path: Path) -> int:
    """Undo `save_state`; the number of steps that the optimizer has made."""
    state = load_file(path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(state[f"model.{name}"])
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        if key.startswith("optimizer."):
            _, i, name = key.split(".")
            slots.setdefault(int(i), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": slots, "param_groups": groups})
    return int(slots[0]["step"])
