"""Measure the tiny DLM on held-out problems and write its model card.

`python -m tiny.measure_dlm tiny/dlm` decodes `--problems` test problems greedily, one token a step,
the most confident masked position first, from rows of as many masks as a canvas has, and writes
`README.md` into the model directory. A solution counts when the text before the first fill token
ends in "The answer is N." with the right N.

Axes: B rows, T tokens of a row, V vocabulary.
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForMaskedLM, AutoTokenizer

from tiny.families import FAMILIES
from tiny.measure_teacher import is_right
from tiny.problems import Problem, distinct
from tiny.train_dlm import CANVAS_MASKS, EPSILON, Settings

CARD = Path(__file__).with_name("dlm_card.md")


class Measured(NamedTuple):
    """Held-out problems, and which of them were solved."""

    problems: tuple[Problem, ...]
    solved: tuple[bool, ...]


@torch.inference_mode()
def decode(model: Any, ids_BT: Tensor, mask_id: int, tokens_per_step: int = 1) -> Tensor:
    """`ids_BT` with every mask replaced: greedy, most confident first, ties by position.

    All rows hold the same number of masks. MASK itself is never predicted.
    """
    ids_BT = ids_BT.clone()
    while (masked_BT := ids_BT == mask_id).any():
        with torch.autocast("cpu", torch.bfloat16):
            logits_BTV = model(input_ids=ids_BT).logits
        logits_BTV = logits_BTV.float()
        logits_BTV[..., mask_id] = -torch.inf
        confidence_BT, best_BT = logits_BTV.softmax(-1).max(-1)
        confidence_BT = confidence_BT.masked_fill(~masked_BT, -1.0)
        order_BT = confidence_BT.argsort(dim=1, descending=True, stable=True)
        chosen_BK = order_BT[:, : min(tokens_per_step, int(masked_BT[0].sum()))]
        ids_BT.scatter_(1, chosen_BK, best_BT.gather(1, chosen_BK))
    return ids_BT


def measure(folder: Path, problems: int, batch: int = 50, tokens_per_step: int = 1) -> Measured:
    """Decode test problems with the model in `folder`."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    held_out = tuple(distinct(2, "test", problems))
    prompts = [
        tokenizer.encode(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": problem.question}],
                add_generation_prompt=True,
                tokenize=False,
            ),
            add_special_tokens=False,
        )
        for problem in held_out
    ]
    # Rows of one batch have prompts of one length, so that nothing is padded.
    by_length: dict[int, list[int]] = {}
    for number, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(number)
    solved = [False] * len(held_out)
    bar = tqdm(total=len(held_out), unit="problem")
    for numbers in by_length.values():
        for start in range(0, len(numbers), batch):
            chosen = numbers[start : start + batch]
            ids_BT = torch.tensor(
                [prompts[n] + [tokenizer.mask_token_id] * CANVAS_MASKS for n in chosen]
            )
            out_BT = decode(model, ids_BT, tokenizer.mask_token_id, tokens_per_step)
            for n, row in zip(chosen, out_BT.tolist(), strict=True):
                answer = row[len(prompts[n]) :]
                if tokenizer.eos_token_id in answer:
                    answer = answer[: answer.index(tokenizer.eos_token_id)]
                solved[n] = is_right(str(tokenizer.decode(answer)), held_out[n])
            bar.update(len(chosen))
    return Measured(held_out, tuple(solved))


def card(folder: Path, measured: Measured) -> str:
    """The model card."""
    config = json.loads((folder / "config.json").read_text())
    log = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
    model = AutoModelForMaskedLM.from_pretrained(folder)
    shares = {}
    for name in sorted(FAMILIES):
        rows = [
            right
            for right, p in zip(measured.solved, measured.problems, strict=True)
            if p.family == name
        ]
        shares[name] = sum(rows) / max(1, len(rows))
    return CARD.read_text(encoding="utf-8").format(
        parameters=model.num_parameters(),
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        context=config["max_position_embeddings"],
        families=len(FAMILIES),
        problems=len(measured.problems),
        masks=CANVAS_MASKS,
        solved=sum(measured.solved) / len(measured.solved),
        by_family=", ".join(f"{name} {share:.0%}" for name, share in shares.items()),
        steps=log[-1]["step"],
        rows=Settings().rows,
        epsilon=EPSILON,
        hours=log[-1]["seconds"] / 3600,
        loss=log[-1]["loss"],
    )


def main() -> None:
    """Measure and write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--problems", type=int, default=1000)
    args = parser.parse_args()
    text = card(args.folder, measure(args.folder, args.problems))
    (args.folder / "README.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
