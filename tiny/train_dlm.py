"""Train the tiny DLM: a masked-diffusion ModernBERT of 3 M parameters on the generator's problems.

`python -m tiny.train_dlm --out tiny/dlm` writes one ordinary model directory (config, tokenizer,
`model.safetensors`) with `training_log.jsonl` beside it. Steps, batches and masks follow from the
seed alone; a checkpoint every `--every` steps lets the same command go on after a stop.
`python -m tiny.measure_dlm` measures the result and writes its card.

A row is a prompt, one solution, and fill up to a length that says nothing of the solution's. One
step in eight has windows as long as a canvas, so that the model is before fine-tuning what LLaDA
is: it writes one solution into a long row of masks and fills the rest. A third of the rows is
masked token by token, a third number by number, all places of a number at once, and a third loses
its whole tail: otherwise results would be copied from where they stand again and never computed
(docs/adr/0012). Training begins with the tiny teacher's weights.

Axes: B rows of a batch, T tokens of a row, M masked tokens of a batch.
"""

import argparse
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm
from transformers import (
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from schemas.durable import replace_text
from tiny.problems import Problem, stream
from tiny.state import load_state, save_state

transformers_logging.disable_progress_bar()

TEACHER = Path(__file__).with_name("teacher")
MASK = "<|mask|>"
CONTEXT = 1024
CANVAS_MASKS = 156  # 3 slots of 48 and a summary of 12, as in the recipes of the tiny models
EPSILON = 1e-3
# Kernels are made for every new shape and kept: few shapes save minutes and gigabytes.
ROW = 104  # tokens of a row: the longest prompt, solution and fill token
CANVAS_ROW = 192  # tokens of a row as long as a canvas
SHAPE_ROWS = 512  # masked positions are padded to a multiple
IGNORE = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What determines the weights."""

    steps: int = 14_000
    rows: int = 64
    learning_rate: float = 1e-3
    warmup: int = 100
    decay: float = 0.4  # the last share of the steps, in which the learning rate goes to zero
    seed: int = 0


class Example(NamedTuple):
    """Ids of a prompt and of one of its solutions, with each solution token's unit of masking.

    All tokens of one number, wherever it stands, are one unit; every other token is its own.
    """

    prompt: list[int]
    solution: list[int]
    units: list[int]


class Batch(NamedTuple):
    """A masked batch: what the model sees, what is asked, both [B, T], and where, [B, T] bool."""

    ids_BT: Tensor
    targets_BT: Tensor
    masked_BT: Tensor


def tokenizer_with_mask() -> PreTrainedTokenizerFast:
    """The tiny teacher's tokenizer, and a mask token behind its last id."""
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(TEACHER)
    tokenizer.add_special_tokens({"mask_token": MASK})
    return tokenizer


def encode(problem: Problem, rng: Random, tokenizer: PreTrainedTokenizerFast) -> Example:
    """A prompt with one of its solutions, chosen by `rng`."""
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": problem.question}], add_generation_prompt=True, tokenize=False
    )
    solution = rng.choice(problem.solutions)
    encoded = tokenizer(solution, add_special_tokens=False, return_offsets_mapping=True)
    number_at = {
        place: match.group()
        for match in re.finditer(r"\d+", solution)
        for place in range(*match.span())
    }
    units: dict[str | int, int] = {}  # a number's text or a place -> its unit
    return Example(
        tokenizer.encode(prompt, add_special_tokens=False),
        encoded["input_ids"],
        [
            units.setdefault(number_at.get(end - 1, -end), len(units))
            for _, end in encoded["offset_mapping"]
        ],
    )


def batches(
    settings: Settings, tokenizer: PreTrainedTokenizerFast, start: int = 0
) -> Iterator[Batch]:
    """The batches from step `start` on."""
    for step in range(start, settings.steps):
        rng = Random(f"{settings.seed} {step}")
        problems = islice(stream(settings.seed, "train", start=step * settings.rows), settings.rows)
        examples = [encode(problem, rng, tokenizer) for problem in problems]
        length = CANVAS_ROW if step % 8 == 7 else ROW
        yield _mask(examples, length, step, settings, tokenizer)


def _mask(
    examples: list[Example],
    length: int,
    step: int,
    settings: Settings,
    tokenizer: PreTrainedTokenizerFast,
) -> Batch:
    """Fill every row to `length`, then mask it at a ratio of its own (Eq. 1, Li et al. 2026)."""
    rows = len(examples)
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
    t_B = (torch.randperm(rows, generator=generator) + torch.rand(1, generator=generator)) / rows
    p_B = (1 - EPSILON) * t_B + EPSILON
    u_BT = torch.rand(rows, length, generator=generator)
    targets_BT = torch.full((rows, length), tokenizer.eos_token_id)
    masked_BT = u_BT < p_B[:, None]
    for row, (prompt, solution, units) in enumerate(examples):
        begin, end = len(prompt), len(prompt) + len(solution)
        targets_BT[row, :end] = torch.tensor(prompt + solution)
        if row % 3 == 1:
            masked_BT[row, begin:end] = masked_BT[row, begin:end][torch.tensor(units)]
        elif row % 3 == 2:
            masked_BT[row] = torch.arange(length) >= begin + int(t_B[row] * (len(solution) + 1))
        masked_BT[row, :begin] = False
    return Batch(targets_BT.masked_fill(masked_BT, tokenizer.mask_token_id), targets_BT, masked_BT)


def learning_rate(step: int, settings: Settings) -> float:
    """Linear warm-up, constant, then linear to zero."""
    rest = (settings.steps - step) / (settings.decay * settings.steps)
    return settings.learning_rate * min(1.0, (step + 1) / settings.warmup, rest)


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> ModernBertForMaskedLM:
    """An untrained DLM; every layer sees the whole row."""
    torch.manual_seed(seed)
    rope = {"rope_type": "default", "rope_theta": 10_000.0}  # the teacher's
    return ModernBertForMaskedLM(
        ModernBertConfig(
            vocab_size=len(tokenizer),
            hidden_activation="silu",
            hidden_size=256,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT,
            global_attn_every_n_layers=1,  # type: ignore[call-arg]
            rope_parameters={"full_attention": rope, "sliding_attention": rope},
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            cls_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            sep_token_id=tokenizer.eos_token_id,
        )
    )


@torch.no_grad()
def start_from_teacher(model: ModernBertForMaskedLM) -> None:
    """Put the teacher's weights where the two architectures agree, as Dream began with Qwen2's.

    Layers have the same shapes (head size 64, gated MLP of 512); norms lose their mean, the
    embeddings are normalised, and the prediction head is new: training mends that in a few
    hundred steps. The mask begins as the mean token.
    """
    teacher = load_file(TEACHER / "model.safetensors")
    words_VH = teacher["model.embed_tokens.weight"]
    embeddings: Any = model.model.embeddings
    embeddings.tok_embeddings.weight.copy_(torch.cat([words_VH, words_VH.mean(0, keepdim=True)]))
    embeddings.norm.weight.copy_(teacher["model.layers.0.input_layernorm.weight"])
    model.model.final_norm.weight.copy_(teacher["model.norm.weight"])
    layers: Any = model.model.layers
    for number, layer in enumerate(layers):

        def of(*names: str, number: int = number) -> Tensor:
            return torch.cat([teacher[f"model.layers.{number}.{name}.weight"] for name in names])

        layer.attn.Wqkv.weight.copy_(of("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"))
        layer.attn.Wo.weight.copy_(of("self_attn.o_proj"))
        layer.mlp.Wi.weight.copy_(of("mlp.gate_proj", "mlp.up_proj"))
        layer.mlp.Wo.weight.copy_(of("mlp.down_proj"))
        layer.mlp_norm.weight.copy_(of("post_attention_layernorm"))
        if number:  # the first layer's norm is the embeddings'
            layer.attn_norm.weight.copy_(of("input_layernorm"))


def loss_of(model: ModernBertForMaskedLM, batch: Batch) -> Tensor:
    """Mean cross-entropy of the masked tokens, head computed on those rows only."""
    places_M = batch.masked_BT.flatten().nonzero().squeeze(1)
    targets_M = batch.targets_BT.flatten()[places_M]
    missing = -len(places_M) % SHAPE_ROWS
    with torch.autocast("cpu", torch.bfloat16):
        hidden_NH = model.model(input_ids=batch.ids_BT).last_hidden_state.flatten(0, 1)
        hidden_MH = hidden_NH[functional.pad(places_M, (0, missing))]
        logits_MV = model.decoder(model.head(hidden_MH))
    return functional.cross_entropy(
        logits_MV.float(), functional.pad(targets_M, (0, missing), value=IGNORE)
    )


def train(settings: Settings, out: Path, every: int) -> None:
    """Train `settings.steps` steps and save the model directory."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_with_mask()
    model = new_model(tokenizer, settings.seed)
    start_from_teacher(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.98), weight_decay=0.05)
    checkpoint, log = out / "checkpoint.safetensors", out / "training_log.jsonl"
    lines = (
        [json.loads(line) for line in log.read_text().splitlines()] if checkpoint.exists() else []
    )
    start = lines[-1]["step"] if lines else 0
    if start:
        load_state(model, optimizer, checkpoint)
    began = time.monotonic() - (lines[-1]["seconds"] if lines else 0)
    total = 0.0
    bar = tqdm(batches(settings, tokenizer, start), initial=start, total=settings.steps)
    for step, batch in enumerate(bar, start=start + 1):
        loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step - 1, settings)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        total += loss.item()
        if step % every == 0 or step == settings.steps:
            mean = total / ((step - 1) % every + 1)
            seconds = round(time.monotonic() - began)
            lines.append({"step": step, "loss": round(mean, 4), "seconds": seconds})
            bar.set_postfix(loss=f"{mean:.3f}")
            total = 0.0
            save_state(model, optimizer, checkpoint)
            replace_text(log, "".join(json.dumps(line) + "\n" for line in lines))
            model.save_pretrained(out)
            tokenizer.save_pretrained(out)
    checkpoint.unlink(missing_ok=True)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=Settings().steps)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--every", type=int, default=200, help="steps between log lines and checkpoints"
    )
    args = parser.parse_args()
    train(Settings(steps=args.steps, seed=args.seed), args.out, args.every)


if __name__ == "__main__":
    main()
