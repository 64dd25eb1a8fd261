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
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from diffusion import models
from diffusion.denoiser import Dlm
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
def decode(dlm: Dlm, ids_BT: Tensor, tokens_per_step: int = 1) -> Tensor:
    """`ids_BT` with every mask replaced: greedy, most confident first, ties by position.

    All rows hold the same number of masks. MASK itself is never predicted.
    """
    ids_BT = ids_BT.clone()
    while (masked_BT := ids_BT == dlm.mask_id).any():
        positions_R = masked_BT.flatten().nonzero().squeeze(1)
        with torch.autocast("cpu", torch.bfloat16):
            logits_RV = dlm.denoiser.logits(ids_BT, positions_R).float()
        logits_RV[:, dlm.mask_id] = -torch.inf
        confidence_R, best_R = logits_RV.softmax(-1).max(-1)
        confidence_BT = torch.full(ids_BT.shape, -1.0)
        confidence_BT[masked_BT] = confidence_R
        best_BT = ids_BT.masked_scatter(masked_BT, best_R)
        order_BT = confidence_BT.argsort(dim=1, descending=True, stable=True)
        chosen_BK = order_BT[:, : min(tokens_per_step, int(masked_BT[0].sum()))]
        ids_BT.scatter_(1, chosen_BK, best_BT.gather(1, chosen_BK))
    return ids_BT


def measure(folder: Path, problems: int, batch: int = 50, tokens_per_step: int = 1) -> Measured:
    """Decode test problems with the model in `folder`."""
    dlm = models.load(str(folder))
    dlm.denoiser.eval()
    tokenizer = dlm.tokenizer
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
            ids_BT = torch.tensor([prompts[n] + [dlm.mask_id] * CANVAS_MASKS for n in chosen])
            out_BT = decode(dlm, ids_BT, tokens_per_step)
            for n, row in zip(chosen, out_BT.tolist(), strict=True):
                answer = row[len(prompts[n]) :]
                if dlm.fill_id in answer:
                    answer = answer[: answer.index(dlm.fill_id)]
                solved[n] = is_right(str(tokenizer.decode(answer)), held_out[n])
            bar.update(len(chosen))
    return Measured(held_out, tuple(solved))


def card(folder: Path, measured: Measured) -> str:
    """The model card."""
    config = json.loads((folder / "config.json").read_text())
    log = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
    net = models.load(str(folder)).denoiser.net
    shares = {}
    for name in sorted(FAMILIES):
        rows = [
            right
            for right, p in zip(measured.solved, measured.problems, strict=True)
            if p.family == name
        ]
        shares[name] = sum(rows) / max(1, len(rows))
    return CARD.read_text(encoding="utf-8").format(
        parameters=net.num_parameters(),
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
