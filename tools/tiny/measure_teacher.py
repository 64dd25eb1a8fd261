"""Measure the tiny teacher on held-out problems and write its model card.

`python -m tools.tiny.measure_teacher tiny/teacher` samples `--problems` test problems, greedily and
`--samples` times at temperature 1.0, and writes `README.md` into the model directory. A solution
counts when its last line is "The answer is N." with the right N.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, LlamaForCausalLM

from tools.tiny.families import FAMILIES
from tools.tiny.problems import Problem, distinct

CARD = Path(__file__).with_name("teacher_card.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Outcomes: `greedy` [problems], `sampled` [problems][samples]."""

    problems: tuple[Problem, ...]
    greedy: tuple[bool, ...]
    sampled: tuple[tuple[bool, ...], ...]
    distinct: float


def is_right(text: str, problem: Problem) -> bool:
    """Whether the last line states the right answer."""
    return text.strip().splitlines()[-1:] == [f"The answer is {problem.answer}."]


def load(folder: Path) -> tuple[Any, Any]:
    """The tokenizer and the model in `folder`."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    return tokenizer, LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def generate(
    tokenizer: Any,
    model: Any,
    questions: Sequence[str],
    *,
    samples: int,
    new_tokens: int,
    temperature: float,
) -> Tensor:
    """New token ids, `samples` rows for each question; temperature 0 is greedy."""
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=False
        )
        for question in questions
    ]
    batch = tokenizer(
        prompts,
        return_tensors="pt",
        padding=True,
        add_special_tokens=False,
        return_token_type_ids=False,
    )
    sampling = {"temperature": temperature, "top_k": 0} if temperature else {}
    with torch.no_grad():
        ids: Tensor = model.generate(
            **batch,
            max_new_tokens=new_tokens,
            num_return_sequences=samples,
            do_sample=temperature > 0,
            **sampling,
        )
    return ids[:, batch["input_ids"].shape[1] :]


def measure(folder: Path, problems: int, samples: int, seed: int = 0) -> Measured:
    """Sample the model in `folder`."""
    tokenizer, model = load(folder)
    held_out = tuple(islice(distinct(2, "test"), problems))
    torch.manual_seed(seed)

    def answers(chunk: tuple[Problem, ...], times: int, temperature: float) -> list[str]:
        questions = [problem.question for problem in chunk]
        ids = generate(
            tokenizer, model, questions, samples=times, new_tokens=96, temperature=temperature
        )
        texts: list[str] = tokenizer.batch_decode(ids, skip_special_tokens=True)
        return texts

    greedy: list[bool] = []
    sampled: list[tuple[bool, ...]] = []
    differing = 0
    for start in range(0, problems, 50):
        chunk = held_out[start : start + 50]
        texts = answers(chunk, 1, temperature=0.0)
        greedy += [is_right(text, problem) for text, problem in zip(texts, chunk, strict=True)]
        many = answers(chunk, samples, temperature=1.0)
        for i, problem in enumerate(chunk):
            mine = many[i * samples : (i + 1) * samples]
            sampled.append(tuple(is_right(text, problem) for text in mine))
            differing += len(set(mine))
    return Measured(
        problems=held_out,
        greedy=tuple(greedy),
        sampled=tuple(sampled),
        distinct=differing / problems,
    )


def card(folder: Path, measured: Measured) -> str:
    """The model card."""
    config = json.loads((folder / "config.json").read_text())
    log = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
    model = LlamaForCausalLM.from_pretrained(folder)
    problems, samples = len(measured.problems), len(measured.sampled[0])
    shares = {}
    for name in sorted(FAMILIES):
        rows = [
            row
            for row, p in zip(measured.sampled, measured.problems, strict=True)
            if p.family == name
        ]
        shares[name] = sum(map(sum, rows)) / (samples * max(1, len(rows)))
    return CARD.read_text(encoding="utf-8").format(
        parameters=model.num_parameters(),
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        context=config["max_position_embeddings"],
        families=len(FAMILIES),
        problems=problems,
        samples=samples,
        greedy=sum(measured.greedy) / problems,
        sampled=sum(map(sum, measured.sampled)) / (problems * samples),
        any_right=sum(map(any, measured.sampled)) / problems,
        mixed=sum(any(row) and not all(row) for row in measured.sampled) / problems,
        by_family=", ".join(f"{name} {share:.0%}" for name, share in shares.items()),
        distinct=measured.distinct,
        steps=log[-1]["step"],
        hours=log[-1]["seconds"] / 3600,
        loss=log[-1]["loss"],
    )


def main() -> None:
    """Measure and write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=6)
    args = parser.parse_args()
    text = card(args.folder, measure(args.folder, args.problems, args.samples))
    (args.folder / "README.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
