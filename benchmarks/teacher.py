"""The local teacher against `generate`: the same model, prompts and number of samples, one run.

`python -m benchmarks.teacher`: 32 demo prompts x 6 samples at temperature 1.0 with the bundled
teacher; tokens a second, both ways in turn.
"""

import asyncio
import json
import time

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from benchmarks.lines import Line, ratio, report
from curation.prompts.dedup import prompt_id
from curation.sampling.service import none_lacks
from curation.teachers import Request, Wanted
from curation.teachers.transformers_local import build
from schemas.records import Prompt, Trace
from support.paths import ROOT

PROMPTS, SAMPLES, RUNS, NEW_TOKENS = 32, 6, 3, 72
FOLDER = ROOT / "tiny" / "teacher"


def main() -> None:
    """Measure and print."""
    rows = [
        json.loads(line)
        for line in (ROOT / "tiny/prompts/demo.jsonl").read_text().splitlines()[:PROMPTS]
    ]
    ours, theirs = [], []
    for run in range(RUNS):
        ours.append(_ours(rows, seed=run))
        theirs.append(_generate(rows, seed=run))
    value, spread = ratio(ours, theirs)
    report(
        "teacher",
        Line(
            name="local_teacher_vs_generate",
            value=value,
            unit="ratio of tokens/s",
            better="higher",
            target=1.0,
            baseline=f"transformers generate, {max(theirs):.0f} tokens/s",
            n=RUNS,
            spread=spread,
        ),
        Line(
            name="local_teacher_tokens_per_s",
            value=round(max(ours)),
            unit="tokens/s",
            better="higher",
            n=RUNS,
        ),
    )


def _ours(rows: list[dict[str, str]], seed: int) -> float:
    teacher = build(path=str(FOLDER), max_tokens=NEW_TOKENS, seed=seed)
    requests = [
        Request(
            prompt=Prompt(
                id=prompt_id(row["question"]),
                text=row["question"],
                gold=row["answer"],
                source="demo",
                row=i + 1,
                license="",
            ),
            shard=0,
            position=i,
            wanted=Wanted(SAMPLES, SAMPLES),
            missing=tuple(range(SAMPLES)),
            keys=(),
        )
        for i, row in enumerate(rows)
    ]

    async def consume() -> int:
        outcomes = [outcome async for outcome in teacher.sample(iter(requests), none_lacks)]
        return sum((o.completion_tokens or 0) for o in outcomes if isinstance(o, Trace))

    began = time.perf_counter()
    tokens = asyncio.run(consume())
    return tokens / (time.perf_counter() - began)


def _generate(rows: list[dict[str, str]], seed: int) -> float:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER, padding_side="left")
    model = LlamaForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    torch.manual_seed(seed)
    began = time.perf_counter()
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": row["question"]}],
            add_generation_prompt=True,
            tokenize=False,
        )
        for row in rows
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
