"""What the training benchmark trains, and on what: one entry of `CASES` for each comparison.

Out: a random model of the case's size, a layout, and instances, the same in every process. Long
prompts and answers of GSM8K are real ones in the tiny tokenizer's tokens; a text longer than its
slot is cut, which changes no cost. The tiny DLM's rows are the tiny generator's.

Axes: T tokens.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.lines import SHARED
from benchmarks.models import random_masked_lm
from diffusion import models
from diffusion.data.corpus import Instance
from diffusion.data.layout import CanvasLayout, Form, encode, encode_prompt, layout_of
from diffusion.models import dream
from diffusion.models.network.denoiser import Denoiser, Dlm
from diffusion.settings import Precision
from support.paths import ROOT
from tools.tiny.problems import stream
from tools.tiny.train_dlm import tokenizer_with_mask

TINY_DLM = ROOT / "tiny" / "dlm"
RUNS = 5  # timed, after one that warms up
PATHS = 3


class Size(NamedTuple):
    """Of a model, with a head for every 64 of `hidden`."""

    vocabulary: int
    layers: int
    hidden: int
    inner: int


@dataclass(frozen=True, kw_only=True)
class Framed:
    """A model's size and what its rows look like; `size` None is the tiny DLM."""

    size: Size | None
    slot_tokens: int
    summary_tokens: int
    form: Form = Form.CANVAS
    device: str = "cpu"

    @cached_property
    def tokenizer(self) -> Any:
        """The tiny DLM's, whatever the size of the model."""
        return tokenizer_with_mask()

    @cached_property
    def layout(self) -> CanvasLayout:
        """Of every row."""
        return layout_of(
            self.tokenizer,
            self.tokenizer.eos_token_id,
            form=self.form,
            paths=PATHS,
            slot_tokens=self.slot_tokens,
            summary_tokens=self.summary_tokens,
        )

    @property
    def shift(self) -> bool:
        """Whether the model's logits for position i are read at i - 1, as Dream's are."""
        return self.size is None

    def dlm_of(self, net: Any, family: str) -> Dlm:
        """A model of the case as our loops take it; the tiny DLM is a Dream."""
        return Dlm(
            family="dream" if self.shift else family,
            denoiser=Denoiser(net, shift=self.shift),
            tokenizer=self.tokenizer,
            mask_id=self.tokenizer.mask_token_id,
            fill_id=self.layout.fill_id,
            context=None,
            folder=Path(),
        )


@dataclass(frozen=True, kw_only=True)
class TrainingCase(Framed):
    """A model, rows and batches.

    `rows` of a forward pass of the padded way; ours may use as many tokens as that many of the
    longest rows have. `steps` of one run, of `batch` instances each.
    """

    batch: int
    rows: int
    steps: int = 1
    precision: Precision = Precision.BFLOAT16  # the recipes' and `Settings`' default

    @cached_property
    def instances(self) -> tuple[Instance, ...]:
        """As many as all runs together see once."""
        count = (1 + RUNS) * self.steps * self.batch
        texts = _generated() if self.size is None else _gsm8k(self.form)
        return tuple(self._instance(i, *row) for i, row in enumerate(islice(texts, count)))

    @property
    def micro_tokens(self) -> int:
        """What a forward pass of either way may hold."""
        return self.rows * max(one.tokens(self.layout) for one in self.instances)

    def model(self) -> Any:
        """Float32; random but for the tiny DLM."""
        if self.size is None:
            config = models.read_config(TINY_DLM)
            return dream.build(TINY_DLM, config, torch.float32, trust=False)
        return random_masked_lm(self.tokenizer, heads=self.size.hidden // 64, **self.size._asdict())

    def _instance(self, number: int, prompt: str, texts: Sequence[str]) -> Instance:
        cut = (
            encode(self.tokenizer, text)[:length]
            for text, length in zip(texts, self.layout.slots, strict=True)
        )
        return Instance(str(number), encode_prompt(self.tokenizer, prompt), tuple(cut))


def _generated() -> Iterator[tuple[str, list[str]]]:
    for problem in stream(0, "train"):
        paths = [problem.solutions[i % len(problem.solutions)] for i in range(PATHS)]
        yield problem.question, [*paths, f"The final answer is {problem.answer}"]


def _gsm8k(form: Form) -> Iterator[tuple[str, list[str]]]:
    """A question with its answer; on a canvas, with the answers of three rows side by side."""
    lines = (SHARED / "gsm8k" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    for i, row in enumerate(rows):
        if form is Form.LONG_COT:
            yield row["question"], [row["answer"]]
        else:
            paths = [rows[(i + j) % len(rows)]["answer"] for j in range(PATHS)]
            yield row["question"], [*paths, row["answer"].rpartition("\n")[2]]


_SMALL = Size(vocabulary=32_768, layers=8, hidden=384, inner=1024)
_LARGE = Size(vocabulary=32_768, layers=12, hidden=1024, inner=2816)  # 180 M parameters

CASES: Mapping[str, TrainingCase] = {
    "tiny": TrainingCase(  # batches and slots as in the recipe tiny_nap
        size=None, form=Form.CANVAS, slot_tokens=48, summary_tokens=12, batch=32, rows=32, steps=8
    ),
    "canvas": TrainingCase(
        size=_SMALL, form=Form.CANVAS, slot_tokens=80, summary_tokens=16, batch=32, rows=8
    ),
    "long_cot": TrainingCase(
        size=_SMALL, form=Form.LONG_COT, slot_tokens=80, summary_tokens=16, batch=32, rows=8
    ),
    "gpu": TrainingCase(
        size=_LARGE,
        form=Form.CANVAS,
        slot_tokens=80,
        summary_tokens=16,
        batch=256,
        rows=64,
        steps=4,
        device="cuda",
    ),
}
