"""One way of training in a process of its own: `python -m benchmarks.training_way ours CASE`.

`ours` is the loop of `polytrace train` step by step, without its checkpoints, validation and log;
`padded` the plain Trainer. Each line on stdin asks for one run of the case's steps; each is
answered by a line of JSON: content tokens, seconds, and the peak memory so far in MB above that of
the built model, gradients and the optimiser's state included.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from accelerate import Accelerator

from benchmarks import training_peer
from benchmarks.memory import forget_peak, peak_mb, resident_mb
from benchmarks.training_case import CASES, TrainingCase
from benchmarks.turns import THREADS
from diffusion.data.corpus import Encoded
from diffusion.settings import ModelReference, Precision, Settings
from diffusion.training.prepared import Prepared
from diffusion.training.trainer import Trainer


class Pace:
    """Holds a way up until the next run is asked for, and answers when it is done."""

    def __init__(self, case: TrainingCase) -> None:
        self.case = case
        self.steps = self.content_tokens = 0
        self.before = _memory(case, resident_mb)
        forget_peak()
        self.began = 0.0

    def wait(self) -> None:
        """For the next line on stdin; the process ends with its last."""
        if not sys.stdin.readline():
            raise SystemExit
        self.steps = self.content_tokens = 0
        self.began = time.perf_counter()

    def step_done(self, content_tokens: int) -> None:
        """An optimiser step has been taken."""
        self.steps += 1
        self.content_tokens += content_tokens
        if self.steps < self.case.steps:
            return
        if self.case.device == "cuda":
            torch.cuda.synchronize()
        answer = {
            "content_tokens": self.content_tokens,
            "seconds": time.perf_counter() - self.began,
            "peak_mb": _memory(self.case, peak_mb) - self.before,
        }
        print(json.dumps(answer), flush=True)
        self.wait()


def _memory(case: TrainingCase, resident: Callable[[], float]) -> float:
    if case.device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resident()


def main() -> None:
    """Build, then train in runs."""
    torch.set_num_threads(THREADS)
    case = CASES[sys.argv[2]]
    settings = Settings(
        name="benchmark",
        model=ModelReference(path=""),
        corpus="",
        form=case.form,
        slot_tokens=case.slot_tokens,
        summary_tokens=case.summary_tokens,
        epochs=1,
        batch=case.batch,
        learning_rate=1e-4,
        precision=case.precision,
        micro_tokens=case.micro_tokens,
    )
    model = case.model().to(case.device)
    pace = Pace(case)
    if sys.argv[1] == "padded":
        with TemporaryDirectory() as folder:
            training_peer.run(case, model, settings, folder, pace.wait, pace.step_done)
    else:
        _ours(case, model, settings, pace)


def _ours(case: TrainingCase, model: Any, settings: Settings, pace: Pace) -> None:
    is_half = settings.precision is Precision.BFLOAT16
    loop = Trainer(
        settings,
        Path(),
        Accelerator(mixed_precision="bf16" if is_half else "no", cpu=case.device == "cpu"),
        Prepared(
            case.dlm_of(model, "masked_lm"),
            case.layout,
            Encoded(instances=case.instances, refused=()),
            _NOTHING,
        ),
        digest="",
        say=print,
    )
    pace.wait()
    for step, chosen in enumerate(loop.schedule.batches()):
        line, _ = loop.step.take(step, chosen, False)
        pace.step_done(line.content_tokens)


_NOTHING = Encoded(instances=(), refused=())

if __name__ == "__main__":
    main()
