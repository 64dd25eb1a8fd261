"""Checkpoints of a training: weights, optimiser and position, complete or absent.

In: a model, its optimiser, and the number of finished steps. Out: `checkpoints/step-NNNNNNNN/` with
`state.json` and one safetensors file of process 0, or of each process if the model is sharded. The
folder is renamed into place when everything is on the disk. `state.json` holds a digest of every
other file and one of itself, so that a damaged checkpoint is found, and the one before it is taken.
Random numbers depend on the step only, so no generator's state is kept. Nothing is pickled.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from support.capacity import raise_if_out_of_memory
from support.errors import DamagedError, StoppedError, UserError
from support.files import PART, atomic_write, replace_folder, replace_text, sha256

_PREFIX = "step-"
_STATE = "state.json"
_DIGEST = ".sha256"  # the end of the name under which a process leaves its file's digest


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPosition:
    """The position of a training: its finished steps, and what identifies it."""

    step: int
    digest: str  # of settings, model and corpus
    processes: int
    is_sharded: bool


class _Saved(NamedTuple):
    """What `state.json` holds; `files` are digests by name, None in those of earlier versions."""

    position: TrainingPosition
    files: Mapping[str, str] | None


def latest(folder: Path) -> Path | None:
    """The newest complete checkpoint; whether its files are damaged is not looked at."""
    return next(reversed(_whole(folder)), None)


def _whole(folder: Path) -> list[Path]:
    """Every complete checkpoint, oldest first."""
    return sorted(p for p in folder.glob(f"{_PREFIX}*") if p.suffix != PART)


def read_position(checkpoint: Path) -> TrainingPosition:
    """The position at a checkpoint; DamagedError if `state.json` is damaged."""
    return _read(checkpoint).position


def _read(checkpoint: Path) -> _Saved:
    file = checkpoint / _STATE
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        digest, files = facts.pop("sha256", None), facts.pop("files", None)
        saved = _Saved(TrainingPosition(**facts), files)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DamagedError(f"{file} is damaged ({error})") from None
    if (digest, files) != (None, None) and digest != _digest(saved):
        raise DamagedError(f"{file} is damaged (its content is not that of its digest)")
    return saved


def _digest(saved: _Saved) -> str:
    """The digest of what `state.json` holds."""
    text = json.dumps([asdict(saved.position), saved.files], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


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
            written = part / _file(process, place)
            with atomic_write(written) as file:
                save_file(dict(_state(model, optimizer)), file)
            replace_text(written.with_name(written.name + _DIGEST), sha256(written))
    except (OSError, SafetensorError) as error:
        fault = error
    is_faulty = any_of(fault is not None)
    try:
        if process == 0 and not is_faulty:
            _write_state(part, place)
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
        # What lies behind this step was damaged, and is trained again.
        later = [one for one in _whole(folder) if one.name > final.name]
        old = [one for one in _whole(folder) if one not in later][:-keep]
        for one in (*later, *old, *folder.glob(f"{_PREFIX}*{PART}")):
            shutil.rmtree(one, ignore_errors=True)


def _write_state(part: Path, place: TrainingPosition) -> None:
    """Write `state.json` with the digests that all processes left; OSError if one left none."""
    files = {}
    for name in (_file(process, place) for process in range(_files(place))):
        left = part / f"{name}{_DIGEST}"
        if not left.is_file():
            raise OSError(f"{name} is not there; do all machines see the same OUT?")
        files[name] = left.read_text(encoding="utf-8")
    for left in part.glob(f"*{_DIGEST}"):  # a killed command may have left more
        left.unlink()
    facts = {**asdict(place), "files": files, "sha256": _digest(_Saved(place, files))}
    replace_text(part / _STATE, json.dumps(facts, indent=1) + "\n")


def resume(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    now: TrainingPosition,
    *,
    process: int,
    any_of: Callable[[bool], bool],
    say: Callable[[str], None],
) -> int:
    """Load the newest checkpoint that is not damaged; returns its step, 0 if there is none at all.

    Called by every process; all take the same checkpoint. `say` is told of every damaged one.
    Raises DamagedError if all are damaged, UserError if they are of another training.
    """
    found = _whole(folder)
    for checkpoint in reversed(found):
        fault: DamagedError | None = None
        try:
            step = load_checkpoint(checkpoint, model, optimizer, now, process=process, say=say)
        except DamagedError as error:
            fault = error
        if not any_of(fault is not None):
            return step
        named = fault or f"{checkpoint} is damaged (its file of another process)"
        before = found[: found.index(checkpoint)]
        if not before:
            raise DamagedError(
                f"{named}, and no checkpoint before it is left; delete {folder}, and the same "
                "command trains from the first step"
            )
        say(f"{named}; the checkpoint before it, {before[-1].name}, is taken")
    return 0


def load_checkpoint(
    checkpoint: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    now: TrainingPosition,
    *,
    process: int,
    say: Callable[[str], None] = print,
) -> int:
    """Put a checkpoint's state into the model and the optimiser; returns its finished steps.

    `now` says which training goes on, and in how many processes; shards fit only as many as wrote
    them. Raises UserError if the checkpoint is of another one, DamagedError if it is damaged;
    then nothing was changed.
    """
    place, files = _read(checkpoint)
    if place.digest != now.digest:
        raise UserError(
            f"{checkpoint.parent.parent}: holds a training with another model, corpus or settings; "
            "choose another --out, or delete it"
        )
    is_sharded = place.is_sharded or now.is_sharded
    if is_sharded and (place.processes, place.is_sharded) != (now.processes, now.is_sharded):
        raise UserError(
            f"{checkpoint}: was written by {place.processes} processes, and shards fit no other "
            f"number ({now.processes} now); use as many as before"
        )
    file = checkpoint / _file(process if is_sharded else 0, place)
    if files is None:
        say(f"{checkpoint}: is of an earlier version, without digests of its files")
    state = _checked(file, None if files is None else files.get(file.name, "missing"))
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
    return place.step


def _checked(file: Path, digest: str | None) -> Mapping[str, Tensor]:
    """The tensors of a file; DamagedError if its digest is another, or a number is not finite."""
    try:
        if digest is not None and sha256(file) != digest:
            raise DamagedError(f"{file} is damaged (its content is not that of its digest)")
        state = load_file(file)
    except (OSError, SafetensorError) as error:
        raise_if_out_of_memory(error)
        raise DamagedError(f"{file} is damaged ({error})") from None
    for name, value in state.items():
        if not value.isfinite().all():
            raise DamagedError(f"{file} is damaged ({name} holds a number that is not finite)")
    return state


def _files(place: TrainingPosition) -> int:
    return place.processes if place.is_sharded else 1


def _file(process: int, place: TrainingPosition) -> str:
    return f"state-{process:05d}-of-{_files(place):05d}.safetensors"


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
    return DTensor.from_local(  # shards may differ in size: their sum is not a multiple of one
        local,
        parameter.device_mesh,
        parameter.placements,
        shape=parameter.shape,
        stride=parameter.stride(),
    )
