"""The training loop. In: settings, an accelerator, prepared data. Out: a tuned model.

Every process runs it. An optimiser step draws masks, cuts its instances into pieces, sums the
gradients of this process's pieces, reduces the sums over processes, checks them, and updates. A
step has the same masks after a restart, and on another number of processes.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion import models
from diffusion.data.corpus import Encoded
from diffusion.settings import Settings
from diffusion.training import checkpoint, training_log
from diffusion.training.collate import Masked, Schedule, collate, mask_step, pieces
from diffusion.training.lora import adapt
from diffusion.training.objective import generator
from diffusion.training.prepared import Prepared, refusals
from diffusion.training.training_log import LoggedStep, TrainingSummary
from diffusion.training.validation import Buckets, validate
from support.display.digits import rounded
from support.display.progress import Progress
from support.errors import PolytraceError, StoppedError
from support.files import atomic_folder, replace_text

_SUMS = 8  # loss; nats and count of content, of fill; answer and content tokens; stop requests


def learning_rate(step: int, steps: int, settings: Settings) -> float:
    """Linear warm-up over a share of the steps, then cosine to zero; `step` from 0."""
    warmup = round(settings.warmup * steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


class Trainer:
    """One training: the model and its optimiser, the data, and the position in the schedule."""

    def __init__(
        self,
        settings: Settings,
        out: Path,
        accelerator: Any,
        ready: Prepared,
        digest: str,
        say: Callable[[str], None],
    ) -> None:
        self.settings, self.out, self.accelerator = settings, out, accelerator
        self.ready, self.say = ready, say
        self.is_main: bool = accelerator.is_main_process
        self.is_sharded = accelerator.distributed_type == "FSDP"
        # A row of a block-causal model is passed twice, noised and clean.
        copies = 1 if ready.dlm.denoiser.block is None else 2
        self.micro_tokens = settings.micro_tokens // copies
        self.schedule = Schedule(
            count=len(ready.train.instances),
            batch=settings.batch,
            epochs=settings.epochs,
            seed=settings.seed,
        )
        torch.manual_seed(settings.seed)
        net = ready.dlm.denoiser.net
        self.adapted = adapt(net, settings, self.is_sharded)
        if settings.gradient_checkpointing:
            net.gradient_checkpointing_enable({"use_reentrant": False})
            net.enable_input_require_grads()
        net.train()
        self.parameters = sum(p.numel() for p in net.parameters())
        trained = [p for p in ready.dlm.denoiser.parameters() if p.requires_grad]
        self.trained = sum(p.numel() for p in trained)
        optimizer = torch.optim.AdamW(
            trained,
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.model, prepared = accelerator.prepare(ready.dlm.denoiser, optimizer)
        self.optimizer = prepared.optimizer
        self.place = checkpoint.TrainingPosition(
            step=0,
            digest=digest,
            processes=accelerator.num_processes,
            is_sharded=self.is_sharded,
        )

    def run(self, is_asked: Callable[[], bool]) -> TrainingSummary:
        """Do the remaining steps and write the model; `is_asked` says whether to stop early."""
        if self.is_main:
            self.out.mkdir(parents=True, exist_ok=True)
        start, steps, settings = self._resume(), self.schedule.steps, self.settings
        self._announce(start)
        line = training_log.last_line(self.out) if start else None
        buckets, tokens = None, 0
        bar = Progress(settings.name, "steps", total=steps, done=start, shown=self.is_main)
        logging = training_log.appending(self.out) if self.is_main else nullcontext(lambda _: None)
        with bar, logging as log:
            for step, chosen in enumerate(self.schedule.batches(start), start):
                line, is_stopping = self.step(step, chosen, is_asked())
                log(line)
                tokens += line.content_tokens
                speed = tokens / max(1e-9, bar.seconds)
                bar.update(note=f"loss {line.loss:.3f}, {speed:,.0f} tokens/s")
                curves = {k: v for k, v in dataclasses.asdict(line).items() if v is not None}
                self.accelerator.log(curves, step=line.step)
                if line.step == steps or _is_due(line.step, settings.validate_every):
                    buckets = self._validate(line.step)
                if (
                    is_stopping
                    or line.step == steps
                    or _is_due(line.step, settings.checkpoint_every)
                ):
                    self._save(line.step)
                if is_stopping and line.step < steps:
                    raise StoppedError(
                        f"stopped at step {line.step} of {steps}; the checkpoint is saved, and "
                        "the same command goes on"
                    )
        assert line is not None, "a schedule has at least one step"
        return self._finish(line, buckets or training_log.last_validation(self.out, steps))

    def step(self, step: int, chosen: Sequence[int], is_asked: bool) -> tuple[LoggedStep, bool]:
        """One optimiser step; also whether any process was asked to stop."""
        settings, accelerator = self.settings, self.accelerator
        dropout = generator(settings.seed, "dropout", step, accelerator.process_index)
        torch.manual_seed(dropout.initial_seed())
        instances = [self.ready.train.instances[i] for i in chosen]
        layout, more = self.ready.layout, (self.ready.orders, settings.structured_masking)
        masked = mask_step(instances, layout, settings.seed, step, *more)
        cut = pieces(masked, layout, self.micro_tokens, accelerator.num_processes)
        sums = self._backward(cut[accelerator.process_index :: accelerator.num_processes])
        sums[-1] = float(is_asked)
        total = accelerator.reduce(sums, reduction="sum").tolist()
        norm = float(accelerator.clip_grad_norm_(self.model.parameters(), settings.clip))
        if not (math.isfinite(total[0]) and math.isfinite(norm)):
            raise PolytraceError(self._diverged(step, total[0], norm))
        rate = learning_rate(step, self.schedule.steps, settings)
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

    def _validate(self, step: int) -> Buckets | None:
        if not self.ready.validation.instances:
            return None
        buckets = validate(
            self.model,
            self.ready.validation.instances,
            self.ready.layout,
            self.ready.dlm.mask_id,
            self.micro_tokens,
            self.accelerator,
        )
        if self.is_main:
            training_log.add_validation(self.out, step, buckets)
        self.accelerator.log(buckets.curves(), step=step)
        return buckets

    def _save(self, step: int) -> None:
        if self.is_main:  # the lines before a checkpoint are as safe as the checkpoint
            training_log.sync(self.out)
        checkpoint.save_checkpoint(
            self.out / "checkpoints",
            dataclasses.replace(self.place, step=step),
            self.accelerator.unwrap_model(self.model),
            self.optimizer,
            process=self.accelerator.process_index,
            keep=self.settings.checkpoints,
            any_of=self._any_of,
        )

    def _any_of(self, is_true: bool) -> bool:
        """Whether it is true on any process."""
        flag = torch.tensor([float(is_true)], device=self.accelerator.device)
        return float(self.accelerator.reduce(flag, reduction="sum")) > 0

    def _resume(self) -> int:
        """Load the last checkpoint, if there is one; returns the number of finished steps."""
        start = checkpoint.resume(
            self.out / "checkpoints",
            self.accelerator.unwrap_model(self.model),
            self.optimizer,
            self.place,
            process=self.accelerator.process_index,
            any_of=self._any_of,
            say=self.say,
        )
        if self.is_main:
            training_log.keep_lines(self.out, start)
            training_log.write_refused(
                self.out, train=self.ready.train.refused, validation=self.ready.validation.refused
            )
        self.accelerator.wait_for_everyone()
        return start

    def _announce(self, start: int) -> None:
        layout = self.ready.layout
        self.say(
            f"{_account(self.ready.train)}\n"
            f"validation: {_account(self.ready.validation)}\n"
            f"a row: prompt, {layout.masks} masks and {layout.header_tokens} header tokens; "
            f"{self.schedule.steps} steps of {self.settings.batch} instances\n"
            f"{self.ready.dlm.family}: {self.trained:,} of {self.parameters:,} parameters trained, "
            f"{self.accelerator.num_processes} x {self.accelerator.device.type}"
            + (f"\ngoing on from step {start}" if start else "")
        )

    def _diverged(self, step: int, loss: float, norm: float) -> str:
        latest = checkpoint.latest(self.out / "checkpoints")
        kept = f"the checkpoint {latest.name} is whole" if latest else "there is no checkpoint yet"
        return (
            f"step {step + 1}: the loss is {rounded(loss)}, its gradient's norm {rounded(norm)}; "
            f"{kept}. Lower learning_rate, raise warmup, or set precision=float32"
        )

    def _finish(self, line: LoggedStep, buckets: Buckets | None) -> TrainingSummary:
        """Write the tuned model, then the summary, which marks the training as complete."""
        train = self.ready.train
        summary = TrainingSummary(
            digest=self.place.digest,
            family=self.ready.dlm.family,
            parameters=self.parameters,
            trained_parameters=self.trained,
            rows=len(train.instances) + len(train.refused),
            instances=len(train.instances),
            refused=refusals(train),
            validation_refused=refusals(self.ready.validation),
            masks=self.ready.layout.masks,
            header_tokens=self.ready.layout.header_tokens,
            steps=self.schedule.steps,
            loss=line.loss,
            validation=buckets,
        )
        state = self.accelerator.get_state_dict(self.model)  # gathers where it is sharded
        if self.is_main:
            if self.adapted is not None:
                self.adapted.save_pretrained(self.out / "adapter", save_embedding_layers=False)
                self.adapted.merge_and_unload()
                state = self.ready.dlm.denoiser.state_dict()
            with atomic_folder(self.out / "model") as part:
                weights = {k.removeprefix("net."): v for k, v in state.items()}
                models.save(self.ready.dlm, part, weights)
            replace_text(self.out / training_log.SUMMARY, summary.json())
        self.accelerator.wait_for_everyone()
        return summary


def _account(split: Encoded) -> str:
    reasons = "".join(f", {reason} {n}" for reason, n in refusals(split).items())
    return (
        f"{len(split.instances) + len(split.refused)} rows = {len(split.instances)} instances "
        f"+ {len(split.refused)} refused{reasons}"
    )


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
