"""Several processes that decode the pieces of an evaluation, one on each device.

In: a plan, pieces, and devices. Out: the pieces, as each is written. Every process gets its share
of the pieces and says on its standard output, a line of JSON each, which it has written, or what
went wrong. It makes the plan anew, and refuses to decode if its model, its problems, its machine or
its settings are not those of this process. Its end ends the others; what is written stays.
"""

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import torch

from diffusion.evaluation.settings import Evaluation
from diffusion.evaluation.shards.pieces import DoesNotFitError, decode_pieces
from diffusion.evaluation.shards.plan import Facts, Piece, Plan, plan
from diffusion.settings import ModelReference
from scorers.seqdep.device_pool import visible_devices
from support import errors
from support.capacity import is_out_of_memory, memory_message
from support.errors import PolytraceError, StoppedError, UserError, first_line
from support.files import is_disk_fault
from support.paths import module_environment
from support.processes import PIPE, Child
from support.redact import clean, log_fault

GRACE = 10.0  # seconds that a process has to end; it saves nothing


def devices_of(evaluation: Evaluation) -> tuple[str, ...]:
    """The device of each process: every GPU that is visible, else the CPU, as often as asked."""
    visible = visible_devices()
    return tuple(visible[n % len(visible)] for n in range(evaluation.processes or len(visible)))


def decoded(
    planned: Plan, pieces: Sequence[Piece], out: Path, devices: Sequence[str]
) -> Generator[Piece]:
    """Decode pieces on devices; yields each when it is written.

    One device is used in this process. On a CPU each process has as many threads as this one: with
    other numbers the sums of float32 are rounded otherwise. Raises what `decode_pieces` raises,
    StoppedError if a process was killed, and PolytraceError if one failed otherwise.
    """
    devices = devices[: len(pieces)]
    if len(devices) < 2:
        yield from decode_pieces(planned, pieces, devices[0]) if devices else ()
        return
    left = [list(pieces[n :: len(devices)]) for n in range(len(devices))]
    told: SimpleQueue[tuple[int, str | None]] = SimpleQueue()
    with ExitStack() as stack:
        children: list[Child[str]] = []
        for n, device in enumerate(devices):
            job = json.dumps(_job(planned, left[n], out, device))
            children.append(stack.enter_context(_start()))
            thread = Thread(target=_talk, args=(n, children[n], job, told), daemon=True)
            thread.start()
            stack.callback(thread.join)  # before the pipes are closed
            stack.callback(children[n].terminate)  # where the next one cannot be started
        stack.callback(_ask_to_end, children)  # all, before the first is waited for
        while any(left):
            n, line = told.get()
            if line is not None:
                if isinstance(said := json.loads(line), dict):
                    raise _raised(said, f"the process on {devices[n]}")
                piece = left[n].pop(0)
                assert said == list(piece), "pieces are decoded in their order"
                yield piece
            elif left[n]:
                raise _ended(devices[n], children[n].wait(), planned.named(left[n][0]))


def _ask_to_end(children: Sequence[Child[str]]) -> None:
    for child in children:
        child.terminate()


def _start() -> Child[str]:
    # OpenMP's threads wait without using a core that another process needs.
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads()), "OMP_WAIT_POLICY": "PASSIVE"}
    return Child[str](
        [sys.executable, "-m", __name__],
        grace=GRACE,
        env=module_environment() | threads,
        stdin=PIPE,
        stdout=PIPE,
        text=True,
    )


def _talk(n: int, child: Child[str], job: str, told: "SimpleQueue[tuple[int, str | None]]") -> None:
    """Give a process its job, and pass on every line that it prints; None at its end."""
    assert child.stdin is not None and child.stdout is not None
    with suppress(BrokenPipeError), child.stdin:
        child.stdin.write(job)
    for line in child.stdout:
        told.put((n, line))
    told.put((n, None))


def _job(planned: Plan, pieces: Sequence[Piece], out: Path, device: str) -> dict[str, Any]:
    """What a process is to decode, and what it has to find there."""
    return {
        "evaluation": dataclasses.asdict(planned.evaluation),
        "out": str(out),
        "device": device,
        "pieces": pieces,
        "batches": [cell.batch for cell in planned.cells],
        "facts": [_plain(cell.facts) for cell in planned.cells],
        "files": [cell.file.name for cell in planned.cells],
    }


def _plain(facts: Facts) -> dict[str, Any]:
    """The facts of a cell as JSON has them."""
    named = facts._asdict() | dataclasses.asdict(facts.machine)
    del named["machine"]
    return {name: json.loads(json.dumps(value)) for name, value in named.items()}


def _ended(device: str, status: int, where: str) -> PolytraceError:
    """The error for a process that ended before its work did."""
    how, again = f"with status {status}", "look at what it said above"
    if status < 0:
        how, again = f"by {signal.Signals(-status).name}", "look at what ends it"
    if status == -signal.SIGKILL:
        how += ", perhaps for want of memory,"
        again = "take a lower batch or fewer processes"
    return StoppedError(
        f"the process on {device} was ended {how} at {where}; what was decoded before is kept, "
        f"and the same command goes on; if it ends so again, {again}"
    )


def _raised(said: Mapping[str, Any], who: str) -> Exception:
    """The error that a process told."""
    if said["error"] == DoesNotFitError.__name__:
        return DoesNotFitError(said["message"], ModelReference(**said["model"]), said["batch"])
    if "disk" in said:
        return OSError(*said["disk"])
    if (kind := getattr(errors, said["error"], None)) is not None:
        error: Exception = kind(said["message"])
        return error
    return PolytraceError(f"{who}: {said['message']}; what was decoded before is kept")


def _told(error: Exception) -> dict[str, Any]:
    """An error as the starting process is told of it."""
    told: dict[str, Any] = {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, DoesNotFitError):
        told |= {"model": dataclasses.asdict(error.model), "batch": error.batch}
    elif is_disk_fault(error):
        assert isinstance(error, OSError)
        told["disk"] = [error.errno, error.strerror, error.filename and str(error.filename)]
    elif is_out_of_memory(error):
        told |= {"error": StoppedError.__name__, "message": memory_message(error)}
    elif not isinstance(error, PolytraceError):
        while_ = "".join(f" {note}" for note in getattr(error, "__notes__", ()))
        told["message"] = (
            f"internal fault{while_} ({type(error).__name__}: {clean(first_line(error))}); the "
            f"traceback is in {log_fault()}"
        )
    return told


def _same(planned: Plan, job: Mapping[str, Any]) -> None:
    """Raise UserError if this process would write other rows than the one that started it."""
    for cell, file, facts in zip(planned.cells, job["files"], job["facts"], strict=True):
        if cell.file.name == file:
            continue
        mine = _plain(cell.facts)
        other = [
            f"{one} {mine[one]!r} and not {facts[one]!r}" for one in mine if mine[one] != facts[one]
        ]
        raise UserError(
            f"systems.{cell.cell.system.name}: {job['device']} has "
            f"{', '.join(other) or 'other settings'}; rows of two kinds never mix: let model and "
            "problems as they are, and use devices of one kind (CUDA_VISIBLE_DEVICES)"
        )


def _work(job: Mapping[str, Any]) -> Iterator[Piece]:
    """Decode the pieces of a job; each that is written."""
    from support.yaml_file import validate  # needs pydantic, which decoding alone does not

    device = job["device"]
    if torch.device(device).type == "cuda":
        torch.cuda.set_device(device)
    evaluation = validate(job["evaluation"], "evaluation", Evaluation)
    planned = plan(evaluation, Path(job["out"]), device, batches=job["batches"])
    _same(planned, job)
    yield from decode_pieces(planned, [Piece(*one) for one in job["pieces"]], device)


def main() -> None:
    """A process that was started to decode pieces: its job comes on standard input."""
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is none of ours
    try:
        for piece in _work(json.load(sys.stdin)):
            print(json.dumps(piece), file=channel)
    except Exception as error:
        print(json.dumps(_told(error)), file=channel)
        sys.exit(1)


if __name__ == "__main__":
    main()
