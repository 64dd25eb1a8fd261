"""Train the tiny DLM: the tiny teacher, made to denoise as Dream was made of Qwen2.5.

`python -m tools.tiny.train_dlm --out tiny/dlm` writes a model directory in Dream's layout (config,
tokenizer, `model.safetensors`) with `training_log.jsonl` beside it. Steps, batches and masks follow
from the seed alone; a checkpoint every `--every` steps lets the same command go on after a stop.
`python -m tools.tiny.measure_dlm` measures the result and writes its card.

A row is a prompt, one solution, and fill up to a length that says nothing of the solution's. One
step in eight has windows as long as a canvas, so that the model is before fine-tuning what Dream
is: it writes one solution into a long row of masks and fills the rest. A third of the rows is
masked token by token, a third number by number, all places of a number at once, and a third loses
its whole tail: otherwise results would be copied from where they stand again and never computed.
Most tails begin at a result, and tokens count the more the nearer they are to the tail's begin:
otherwise there is so little left to compute that the teacher's arithmetic is unlearnt
(docs/adr/0012).

Axes: B rows of a batch, T tokens of a row, R masked tokens of a batch.
"""

import argparse
import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from diffusion import models
from diffusion.data.layout import encode_prompt
from diffusion.models.network.denoiser import Dlm
from support.files import replace_text
from support.paths import ROOT
from tools.tiny.problems import Problem, stream
from tools.tiny.state import load_state, save_state

TEACHER = ROOT / "tiny" / "teacher"
MASK = "<|mask|>"
CONTEXT = 1024
CANVAS_MASKS = 156  # 3 slots of 48 and a summary of 12, as in the recipes of the tiny models
EPSILON = 1e-3
# Kernels are made for every new shape and kept: few shapes save minutes and gigabytes.
ROW = 104  # tokens of a row: the longest prompt, solution and fill token
CANVAS_ROW = 192  # tokens of a row as long as a canvas
SHAPE_ROWS = 512  # masked positions are padded to a multiple
FILL_WEIGHT = 0.2  # of a fill token behind the first, beside a solution's token
RESULT_TAILS = 0.7  # share of the lost tails that begin at a result
NEAREST_WEIGHT = 8.0  # added for the first token of a lost tail, half of it for the second, …


@dataclass(frozen=True, slots=True, kw_only=True)
class DlmSettings:
    """What determines the weights."""

    steps: int = 6_000
    rows: int = 64
    learning_rate: float = 5e-4
    warmup: int = 100
    decay: float = 0.5  # the last share of the steps, in which the learning rate goes to zero
    seed: int = 0


class Example(NamedTuple):
    """Ids of a prompt and of one of its solutions, with each solution token's unit of masking.

    All tokens of one number, wherever it stands, are one unit; every other token is its own.
    `numbers`: which tokens are of numbers. `results`: where a result begins; whatever the solution,
    a number stands there, so that a tail may begin there without making numbers likelier.
    """

    prompt: list[int]
    solution: list[int]
    units: list[int]
    numbers: list[bool]
    results: list[int]


class Batch(NamedTuple):
    """A masked batch: what the model sees, what is asked, and each place's weight, all [B, T].

    Places that are not masked weigh nothing; a row's weights add up to one.
    """

    ids_BT: Tensor
    targets_BT: Tensor
    weights_BT: Tensor


def tokenizer_with_mask() -> PreTrainedTokenizerFast:
    """The tiny teacher's tokenizer, and a mask token behind its last id."""
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(TEACHER)
    tokenizer.add_special_tokens({"mask_token": MASK})
    return tokenizer


def encode(problem: Problem, rng: Random, tokenizer: PreTrainedTokenizerFast) -> Example:
    """A prompt with one of its solutions, chosen by `rng`."""
    solution = rng.choice(problem.solutions)
    encoded = tokenizer(solution, add_special_tokens=False, return_offsets_mapping=True)
    number_at = {
        place: match.group()
        for match in re.finditer(r"\d+", solution)
        for place in range(*match.span())
    }
    ends = [end - 1 for _, end in encoded["offset_mapping"]]  # a token may begin with a space
    result_starts = {match.end() for match in re.finditer(r"(?:=|The answer is) (?=\d)", solution)}
    units: dict[str | int, int] = {}  # a number's text or a place -> its unit
    return Example(
        encode_prompt(tokenizer, problem.question).tolist(),
        encoded["input_ids"],
        [units.setdefault(number_at.get(end, -end), len(units)) for end in ends],
        [end in number_at for end in ends],
        [place for place, end in enumerate(ends) if end in result_starts],
    )


def batches(
    settings: DlmSettings, tokenizer: PreTrainedTokenizerFast, start: int = 0
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
    settings: DlmSettings,
    tokenizer: PreTrainedTokenizerFast,
) -> Batch:
    """Fill every row to `length`, then mask it at a ratio of its own (Eq. 1, Li et al. 2026)."""
    rows = len(examples)
    rng = Random(f"{settings.seed} {step} masks")
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
    t_B = (torch.randperm(rows, generator=generator) + torch.rand(1, generator=generator)) / rows
    p_B = (1 - EPSILON) * t_B + EPSILON
    u_BT = torch.rand(rows, length, generator=generator)
    places_T = torch.arange(length)
    targets_BT = torch.full((rows, length), tokenizer.eos_token_id)
    masked_BT = u_BT < p_B[:, None]
    weights_BT = torch.ones(rows, length)
    for row, example in enumerate(examples):
        begin = len(example.prompt)
        end = begin + len(example.solution)
        targets_BT[row, :end] = torch.tensor(example.prompt + example.solution)
        weights_BT[row, end + 1 :] = FILL_WEIGHT
        if row % 3 == 1:
            masked_BT[row] = u_BT[row] < p_B[row] * rng.random()  # words are found before numbers
            numbers, units = torch.tensor(example.numbers), torch.tensor(example.units)
            lost = (u_BT[row, begin:end] < p_B[row])[units]
            masked_BT[row, begin:end] = torch.where(numbers, lost, masked_BT[row, begin:end])
        elif row % 3 == 2:
            cut = int(t_B[row] * (len(example.solution) + 1))
            if rng.random() < RESULT_TAILS:
                cut = rng.choice(example.results)
            masked_BT[row] = places_T >= begin + cut
            weights_BT[row] *= 1 + NEAREST_WEIGHT * 0.5 ** (places_T - begin - cut).clamp(min=0)
        masked_BT[row, :begin] = False
    weights_BT *= masked_BT
    weights_BT /= weights_BT.sum(1, keepdim=True).clamp(min=EPSILON)  # a row may have no mask
    return Batch(targets_BT.masked_fill(masked_BT, tokenizer.mask_token_id), targets_BT, weights_BT)


def learning_rate(step: int, settings: DlmSettings) -> float:
    """Linear warm-up, constant, then linear to zero."""
    rest = (settings.steps - step) / (settings.decay * settings.steps)
    return settings.learning_rate * min(1.0, (step + 1) / settings.warmup, rest)


def write_base(folder: Path) -> None:
    """The teacher's weights as a Dream directory: what is trained, before its first step.

    The mask, which the teacher has not, begins as the mean token; the biases that Qwen2's attention
    has and Llama's has not begin as zeros.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_with_mask()
    tokenizer.save_pretrained(folder)
    teacher = json.loads((TEACHER / "config.json").read_text(encoding="utf-8"))
    layers = teacher["num_hidden_layers"]
    weights = load_file(TEACHER / "model.safetensors")
    words_VH = weights["model.embed_tokens.weight"]
    weights["model.embed_tokens.weight"] = torch.cat([words_VH, words_VH.mean(0, keepdim=True)])
    for layer in range(layers):
        for name in ("q_proj", "k_proj", "v_proj"):
            part = f"model.layers.{layer}.self_attn.{name}"
            weights[f"{part}.bias"] = torch.zeros(len(weights[f"{part}.weight"]))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "model_type": "Dream",
        "architectures": ["DreamModel"],
        "hidden_act": teacher["hidden_act"],
        "hidden_size": teacher["hidden_size"],
        "intermediate_size": teacher["intermediate_size"],
        "num_hidden_layers": layers,
        "num_attention_heads": teacher["num_attention_heads"],
        "num_key_value_heads": teacher["num_key_value_heads"],
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": teacher["rms_norm_eps"],
        "rope_theta": teacher["rope_parameters"]["rope_theta"],
        "rope_scaling": None,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "vocab_size": len(tokenizer),
        "mask_token_id": tokenizer.mask_token_id,
        "pad_token_id": tokenizer.eos_token_id,  # Dream fills with what it pads with
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "dtype": "float32",
    }
    replace_text(folder / "config.json", json.dumps(config, indent=2) + "\n")


def loss_of(dlm: Dlm, batch: Batch) -> Tensor:
    """Mean over the rows of the weighted cross-entropy of their masked tokens, in nats."""
    positions_R = batch.weights_BT.flatten().nonzero().squeeze(1)
    missing = (0, -len(positions_R) % SHAPE_ROWS)
    weights_R = batch.weights_BT.flatten()[positions_R] / len(batch.weights_BT)
    weights_R = functional.pad(weights_R, missing)
    positions_R = functional.pad(positions_R, missing)
    targets_R = batch.targets_BT.flatten()[positions_R]
    with torch.autocast("cpu", torch.bfloat16):
        loss: Tensor = dlm.denoiser(batch.ids_BT, positions_R, targets_R, weights_R).total
    return loss


def train(settings: DlmSettings, out: Path, every: int) -> None:
    """Train `settings.steps` steps from the teacher and save the model directory."""
    state = out / "unfinished"
    state.mkdir(parents=True, exist_ok=True)
    log = out / "training_log.jsonl"
    checkpoint = state / "checkpoint.safetensors"
    write_base(state / "base")
    dlm = models.load_model(str(state / "base"))
    tokenizer, model = dlm.tokenizer, dlm.denoiser
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.98), weight_decay=0.05)
    start, lines = 0, []
    if checkpoint.exists():
        start = load_state(model, optimizer, checkpoint)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        lines = [line for line in lines if line["step"] <= start]
    began = time.monotonic() - (lines[-1]["seconds"] if lines else 0)
    total = 0.0
    bar = tqdm(batches(settings, tokenizer, start), initial=start, total=settings.steps)
    for step, batch in enumerate(bar, start=start + 1):
        loss = loss_of(dlm, batch)
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
            replace_text(log, "".join(json.dumps(line) + "\n" for line in lines))
            save_state(model, optimizer, checkpoint)
    models.save(dlm, out)
    shutil.rmtree(state)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=DlmSettings().steps)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--every", type=int, default=200, help="steps between log lines and checkpoints"
    )
    args = parser.parse_args()
    train(DlmSettings(steps=args.steps, seed=args.seed), args.out, args.every)


if __name__ == "__main__":
    main()
