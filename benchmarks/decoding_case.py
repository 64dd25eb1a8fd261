"""What the decoding benchmark decodes: one entry of `CASES` for each comparison.

Out: a model of the case's size, a layout, and the prompts of one batch, the same in every process.
Prompts of GSM8K are real ones in the tiny tokenizer's tokens; the tiny DLM's are the tiny
generator's. A random model's output is made steep, as a trained one's is: else all tokens tie.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from benchmarks.lines import SHARED
from benchmarks.training_case import TINY_DLM, Framed, Size
from diffusion import models
from diffusion.data.layout import encode_prompt
from diffusion.decoding.decode import Request
from diffusion.models import dream, llada
from tools.tiny.problems import Problem, stream

_STEEP = 8.0


@dataclass(frozen=True, kw_only=True)
class DecodingCase(Framed):
    """A model, prompts and a number of steps."""

    steps: int
    batch: int = 32
    runs: int = 5  # timed, after one that warms up
    is_half: bool = True  # bfloat16 autocast, as in evaluations

    @property
    def requests(self) -> list[Request]:
        """One batch of prompts of unequal length."""
        if self.size is None:
            texts = [problem.question for problem in problems(self.batch)]
        else:
            lines = (SHARED / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
            texts = [json.loads(line)["question"] for line in lines[: self.batch]]
        prompts = [encode_prompt(self.tokenizer, text) for text in texts]
        return [Request(str(i), prompt) for i, prompt in enumerate(prompts)]

    def net(self) -> Any:
        """Float32, bidirectional; random but for the tiny DLM."""
        if self.size is None:
            config = models.read_config(TINY_DLM)
            return dream.build(TINY_DLM, config, torch.float32, trust=False).eval()
        torch.manual_seed(0)
        net = llada.blank(_llada(self.size), torch.float32, trust=False)
        net.base_model.norm.weight.data.mul_(_STEEP)
        return net.to(self.device).eval()


def problems(count: int) -> list[Problem]:
    """Held-out problems of the tiny generator."""
    return list(islice(stream(0, "test"), count))


def _llada(size: Size) -> models.Config:
    return {
        "d_model": size.hidden,
        "n_heads": size.hidden // 64,
        "n_layers": size.layers,
        "mlp_hidden_size": size.inner,
        "vocab_size": size.vocabulary,
        "max_sequence_length": 4096,
        "rope_theta": 500_000.0,
        "weight_tying": True,
    }


CASES: Mapping[str, DecodingCase] = {
    "tiny": DecodingCase(size=None, slot_tokens=48, summary_tokens=12, steps=39, runs=7),
    "canvas": DecodingCase(
        size=Size(vocabulary=32_768, layers=8, hidden=384, inner=1024),
        slot_tokens=80,
        summary_tokens=16,
        steps=4,
    ),
    **{
        f"gpu_batch_{batch}": DecodingCase(
            size=Size(vocabulary=126_464, layers=16, hidden=1024, inner=4096),  # 398 M parameters
            slot_tokens=330,
            summary_tokens=32,
            steps=64,
            batch=batch,
            device="cuda",
        )
        for batch in (1, 8)
    },
}
