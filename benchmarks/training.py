"""Our training loop against a plain padded Trainer: same model, rows, batches, optimiser and type.

`python -m benchmarks.training`: useful tokens (of answers, without fill) a second, and peak memory.
The models are the tiny DLM on its own problems, and a random ModernBERT of 8 layers x 384 with
32,768 tokens on rows of 256 masks with the lengths of GSM8K, as canvases and as long-CoT; in
bfloat16 autocast, on two threads. Ours is the step of `polytrace train`; the other way is a
transformers `Trainer` that pads batches in random order and takes the cross-entropy of all logits.
Each is a process of its own, and they take turns in alternating order; a step has the same
instances in both.
"""

from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

import torch

from benchmarks import training_gpu
from benchmarks.lines import NO_GPU, Line, absent, ratio_line, report
from benchmarks.training_case import CASES, RUNS, TrainingCase
from benchmarks.training_peer import Collator, loss_of
from benchmarks.turns import take_turns
from diffusion.models.network.denoiser import Denoiser

WAYS = ("ours", "padded")
_VS = "_vs_padded_trainer"
SPEED = {  # names of lines, without `_VS`
    "tiny": "tiny",
    "canvas": "useful_tokens",
    "long_cot": "long_cot_useful_tokens",
    "gpu": "gpu_useful_tokens",
}
MEMORY = {
    "canvas": "peak_memory",
    "long_cot": "long_cot_peak_memory",
    "gpu": "gpu_peak_memory",
}


class TrainingRun(NamedTuple):
    """What a way answers after its steps; `peak_mb` above the built model, so far."""

    content_tokens: int
    seconds: float
    peak_mb: float

    @property
    def rate(self) -> float:
        """Useful tokens a second."""
        return self.content_tokens / self.seconds


def main() -> None:
    """Measure and print."""
    check(CASES["tiny"])
    lines = [line for name in ("tiny", "canvas", "long_cot") for line in compare(name)]
    report("training", *lines, *_gpu())


def check(case: TrainingCase) -> None:
    """Both ways have the same loss on the same masked and padded rows, in float32."""
    rows = [case.layout.lay(one.prompt, one.texts) for one in case.instances[:4]]
    ids = case.tokenizer.mask_token_id, case.layout.fill_id
    batch = Collator(*ids, shift=case.shift)(rows)
    model = case.model().eval()
    ids_BT, attention_mask_BT = batch["input_ids"], batch["attention_mask"]
    with torch.inference_mode():
        theirs = loss_of(model(input_ids=ids_BT, attention_mask=attention_mask_BT).logits, batch)
        asked = [batch[name].roll(int(case.shift), 1).flatten() for name in ("targets", "weights")]
        positions_R = asked[1].nonzero().squeeze(1)
        targets_R, weights_R = (values[positions_R] for values in asked)
        denoiser = Denoiser(model, shift=case.shift)
        ours = denoiser(
            ids_BT, positions_R, targets_R, weights_R / len(rows), attention_mask_BT
        ).total
    assert torch.isclose(ours, theirs, rtol=1e-5), f"losses differ: {ours} and {theirs}"


def taken(name: str) -> dict[str, list[TrainingRun]]:
    """The runs of both ways."""
    answers = take_turns("benchmarks.training_way", name, WAYS, 1 + RUNS)
    runs = {way: [TrainingRun(**answer) for answer in answers[way]] for way in WAYS}
    seen = [[run.content_tokens for run in runs[way]] for way in WAYS]
    assert seen[0] == seen[1], f"the ways saw other rows: {seen}"
    return runs


def compare(name: str) -> Iterator[Line]:
    """The lines of a case."""
    runs = taken(name)
    ours, padded = ([run.rate for run in runs[way][1:]] for way in WAYS)  # the first warms up
    yield ratio_line(
        SPEED[name] + _VS,
        ours,
        padded,
        unit="ratio of useful tokens/s",
        target=1.0 if name == "tiny" else 1.35,
        baseline=f"a padded transformers Trainer with full-vocabulary cross-entropy, "
        f"{median(padded):,.0f} useful tokens/s; ours {median(ours):,.0f}",
    )
    if name != "tiny":
        ours_mb, padded_mb = ([run.peak_mb for run in runs[way][1:]] for way in WAYS)
        yield ratio_line(
            MEMORY[name] + _VS,
            ours_mb,
            padded_mb,
            unit="ratio of peak MB above the model",
            better="lower",
            target=0.6,
            baseline=f"the same Trainer, {median(padded_mb):,.0f} MB with gradients and optimiser; "
            f"ours {median(ours_mb):,.0f} MB; at most {CASES[name].micro_tokens:,} tokens "
            "a forward pass",
        )
    if name == "gpu":
        yield training_gpu.share(CASES[name], median(ours), RUNS)


def _gpu() -> Iterator[Line]:
    """The same on a GPU, and the share of its matrix-product rate; a reason where there is none."""
    if torch.cuda.is_available():
        yield from compare("gpu")
    else:
        names = (SPEED["gpu"] + _VS, MEMORY["gpu"] + _VS, training_gpu.SHARE)
        yield from absent(names, NO_GPU, lower=names[1:2])


if __name__ == "__main__":
    main()
