"""Fine-tune a masked-diffusion language model on a released corpus, on any number of processes.

In: settings and a run directory. Out, in that directory: `model/` (the tuned model in its family's
own layout), `training.jsonl` (one line a step), `validation.jsonl`, `refused.jsonl` (instances that
this model cannot be trained on, each with a reason), `checkpoints/`, and last `summary.json`.

One loop, on accelerate: the same code runs on one CPU core, under DDP, and under FSDP2 by an
accelerate config. The same command goes on from the last checkpoint; on one CPU process it goes on
bit-equally. SIGTERM and the first Ctrl-C save a checkpoint and end with exit code 3.
"""

import dataclasses
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.distributed.fsdp import MixedPrecisionPolicy

from diffusion.settings import Attention, Precision, Settings
from diffusion.training.prepared import fingerprint, prepare
from diffusion.training.trainer import Trainer
from diffusion.training.training_log import TrainingSummary, read_summary
from support.capacity import raise_if_out_of_memory
from support.errors import StoppedError, UserError


def fine_tune(
    settings: Settings, out: Path, *, say: Callable[[str], None] = print
) -> TrainingSummary:
    """Fine-tune, or continue, or do nothing if it is complete; every process calls it.

    Raises UserError for the user's mistakes, StoppedError after SIGTERM or a full disk (the same
    command goes on), PolytraceError if the loss is not finite.
    """
    digest = fingerprint(settings)
    if (done := read_summary(out, digest)) is not None:
        return done
    _require_extras(settings)
    if settings.attention is Attention.FLEX and not torch.cuda.is_available():
        raise UserError(
            "attention: flex needs a GPU, because FlexAttention has no backward pass on a CPU; "
            "take attention=dense"
        )
    accelerator = _accelerator(settings, out)
    try:
        loop = Trainer(
            settings,
            out,
            accelerator,
            prepare(settings),
            digest,
            say if accelerator.is_main_process else lambda _: None,
        )
        with _stoppable() as is_asked:
            return loop.run(is_asked)
    except (OSError, SafetensorError) as error:
        raise_if_out_of_memory(error)
        raise StoppedError(
            f"{out}: cannot go on ({error}); what was saved is whole. Mend that (a full disk: free "
            "some space) and run the same command again"
        ) from None
    finally:
        accelerator.end_training()


@contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Yield whether SIGTERM or Ctrl-C was received; the former handlers are restored at the end."""
    received = []

    def note(number: int, _frame: object) -> None:
        received.append(number)
        signal.signal(signal.SIGINT, before[signal.SIGINT])  # the second Ctrl-C ends at once

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_KINDS = ("NO", "MULTI_CPU", "MULTI_GPU", "FSDP")


def _require_extras(settings: Settings) -> None:
    """Raise UserError if the settings need an extra that is not installed."""
    from accelerate.tracking import get_available_trackers

    missing = {*map(str, settings.trackers)} - {*map(str, get_available_trackers())}
    if settings.lora is not None and find_spec("peft") is None:
        missing.add("lora")
    if settings.load_in_4bit and find_spec("bitsandbytes") is None:
        missing.add("4bit")
    if missing:
        names = ",".join(sorted(missing))
        raise UserError(f'{names}: not installed; pip install -e ".[{names}]" in the checkout')


def _accelerator(settings: Settings, out: Path) -> Any:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # else all trainings of a process have the first one's type
    mixed = "bf16" if settings.precision is Precision.BFLOAT16 else "no"
    accelerator = Accelerator(
        mixed_precision=mixed,
        cpu=not torch.cuda.is_available(),
        log_with=[str(tracker) for tracker in settings.trackers] or None,
        project_dir=str(out / "tracking"),
    )
    kind = str(accelerator.distributed_type.value)
    if kind not in _KINDS or (kind == "FSDP" and accelerator.state.fsdp_plugin.fsdp_version != 2):
        raise UserError(
            f"accelerate's config asks for {kind}, which this trainer does not know; take one of "
            "flows/recipes/train/accelerate: FSDP2 or DDP"
        )
    if kind == "FSDP" and mixed == "bf16":
        # Weights of tokens and sums of gradients stay float32; accelerate would make both bfloat16.
        accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
        )
    if settings.trackers:
        facts = {
            name: value if isinstance(value, int | float | str) else str(value)
            for name, value in dataclasses.asdict(settings).items()
        }
        accelerator.init_trackers(settings.name, config=facts)
    return accelerator
