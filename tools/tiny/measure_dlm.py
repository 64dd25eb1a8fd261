"""Measure the tiny DLM on held-out problems and write its model card.

`python -m tools.tiny.measure_dlm tiny/dlm` decodes `--problems` test problems greedily, one token
a step, from rows of as many masks as a canvas has, once from left to right and once the most
confident position first, and writes `README.md` into the model directory. A solution counts when
the text before the first fill token ends in "The answer is N." with the right N.
"""

import argparse
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from tqdm import tqdm

from diffusion import models
from diffusion.data.layout import CanvasLayout, encode_prompt
from diffusion.decoding import Rule
from diffusion.decoding.decode import Decoded, Request, decode
from diffusion.decoding.kv_cache import CacheSettings
from diffusion.decoding.rules.ar_order import ArOrder
from diffusion.decoding.rules.confidence import Confidence
from diffusion.evaluation.answers import texts_of
from diffusion.models.network.denoiser import Dlm
from tools.tiny.families import FAMILIES
from tools.tiny.measure_teacher import is_right
from tools.tiny.problems import Problem, distinct
from tools.tiny.train_dlm import CANVAS_MASKS, EPSILON, DlmSettings

CARD = Path(__file__).with_name("dlm_card.md")
BATCH = 50


def decoded(
    dlm: Dlm,
    problems: Sequence[Problem],
    rule: Rule,
    *,
    steps: int = CANVAS_MASKS,
    caching: CacheSettings | None = None,
) -> list[Decoded]:
    """Every problem in one slot of a canvas's masks, greedily, in bfloat16."""
    found = []
    with tqdm(total=len(problems), unit="problem") as bar:
        for start in range(0, len(problems), BATCH):
            some = problems[start : start + BATCH]
            requests = [
                Request(problem.question, encode_prompt(dlm.tokenizer, problem.question))
                for problem in some
            ]
            with torch.autocast("cpu", torch.bfloat16):
                found += decode(dlm, _layout(dlm), requests, rule, steps=steps, caching=caching)
            bar.update(len(some))
    return found


def solved(dlm: Dlm, problems: Sequence[Problem], rows: Sequence[Decoded]) -> list[bool]:
    """Which of them are right."""
    texts = texts_of(dlm, _layout(dlm), [row.ids_C for row in rows])
    return [is_right(text, problem) for (text,), problem in zip(texts, problems, strict=True)]


def _layout(dlm: Dlm) -> CanvasLayout:
    return CanvasLayout(headers=((),), slots=(CANVAS_MASKS,), fill_id=dlm.fill_id)


def card(folder: Path, problems: Sequence[Problem]) -> str:
    """Measure, and say so in a model card."""
    config = json.loads((folder / "config.json").read_text())
    log = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
    dlm = models.load_model(str(folder))
    dlm.denoiser.eval()
    by_rule = [
        solved(dlm, problems, decoded(dlm, problems, rule)) for rule in (ArOrder(), Confidence())
    ]
    shares = {}
    for name in sorted(FAMILIES):
        rows = [right for right, p in zip(by_rule[1], problems, strict=True) if p.family == name]
        shares[name] = sum(rows) / max(1, len(rows))
    ordered, free = (sum(right) / len(right) for right in by_rule)
    return CARD.read_text(encoding="utf-8").format(
        parameters=dlm.denoiser.net.num_parameters(),
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        context=config["max_position_embeddings"],
        families=len(FAMILIES),
        problems=len(problems),
        masks=CANVAS_MASKS,
        ordered=ordered,
        free=free,
        by_family=", ".join(f"{name} {share:.0%}" for name, share in shares.items()),
        steps=log[-1]["step"],
        rows=DlmSettings().rows,
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
    text = card(args.folder, list(islice(distinct(2, "test"), args.problems)))
    (args.folder / "README.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
