"""The training loop. In: settings, an accelerator, prepared data. Out: a tuned model.

Every process runs it: steps (`optimiser_step.py`), validations and checkpoints in turn, and at the
end the tuned model.
"""

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from diffusion import models
from diffusion.data.corpus import Encoded
from diffusion.settings import Settings
from diffusion.training import checkpoint, training_log
from diffusion.training.collate import Schedule
from diffusion.training.four_bit import dequantised, quantise
from diffusion.training.lora import adapt, merged_state, save_adapter
from diffusion.training.optimiser_step import OptimiserStep
from diffusion.training.prepared import Prepared, refusals
from diffusion.training.training_log import LoggedStep, TrainingSummary
from diffusion.training.validation import Buckets, validate
from support.display.progress import Progress
from support.errors import StoppedError
from support.files import atomic_folder, replace_text


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
        self.parameters = sum(p.numel() for p in net.parameters())
        if settings.load_in_4bit:
            quantise(net, settings, self.is_sharded, accelerator.device)
        self.adapted = adapt(net, settings)
        if settings.gradient_checkpointing:
            net.gradient_checkpointing_enable({"use_reentrant": False})
            net.enable_input_require_grads()
        net.train()
        trained = [p for p in ready.dlm.denoiser.parameters() if p.requires_grad]
        self.trained = sum(p.numel() for p in trained)
        if self.adapted is not None:
            self.parameters += self.trained
        optimizer = torch.optim.AdamW(
            trained,
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.model, prepared = accelerator.prepare(ready.dlm.denoiser, optimizer)
        self.optimizer = prepared.optimizer
        self.step = OptimiserStep(
            settings=settings,
            accelerator=accelerator,
            ready=ready,
            model=self.model,
            optimizer=self.optimizer,
            is_sharded=self.is_sharded,
            steps=self.schedule.steps,
            micro_tokens=self.micro_tokens,
            checkpoints=out / "checkpoints",
        )
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
                line, is_stopping = self.step.take(step, chosen, is_asked())
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
            self.ready.layouts,
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
        hints = ""
        if self.settings.path_hints:
            found = [hint for one in self.ready.train.instances for hint in one.hints]
            hints = f"{sum(map(bool, found))} of {len(found)} paths begin with a hint\n"
        self.say(
            f"{_account(self.ready.train)}\n"
            f"validation: {_account(self.ready.validation)}\n"
            f"{hints}a row: prompt, {layout.masks} masks and {layout.header_tokens} header tokens"
            f"{', hints not counted' if hints else ''}; "
            f"{self.schedule.steps} steps of {self.settings.batch} instances\n"
            f"a network of the family {self.ready.dlm.family}: {self.trained:,} of "
            f"{self.parameters:,} parameters are trained, on {self.accelerator.num_processes} x "
            f"{self.accelerator.device.type}" + (f"\ngoing on from step {start}" if start else "")
        )

    def _finish(self, line: LoggedStep, buckets: Buckets | None) -> TrainingSummary:
        """Write the tuned model, then the summary, which marks the training as complete."""
        train, settings = self.ready.train, self.settings
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
                if settings.load_in_4bit:
                    state = dequantised(self.ready.dlm.denoiser, state)
                save_adapter(self.adapted, settings, state, self.out / "adapter")
                state = merged_state(self.adapted, settings, state)
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
