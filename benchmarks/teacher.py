"""The local teacher against `generate`: the same model, prompts and number of samples, one run.

`python -m benchmarks.teacher`: 32 demo prompts x 6 samples at temperature 1.0 with the bundled
teacher; tokens a second, both ways in turn.
"""

import asyncio
import time

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from benchmarks.demo import demo_prompts
from benchmarks.lines import Line, ratio_line, report
from curation.sampling.service import no_shortfall
from curation.teachers import Request, SampleBudget
from curation.teachers.transformers_local import build
from schemas.records import Prompt, Trace
from support.paths import ROOT

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


def _generate(asked: list[Prompt], seed: int) -> float:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER, padding_side="left")
    model = LlamaForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    torch.manual_seed(seed)
    began = time.perf_counter()
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt.text}],
            add_generation_prompt=True,
            tokenize=False,
        )
        for prompt in asked
    ]
    batch = tokenizer(
        prompts,
        return_tensors="pt",
        padding=True,
        add_special_tokens=False,
        return_token_type_ids=False,
    )
    with torch.no_grad():
        ids = model.generate(
            **batch,
            max_new_tokens=NEW_TOKENS,
            num_return_sequences=SAMPLES,
            do_sample=True,
            temperature=1.0,
            top_k=0,
        )
    new = ids[:, batch["input_ids"].shape[1] :]
    tokens = int((new != tokenizer.pad_token_id).sum())
    return tokens / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
