"""Real seconds a problem for every rule and budget, with the models of the paper in small.

`python -m benchmarks.miniature`: eight test problems at once, in bfloat16 on two threads; the base
and the Long-CoT model write one text of 132 masks, the NAP model a canvas of as many. All ways take
turns. The ratios are to AO at one token a step of the same form, so that "faster" is a statement
about time and not about steps.
"""

import time
from collections.abc import Iterator
from itertools import islice
from statistics import median
from typing import NamedTuple

import torch

from benchmarks.lines import Line, absent, median_line, ratio_line, report
from benchmarks.turns import THREADS
from diffusion.data.layout import CanvasLayout, Form, encode_prompt
from diffusion.decoding import Rule
from diffusion.decoding.decode import Request, Sampling
from diffusion.decoding.rules.ar_order import ArOrder
from diffusion.decoding.rules.blockwise import Blockwise
from diffusion.decoding.rules.confidence import Confidence
from diffusion.decoding.rules.fast_dllm import FastDllm
from diffusion.decoding.rules.parallel_forced import ParallelForced
from diffusion.decoding.rules.random_order import RandomOrder
from diffusion.evaluation.answers import answers, layout_for, load_decoder
from diffusion.models.network.denoiser import Dlm
from diffusion.settings import ModelReference, Precision
from support.paths import ROOT
from tools.tiny.problems import distinct

MODELS = ROOT / "tiny" / "miniature"
PROBLEMS, RUNS, BLOCK = 8, 3, 33
MASKS, SUMMARY = 132, 12
BUDGETS = (132, 66, 44, 33)
ORDERS: dict[str, Rule] = {
    "ao": Confidence(),
    "ar_order": ArOrder(),
    "random": RandomOrder(),
    "blockwise": Blockwise(block=BLOCK),
}
FAST: dict[str, Rule] = {"fast_dllm": FastDllm(threshold=0.9, block=BLOCK)}


class Way(NamedTuple):
    """A model with a form, a rule and a number of steps (0: as many as the rule takes)."""

    model: str
    rule: Rule
    steps: int


def ways() -> dict[str, Way]:
    """All ways by their names; AO at one token a step is the first of each model."""
    found = {}
    for model in ("base", "nap"):
        rules = ORDERS | ({"parallel_forced": ParallelForced()} if model == "nap" else {})
        for name, rule in rules.items():
            for steps in BUDGETS:
                found[f"{model}_{name}_{steps}"] = Way(model, rule, steps)
        for name, rule in FAST.items():
            found[f"{model}_{name}"] = Way(model, rule, 0)
    return found


def main() -> None:
    """Measure and print."""
    if missing := [name for name in ("base", "nap") if not (MODELS / name).is_dir()]:
        lower = [f"{name}_seconds" for name in ways()]
        names = [*lower, *(f"{name}_vs_ao_{MASKS}" for name in ways())]
        reason = f"{MODELS.relative_to(ROOT)} holds no model {' and '.join(missing)}"
        report("miniature", *absent(names, reason, lower=lower))
        return
    torch.set_num_threads(THREADS)
    models = {
        name: load_decoder(ModelReference(path=str(MODELS / name)), "cpu")
        for name in ("base", "nap")
    }
    report("miniature", *lines(models))


def lines(models: dict[str, Dlm]) -> Iterator[Line]:
    """Seconds a problem, and the ratio to AO at one token a step, for every way."""
    all_ways = ways()
    layouts = {
        name: layout_for(dlm, form, paths=3, masks=MASKS, summary_tokens=SUMMARY)
        for (name, dlm), form in zip(models.items(), (Form.LONG_COT, Form.CANVAS), strict=True)
    }
    seconds: dict[str, list[float]] = {name: [] for name in all_ways}
    passes: dict[str, float] = {}
    for number in range(RUNS + 1):  # the first round warms up
        for name in reversed(all_ways) if number % 2 else all_ways:
            way = all_ways[name]
            began = time.perf_counter()
            passes[name] = _decode(models[way.model], layouts[way.model], way)
            if number:
                seconds[name].append((time.perf_counter() - began) / PROBLEMS)
    for name, way in all_ways.items():
        yield median_line(
            f"{name}_seconds", seconds[name], "seconds a problem", better="lower", digits=4
        )
        yield ratio_line(
            f"{name}_vs_ao_{MASKS}",
            seconds[f"{way.model}_ao_{MASKS}"],
            seconds[name],
            baseline=f"AO at one token a step, the same model and form; {passes[name]:.0f} passes",
        )


def _decode(dlm: Dlm, layout: CanvasLayout, way: Way) -> float:
    """Decode the problems; the median number of forward passes of a row."""
    problems = islice(distinct(3, "test"), PROBLEMS)
    requests = [Request(p.question, encode_prompt(dlm.tokenizer, p.question)) for p in problems]
    found = answers(
        dlm,
        layout,
        requests,
        way.rule,
        steps=way.steps,
        sampling=Sampling(),
        precision=Precision.BFLOAT16,
        where="",
    )
    return median(one.decoded.nfe for one in found)


if __name__ == "__main__":
    main()
