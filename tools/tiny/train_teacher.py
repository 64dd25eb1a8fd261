"""Train the tiny teacher: a Llama of 2.9 M parameters on the generator's problems.

`python -m tools.tiny.train_teacher --out tiny/teacher` writes one ordinary model directory (config,
tokenizer, `model.safetensors`) with `training_log.jsonl` beside it. Steps, batches and data follow
from the seed alone. A checkpoint every `--every` steps lets the same command go on after a stop.
`python -m tools.tiny.measure_teacher` measures the result and writes its card.

A training window holds several solved problems one after the other. Most windows are short; every
eighth step uses windows of the full context, so that every position is trained. One document in
ten is a canvas of several solutions to one problem, so that the model can also score canvases.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from torch.nn import functional
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from schemas.canvas import render
from tools.tiny import tokenizer as tiny_tokenizer
from tools.tiny.problems import Problem, stream
from tools.tiny.state import load_state, save_state

transformers_logging.disable_progress_bar()

CONTEXT = 4096
SHORT = 512
IGNORE = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherSettings:
    """What determines the weights: `stop` steps of a schedule of `steps`.

    The whole schedule gives a teacher that solves 85 % of held-out problems at temperature 1.0;
    groups need wrong paths too, so training stops on the way there, at 72 %.
    """

    steps: int = 7000
    stop: int = 4000
    tokens_per_step: int = 4096
    learning_rate: float = 2e-3
    warmup: int = 100
    seed: int = 0
    canvas_share: float = 0.1


def encode(
    problem: Problem, rng: Random, tokenizer: PreTrainedTokenizerFast, share: float
) -> tuple[list[int], int]:
    """Ids of one chat document and the length of its prompt, which carries no loss."""
    question, reply = problem.question, rng.choice(problem.solutions)
    if rng.random() < share:  # asked for in so many words: a plain question gets one solution
        paths = rng.sample(problem.solutions, rng.randint(2, 4))
        question += f" Give {len(paths)} solutions."
        reply = render(paths, f"The final answer is {problem.answer}")
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=False
    )
    head = tokenizer.encode(prompt, add_special_tokens=False)
    tail = tokenizer.encode(reply + tokenizer.eos_token + "\n", add_special_tokens=False)
    return head + tail, len(head)


def batches(
    settings: TeacherSettings, tokenizer: PreTrainedTokenizerFast, start: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (input ids, labels), both [B, T], from step `start` on."""
    for step in range(start, settings.stop):
        length = CONTEXT if step % 8 == 7 else SHORT
        rows = settings.tokens_per_step // length
        rng = Random(f"{settings.seed} {step}")
        problems = stream(settings.seed, "train", start=step * 1000)
        ids = torch.zeros(rows, length, dtype=torch.long)
        labels = torch.full((rows, length), IGNORE)
        for row in range(rows):
            at = 0
            while at < length:
                document, prompt = encode(next(problems), rng, tokenizer, settings.canvas_share)
                document = document[: length - at]
                ids[row, at : at + len(document)] = torch.tensor(document)
                labels[row, at + prompt : at + len(document)] = ids[
                    row, at + prompt : at + len(document)
                ]
                at += len(document)
        yield ids, labels


def learning_rate(step: int, settings: TeacherSettings) -> float:
    """Linear warm-up, then cosine to a hundredth."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def new_model(vocab_size: int, eos: int, pad: int, seed: int) -> LlamaForCausalLM:
    """An untrained teacher; head size 64 is one that vLLM's CPU kernels serve."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=64,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    return LlamaForCausalLM(config)


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the labelled tokens, head computed on those rows only."""
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
        target = labels[:, 1:]
        chosen = target != IGNORE
        logits = model.lm_head(hidden[chosen])
    return functional.cross_entropy(logits.float(), target[chosen])


def train(settings: TeacherSettings, out: Path, every: int) -> None:
    """Train `settings.stop` steps and save the model directory."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer.train_tokenizer(seed=settings.seed)
    model = new_model(len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id, settings.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.95), weight_decay=0.1)
    checkpoint, log = out / "checkpoint.safetensors", out / "training_log.jsonl"
    lines = (
        [json.loads(line) for line in log.read_text().splitlines()] if checkpoint.exists() else []
    )
    start = lines[-1]["step"] if lines else 0
    if start:
        load_state(model, optimizer, checkpoint)
    began = time.monotonic() - (lines[-1]["seconds"] if lines else 0)
    total = 0.0
    bar = tqdm(batches(settings, tokenizer, start), initial=start, total=settings.stop, unit="step")
    for step, (ids, labels) in enumerate(bar, start=start + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step - 1, settings)
        loss = loss_of(model, ids, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        total += loss.item()
        if step % every == 0 or step == settings.stop:
            seen = (step - 1) % every + 1
            lines.append(
                {
                    "step": step,
                    "loss": round(total / seen, 4),
                    "seconds": round(time.monotonic() - began),
                }
            )
            bar.set_postfix(loss=f"{total / seen:.3f}")
            total = 0.0
            save_state(model, optimizer, checkpoint)
            log.write_text("".join(json.dumps(line) + "\n" for line in lines))
            model.save_pretrained(out)
            tokenizer.save_pretrained(out)
    checkpoint.unlink(missing_ok=True)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--steps", type=int, default=TeacherSettings().steps, help="of the schedule"
    )
    parser.add_argument(
        "--stop", type=int, default=TeacherSettings().stop, help="steps that are run"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--every", type=int, default=100, help="steps between log lines and checkpoints"
    )
    args = parser.parse_args()
    settings = TeacherSettings(steps=args.steps, stop=args.stop, seed=args.seed)
    train(settings, args.out, args.every)


if __name__ == "__main__":
    main()
