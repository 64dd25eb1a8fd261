"""ARness of every family under the sampler that its authors give it, as a Markdown table.

`python -m tools.family_arness` measures small random checkpoints of all families: what comes out
says that every family is measured, and nothing about any model. `python -m tools.family_arness
MODEL …` measures models (directories or Hub ids) by the same samplers. Prompts are the problems of
the tiny models; each answer has `--masks` masks.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from diffusion import models
from diffusion.data.layout import CanvasLayout, encode_prompt
from diffusion.decoding import Rule
from diffusion.decoding.decode import Request, decode
from diffusion.decoding.rules.blockwise import Blockwise
from diffusion.decoding.rules.fast_dllm import FastDllm
from diffusion.decoding.rules.random_order import RandomOrder
from diffusion.decoding.sampling import Sampling
from diffusion.evaluation.log_arness import arness_of_log
from diffusion.models.network.denoiser import Dlm
from support.paths import ROOT
from support.stats import Interval

ROWS, MASKS, BATCH = 32, 64, 16
HEADER = (
    *("family", "checkpoint", "sampler of its authors", "here", "tokens a step"),
    *("ARness", "chance", "above chance", "Local-ARness@1"),
)


class OwnSampler(NamedTuple):
    """What the authors of a family decode with, and the rule that does the same here.

    `rule` is given the block of a block-causal model (32 for any other). A rule with steps takes
    one step for each mask.
    """

    named: str
    rule: Callable[[int], Rule]
    temperature: float = 0.0


def _one_block(_block: int) -> Rule:
    return Blockwise(block=128)


# By family. Fast_dLLM_v2's sampler also divides a block into parts of 8 tokens, and LLaDA2.1's
# replaces committed tokens; the rules here do neither.
OWN = {
    "llada": OwnSampler("LLaDA's `generate.py`, as it is run there", lambda n: Blockwise(block=n)),
    "llada_moe": OwnSampler("LLaDA's `generate.py`", lambda n: Blockwise(block=n)),
    "dream": OwnSampler(
        "`alg: origin` of Dream's `generation_config.json`",
        lambda _: RandomOrder(is_independent=True),
    ),
    "a2d": OwnSampler("dLLM's `MDLMSampler`", _one_block),
    "masked_lm": OwnSampler("dLLM's `MDLMSampler`, as for its BERT", _one_block),
    "sdar": OwnSampler(
        "SDAR's `generate.py`: threshold 0.85, temperature 1",
        lambda n: FastDllm(threshold=0.85, block=n),
        temperature=1.0,
    ),
    "fast_dllm_v2": OwnSampler(
        "Fast_dLLM_v2's `generate`, threshold 0.9", lambda n: FastDllm(threshold=0.9, block=n)
    ),
    "llada2": OwnSampler(
        "LLaDA2's `generate`, threshold 0.95", lambda n: FastDllm(threshold=0.95, block=n)
    ),
}
_OF_BLOCKS = OwnSampler("dLLM's `BD3LMSampler`", lambda n: Blockwise(block=n))


def sampler_of(dlm: Dlm) -> OwnSampler:
    """The sampler of a model's authors; an A2D model that was trained on blocks has another."""
    is_a2d_of_blocks = dlm.family == "a2d" and dlm.denoiser.block is not None
    return _OF_BLOCKS if is_a2d_of_blocks else OWN[dlm.family]


def line(dlm: Dlm, name: str, rows: int, masks: int) -> tuple[str, ...]:
    """A line of the table: `rows` problems are decoded, and their commits are measured."""
    own = sampler_of(dlm)
    rule = own.rule(dlm.denoiser.block or 32)
    layout = CanvasLayout(headers=((),), slots=(masks,), fill_id=dlm.fill_id)
    with TemporaryDirectory() as folder:
        log = Path(folder) / "commits.jsonl"
        with log.open("w") as file:
            questions = _questions(rows)
            for start in range(0, len(questions), BATCH):
                some = questions[start : start + BATCH]
                asked = [Request(one, encode_prompt(dlm.tokenizer, one)) for one in some]
                sampling = Sampling(temperature=own.temperature)
                decoded = decode(dlm, layout, asked, rule, steps=masks, sampling=sampling)
                for request, row in zip(asked, decoded, strict=True):
                    for one in row.commits:
                        commit = {"row": request.name, "step": one.step, "position": one.position}
                        print(json.dumps(commit), file=file)
        found = arness_of_log(log)
    order = found.order
    return (
        *(f"`{dlm.family}`", name, own.named, _recipe(rule), f"{found.tokens_per_step:.2f}"),
        *(_interval(order.raw), f"{order.chance:.2f}"),
        *(_interval(order.corrected), _interval(order.local)),
    )


def _recipe(rule: Any) -> str:
    """A rule as a recipe names it, with its block and what is not the default."""
    kind = type(rule).__module__.rpartition(".")[2]
    options = [
        f"{one.name}: {str(value).lower()}"
        for one in fields(rule)
        for value in [getattr(rule, one.name)]
        if one.name == "block" or value != one.default
    ]
    return f"`{{{', '.join([f'kind: {kind}', *options])}}}`"


def _questions(count: int) -> list[str]:
    with (ROOT / "tiny" / "prompts" / "test.jsonl").open() as file:
        return [json.loads(text)["question"] for text, _ in zip(file, range(count), strict=False)]


def _interval(one: Interval) -> str:
    return f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"


def smoke(kinds: Sequence[str] | None = None) -> Iterator[tuple[str, Dlm]]:
    """Small random checkpoints with their names: of every family, or of some layouts."""
    from tests.diffusion.checkpoints import FAMILIES, copy_with, make
    from tests.diffusion.layouts import BLOCK, LAYOUTS

    with TemporaryDirectory() as folder:
        for kind in (*FAMILIES, *LAYOUTS) if kinds is None else kinds:
            source = make(kind, Path(folder) / kind)
            yield f"{kind}, random", models.load_model(str(source))
            if kind == "a2d-qwen3":
                changed = copy_with(source, Path(folder) / "blocks", block_size=BLOCK)
                yield f"{kind} with blocks, random", models.load_model(str(changed))


def table(lines: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    every = [HEADER, ["---"] * len(HEADER), *lines]
    return "\n".join(f"| {' | '.join(one)} |" for one in every)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("models", nargs="*")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--masks", type=int, default=MASKS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    every = (
        ((f"`{one}`", models.load_model(one, device=given.device)) for one in given.models)
        if given.models
        else smoke()
    )
    print(table([line(dlm, name, given.rows, given.masks) for name, dlm in every]))


if __name__ == "__main__":
    main()
