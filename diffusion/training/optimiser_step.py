"""One optimiser step on any number of processes. In: instances. Out: an update, and its log line.

A step draws masks, cuts its instances into pieces, sums the gradients of this process's pieces,
reduces the sums over processes, checks them, and updates. It has the same masks after a restart,
and on another number of processes.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion.settings import Settings
from diffusion.training import checkpoint
from diffusion.training.collate import Masked, collate, mask_step, pieces
from diffusion.training.objective import generator
from diffusion.training.prepared import Prepared
from diffusion.training.training_log import LoggedStep
from support.display.digits import rounded
from support.errors import PolytraceError

_SUMS = 8  # loss; nats and count of content, of fill; answer and content tokens; stop requests


def learning_rate(step: int, steps: int, settings: Settings) -> float:
    """Linear warm-up over a share of the steps, then cosine to zero; `step` from 0."""
    warmup = round(settings.warmup * steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserStep:
    """What a step works with: `model` and `optimizer` as accelerate prepared them, and the data.

    `steps` is the number of all steps, `micro_tokens` the padded tokens of one forward pass, and
    `checkpoints` the folder of those that are whole.
    """

    settings: Settings
    accelerator: Any
    ready: Prepared
    model: Any
    optimizer: Any
    is_sharded: bool
    steps: int
    micro_tokens: int
    checkpoints: Path

    def take(self, step: int, chosen: Sequence[int], is_asked: bool) -> tuple[LoggedStep, bool]:
        """Do step `step` with the `chosen` instances; also whether any process was asked to stop.

        PolytraceError if the loss or the gradient is not finite; then nothing is updated.
        """
        settings, accelerator = self.settings, self.accelerator
        dropout = generator(settings.seed, "dropout", step, accelerator.process_index)
        torch.manual_seed(dropout.initial_seed())
        instances = [self.ready.train.instances[i] for i in chosen]
        layout, more = self.ready.layout, (self.ready.layouts, settings.structured_masking)
        masked = mask_step(
            instances, layout, settings.seed, step, *more, is_shuffled=settings.shuffle_paths
        )
        cut = pieces(masked, layout, self.micro_tokens, accelerator.num_processes)
        sums = self._backward(cut[accelerator.process_index :: accelerator.num_processes])
        sums[-1] = float(is_asked)
        total = accelerator.reduce(sums, reduction="sum").tolist()
        norm = float(accelerator.clip_grad_norm_(self.model.parameters(), settings.clip))
        if not (math.isfinite(total[0]) and math.isfinite(norm)):
            raise PolytraceError(self._diverged(step, total[0], norm))
        rate = learning_rate(step, self.steps, settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        line = LoggedStep(
            step=step + 1,
            loss=total[0],
            content_nats=total[1] / total[2] if total[2] else None,
            fill_nats=total[3] / total[4] if total[4] else None,
            gradient_norm=norm,
            learning_rate=rate,
            instances=len(chosen),
            answer_tokens=int(total[5]),
            content_tokens=int(total[6]),
        )
        return line, total[-1] > 0

    def _backward(self, mine: Sequence[Sequence[Masked]]) -> Tensor:
        """Add up the gradients of this process's pieces; returns the sums that `_SUMS` lists."""
        accelerator = self.accelerator
        sums = torch.zeros(_SUMS, dtype=torch.float64, device=accelerator.device)
        for number, piece in enumerate(mine, 1):
            batch = collate(piece, self.ready.layout, self.ready.dlm.mask_id).to(accelerator.device)
            # Whole gradients of a sharded model do not fit: its shards are summed at every piece.
            is_summed = self.is_sharded or number == len(mine)
            with nullcontext() if is_summed else accelerator.no_sync(self.model):
                total, nats_R = self.model(*batch.inputs)
                # Gradients are averaged over processes, while the objective is a sum.
                (total * accelerator.num_processes).backward()
            nats_R, content_R = nats_R.double(), batch.is_content_R
            sums[0] += total.detach()
            sums[1] += nats_R[content_R].sum()
            sums[2] += content_R.sum()
            sums[3] += nats_R[~content_R].sum()
            sums[4] += (~content_R).sum()
            sums[5] += batch.answer_tokens
            sums[6] += batch.content_tokens
        return sums

    def _diverged(self, step: int, loss: float, norm: float) -> str:
        latest = checkpoint.latest(self.checkpoints)
        kept = f"the checkpoint {latest.name} is whole" if latest else "there is no checkpoint yet"
        return (
            f"step {step + 1}: the loss is {rounded(loss)}, its gradient's norm {rounded(norm)}; "
            f"{kept}. Lower learning_rate, raise warmup, or set precision=float32"
        )
