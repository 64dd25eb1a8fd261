"""The local teacher against `generate`: the same model, prompts and number of samples, one run.

`python -m benchmarks.teacher`: 32 demo prompts x 6 samples at temperature 1.0 with the bundled
teacher; tokens a second, both ways in turn.
"""

import asyncio
import time

import torch

from benchmarks.demo import demo_prompts
from benchmarks.lines import Line, ratio_line, report
from curation.sampling.service import no_shortfall
from curation.teachers import Request, SampleBudget
from curation.teachers.transformers_local import build
from schemas.records import Prompt, Trace
from support.paths import ROOT
from tools.tiny.measure_teacher import generate, load

PROMPTS, SAMPLES, RUNS, NEW_TOKENS = 32, 6, 3, 72
FOLDER = ROOT / "tiny" / "teacher"


def main() -> None:
    """Measure and print."""
    prompts = demo_prompts(PROMPTS)
    ours, theirs = [], []
    for run in range(RUNS):
        ours.append(_ours(prompts, seed=run))
        theirs.append(_generate(prompts, seed=run))
    report(
        "teacher",
        ratio_line(
            "local_teacher_vs_generate",
            ours,
            theirs,
            unit="ratio of tokens/s",
            target=1.0,
            baseline=f"transformers generate, {max(theirs):.0f} tokens/s",
        ),
        Line(
            name="local_teacher_tokens_per_s",
            value=round(max(ours)),
            unit="tokens/s",
            better="higher",
            n=RUNS,
        ),
    )


def _ours(prompts: list[Prompt], seed: int) -> float:
    teacher = build(path=str(FOLDER), max_tokens=NEW_TOKENS, seed=seed)
    requests = [
        Request(
            prompt=prompt,
            shard=0,
            position=i,
            wanted=SampleBudget(SAMPLES, SAMPLES),
            missing=tuple(range(SAMPLES)),
            keys=(),
        )
        for i, prompt in enumerate(prompts)
    ]

    async def consume() -> int:
        outcomes = [outcome async for outcome in teacher.sample(iter(requests), no_shortfall)]
        return sum((o.completion_tokens or 0) for o in outcomes if isinstance(o, Trace))

    began = time.perf_counter()
    tokens = asyncio.run(consume())
    return tokens / (time.perf_counter() - began)


def _generate(prompts: list[Prompt], seed: int) -> float:
    tokenizer, model = load(FOLDER)
    torch.manual_seed(seed)
    began = time.perf_counter()
    questions = [prompt.text for prompt in prompts]
    new = generate(
        tokenizer, model, questions, samples=SAMPLES, new_tokens=NEW_TOKENS, temperature=1.0
    )
    tokens = int((new != tokenizer.pad_token_id).sum())
    return tokens / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
