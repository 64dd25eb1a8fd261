"""The padded way: a plain transformers `Trainer` with the same objective, as one writes it.

Rows come in random order and are padded to the longest of their batch; the model is asked for the
logits of every position, and the cross-entropy of all of them is weighted (Eq. 1, METHOD section 4:
t uniform, p = (1 - eps) t + eps, weight 1/(L p) at masked tokens). Optimiser, clipping and the type
of the computation are those of the loop it is compared with.

Axes: B rows, T tokens, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import Trainer, TrainerCallback, TrainingArguments

from benchmarks.training_case import TrainingCase
from diffusion.data.layout import TrainingRow
from diffusion.settings import Precision, Settings
from diffusion.training.collate import Schedule
from diffusion.training.objective import EPSILON

Batch = dict[str, Any]


class Collator:
    """Rows as one padded and masked batch."""

    def __init__(self, mask_id: int, fill_id: int, *, shift: bool) -> None:
        self.mask_id, self.fill_id, self.shift = mask_id, fill_id, shift

    def __call__(self, rows: Sequence[TrainingRow]) -> Batch:
        """Ids, targets and weights [B, T]; weights are 0 where nothing is asked."""
        targets_BT = _padded([row.ids_T for row in rows], self.fill_id).long()
        answer_BT = _padded([row.answer_T for row in rows], False)
        attention_mask_BT = _padded([[True] * len(row.ids_T) for row in rows], False)
        p_B1 = (1 - EPSILON) * torch.rand(len(rows), 1) + EPSILON
        masked_BT = answer_BT & (torch.rand(targets_BT.shape) < p_B1)
        weights_BT = masked_BT / (p_B1 * answer_BT.sum(1, keepdim=True))
        move = -1 if self.shift else 0  # a prompt comes first: nothing is asked at position 0
        return {
            "input_ids": targets_BT.masked_fill(masked_BT, self.mask_id),
            "attention_mask": attention_mask_BT,
            "targets": targets_BT.roll(move, 1),
            "weights": weights_BT.roll(move, 1),
            "content_tokens": sum(int(row.content_T.sum()) for row in rows),
        }


def _padded(rows: Sequence[Any], value: float) -> Tensor:
    return pad_sequence([torch.as_tensor(row) for row in rows], True, value)


def loss_of(logits_BTV: Tensor, batch: Batch) -> Tensor:
    """The objective of a batch, from all its logits."""
    nats_N = cross_entropy(logits_BTV.flatten(0, 1), batch["targets"].flatten(), reduction="none")
    total: Tensor = (nats_N * batch["weights"].flatten()).sum() / len(logits_BTV)
    return total


class Padded(Trainer):
    """The Trainer; `order` of the rows, and `content_tokens` that it has seen."""

    def __init__(self, *args: Any, order: Sequence[int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.order = order
        self.content_tokens = 0

    def compute_loss(self, model: Any, inputs: Batch, *_: Any, **__: Any) -> Any:
        """Of one batch."""
        self.content_tokens += inputs["content_tokens"]
        out = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        return loss_of(out.logits, inputs)

    def _get_train_sampler(self, *_: Any) -> Any:
        return self.order


class _AfterEachStep(TrainerCallback):
    def __init__(self, begun: Callable[[], None], done: Callable[[], None]) -> None:
        self.begun, self.done = begun, done

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.begun()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.done()


def run(
    case: TrainingCase,
    model: Any,
    settings: Settings,
    folder: str,
    begun: Callable[[], None],
    done: Callable[[int], None],
) -> None:
    """Train on all instances; `done` gets the content tokens of each optimiser step.

    The order is random as a Trainer's is, but drawn as the other way's: in each step both see the
    same instances.
    """
    schedule = Schedule(count=len(case.instances), batch=case.batch, epochs=1, seed=settings.seed)
    trainer = Padded(
        model=model,
        args=TrainingArguments(
            output_dir=folder,  # the Trainer makes it, and writes nothing there
            per_device_train_batch_size=case.rows,
            gradient_accumulation_steps=case.batch // case.rows,
            num_train_epochs=1,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=settings.warmup,
            weight_decay=settings.weight_decay,
            adam_beta1=settings.betas[0],
            adam_beta2=settings.betas[1],
            max_grad_norm=settings.clip,
            bf16=settings.precision is Precision.BFLOAT16,
            use_cpu=case.device == "cpu",
            dataloader_pin_memory=case.device != "cpu",
            remove_unused_columns=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=[case.layout.lay(one.prompt, one.texts) for one in case.instances],
        data_collator=Collator(case.tokenizer.mask_token_id, case.layout.fill_id, shift=case.shift),
        order=[i for chosen in schedule.batches() for i in chosen],
    )

    def step_done() -> None:
        done(trainer.content_tokens)
        trainer.content_tokens = 0

    trainer.add_callback(_AfterEachStep(begun, step_done))
    trainer.train()
