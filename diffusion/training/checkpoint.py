"""Checkpoints of a training: weights, optimiser and position, complete or absent.

In: a model, its optimiser, and the number of finished steps. Out: `checkpoints/step-NNNNNNNN/` with
`state.json` and one safetensors file of process 0, or of each process if the model is sharded. The
folder is renamed into place when everything is on the disk. Random numbers depend on the step only,
so no generator's state is kept. Nothing is pickled.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from support.errors import StoppedError, UserError
from support.files import PART, atomic_write, replace_folder, replace_text

_PREFIX = "step-"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPosition:
    """The position of a training: its finished steps, and what identifies it."""

    step: int
    digest: str  # of settings, model and corpus
    processes: int
    is_sharded: bool


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint."""
    return next(reversed(_whole(folder)), None)


def _whole(folder: Path) -> list[Path]:
    """Every whole checkpoint, oldest first."""
    return sorted(p for p in folder.glob(f"{_PREFIX}*") if p.suffix != PART)


def read_position(checkpoint: Path) -> TrainingPosition:
    """The position at a checkpoint; UserError if the file is damaged."""
    try:
        return TrainingPosition(
            **json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
        )
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{checkpoint}: damaged ({error}); delete it, and the training goes on from the one "
            "before it"
        ) from None


def save_checkpoint(
    folder: Path,
    place: TrainingPosition,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    process: int,
    keep: int,
    any_of: Callable[[bool], bool],
) -> None:
    """Write the checkpoint of `place` and delete all but the newest `keep`.

    Called by every process; `any_of` tells all of them whether a condition is true on one. If one
    cannot write, StoppedError is raised on all, and earlier checkpoints stay whole.
    """
    final = folder / f"{_PREFIX}{place.step:08d}"
    part = final.with_name(final.name + PART)
    fault: Exception | None = None
    try:
        part.mkdir(parents=True, exist_ok=True)
        if process == 0 or place.is_sharded:
            with atomic_write(part / _file(process, place)) as file:
                save_file(dict(_state(model, optimizer)), file)
    except (OSError, SafetensorError) as error:
        fault = error
    is_faulty = any_of(fault is not None)
    try:
        if process == 0 and not is_faulty:
            replace_text(part / "state.json", json.dumps(asdict(place), indent=1) + "\n")
            replace_folder(part, final)
    except OSError as error:
        fault = error
    if any_of(fault is not None):
        if process == 0:
            shutil.rmtree(part, ignore_errors=True)
        before = [one for one in _whole(folder) if one != final]
        whole = f"that of {before[-1].name} is whole" if before else "there is none before it"
        raise StoppedError(
            f"{final}: the checkpoint cannot be written ({fault or 'on another process'}); "
            f"{whole}. Free some space and run the same command again"
        )
    if process == 0:
        for old in (*_whole(folder)[:-keep], *folder.glob(f"{_PREFIX}*{PART}")):
            shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(
    checkpoint: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    now: TrainingPosition,
    *,
    process: int,
) -> None:
    """Put a checkpoint's state into the model and the optimiser.

    `now` says how many processes there are; shards fit only as many as wrote them.
    """
    place = read_position(checkpoint)
    is_sharded = place.is_sharded or now.is_sharded
    if is_sharded and (place.processes, place.is_sharded) != (now.processes, now.is_sharded):
        raise UserError(
            f"{checkpoint}: was written by {place.processes} processes, and shards fit no other "
            f"number ({now.processes} now); use as many as before"
        )
    file = checkpoint / _file(process if is_sharded else 0, place)
    try:
        state = load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{file}: damaged ({error}); delete {checkpoint}, and the training goes on from the "
            "one before it"
        ) from None
    names = _names(model, optimizer)
    if (wanted := {f"model.{name}" for name in names}) - state.keys():
        raise UserError(f"{file}: holds no {min(wanted - state.keys())}; it is of another model")
    with torch.no_grad():
        for name, parameter in names.items():
            _local(parameter).copy_(state[f"model.{name}"])
    slots: dict[int, dict[str, Tensor]] = {}
    for number, (name, parameter) in enumerate(names.items()):
        for key, value in state.items():
            if key.startswith(f"optimizer.{name}/"):
                slot = key.rpartition("/")[2]
                slots.setdefault(number, {})[slot] = _like(value, parameter)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": slots, "param_groups": groups})


def _file(process: int, place: TrainingPosition) -> str:
    count = place.processes if place.is_sharded else 1
    return f"state-{process:05d}-of-{count:05d}.safetensors"


def _state(model: nn.Module, optimizer: torch.optim.Optimizer) -> Mapping[str, Tensor]:
    names = _names(model, optimizer)
    state = {f"model.{name}": _local(p).contiguous() for name, p in names.items()}
    for name, parameter in names.items():
        for slot, value in optimizer.state.get(parameter, {}).items():
            state[f"optimizer.{name}/{slot}"] = _local(value).contiguous()
    return state


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> Mapping[str, Tensor]:
    """The trained parameters by name, in the optimiser's order."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    (group,) = optimizer.param_groups
    return {names[id(parameter)]: parameter for parameter in group["params"]}


def _local(tensor: Tensor) -> Tensor:
    """This process's shard of a tensor."""
    plain = tensor.detach()
    return plain.to_local() if isinstance(plain, DTensor) else plain


def _like(value: Tensor, parameter: Tensor) -> Tensor:
    """An optimiser's value on the parameter's device, sharded as the parameter is."""
    if not isinstance(parameter, DTensor) or value.ndim == 0:
        return value.to(parameter.device) if value.ndim else value
    local = value.to(parameter.to_local().device)
    return DTensor.from_local(local, parameter.device_mesh, parameter.placements)
