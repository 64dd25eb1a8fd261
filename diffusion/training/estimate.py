"""Estimate the memory and hours of a fine-tuning from shapes alone, without loading weights.

In: settings, the corpus's lengths, and the devices. Out: an estimate that shows its terms. Time
counts matrix products (forward, backward, and a second forward if activations are recomputed) at
the share `UTILISATION` of the device's peak rate; memory is that of `memory.py`.
"""

from dataclasses import dataclass
from typing import Any

import torch

from diffusion import models
from diffusion.data import corpus
from diffusion.data.layout import CanvasLayout
from diffusion.memory import Parts, Shape, training
from diffusion.settings import Precision, Settings
from diffusion.training.four_bit import quantised_layers
from diffusion.training.prepared import check_objective, layouts_of, refusals
from support.errors import NothingReleasedError, UserError

UTILISATION = 0.4  # of the peak rate: what good trainers reach at this size
GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """Memory in GiB, and dense peak rates in TFLOP/s (the makers' data sheets)."""

    memory: int
    bfloat16: float
    float32: float  # TF32 is off by default in torch


GPUS = {
    "a100-40gb": Gpu(memory=40, bfloat16=312, float32=19.5),
    "a100-80gb": Gpu(memory=80, bfloat16=312, float32=19.5),
    "a800-80gb": Gpu(memory=80, bfloat16=312, float32=19.5),
    "h100-80gb": Gpu(memory=80, bfloat16=989, float32=67),
    "h200-141gb": Gpu(memory=141, bfloat16=989, float32=67),
    "b200-180gb": Gpu(memory=180, bfloat16=2250, float32=75),
    "l40s-48gb": Gpu(memory=48, bfloat16=362, float32=91.6),
    "rtx4090-24gb": Gpu(memory=24, bfloat16=165, float32=82.6),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Counts, bytes a device, and hours (None: the device's rate is not known)."""

    family: str
    parameters: int
    trained: int
    rows: int
    instances: int
    refused: dict[str, int]
    steps: int
    tokens: int  # prompt and answer of all epochs
    content_tokens: int
    devices: int
    device: str
    capacity: int | None
    held: Parts
    flops: float
    hours: float | None

    @property
    def memory(self) -> int:
        """Bytes a device."""
        return self.held.total

    def text(self) -> str:
        """For a person."""
        reasons = "".join(f", {reason} {n}" for reason, n in self.refused.items())
        parts = (
            ("weights", self.held.weights),
            ("gradients", self.held.gradients),
            ("optimiser", self.held.optimizer),
            ("activations", self.held.activations),
            ("head", self.held.head),
        )
        lines = [
            f"model    {self.family}, {self.parameters / 1e6:,.1f} M parameters, "
            f"{self.trained / 1e6:,.1f} M trained",
            f"corpus   {self.rows} rows = {self.instances} instances + "
            f"{self.rows - self.instances} refused{reasons}",
            f"work     {self.steps} steps, {self.tokens / 1e6:,.2f} M tokens, of them "
            f"{self.content_tokens / 1e6:,.2f} M answer text; {self.flops:.2e} FLOP",
            f"memory   {_size(self.memory)} a device = "
            + " + ".join(f"{name} {_size(size)}" for name, size in parts),
        ]
        if self.capacity is not None:
            fits = "fits" if self.memory < 0.9 * self.capacity else "DOES NOT FIT"
            lines.append(
                f"devices  {self.devices} x {self.device}: {fits} into {_size(self.capacity)}"
            )
        if self.hours is not None:
            lines.append(f"time     {_duration(self.hours)} at {UTILISATION:.0%} of the peak rate")
        else:
            lines.append(f"time     not known for {self.device}; name one with --gpus")
        return "\n".join(lines)


def parse_devices(text: str) -> tuple[int, str]:
    """`8xh100-80gb` as a count and a name of `GPUS`; UserError for anything else."""
    count, times, name = text.lower().partition("x")
    if not times or not count.isdigit():
        count, name = "1", text.lower()
    if name not in GPUS or not 1 <= int(count) <= 100_000:
        raise UserError(f"--gpus {text}: write COUNTxKIND, KIND one of {', '.join(GPUS)}")
    return int(count), name


def estimate(settings: Settings, devices: int, device: str | None) -> Estimate:
    """The cost on `devices` devices of a kind in `GPUS` (None: not known); several are sharded."""
    block = check_objective(settings)
    folder = models.located(settings.model).folder
    config, name, family, _ = models.identify(folder)
    with torch.device("meta"):
        net = family.blank(config, torch.float32, settings.model.trust_remote_code)
    tokenizer, ids = models.tokenizer_of(family, folder, config, settings.model.trust_remote_code)
    layout = settings.layout(tokenizer, ids.fill)
    layouts, tokens_more = layouts_of(settings, layout, tokenizer)
    encoded = corpus.encode_rows(
        corpus.rows(corpus.locate_release(settings.corpus), "train", settings.limit),
        layout,
        tokenizer,
        form=settings.form,
        paths=settings.paths,
        context=models.context_of(net),
        mask_id=ids.mask,
        hints=settings.path_hints,
        tokens_more=tokens_more,
    )
    if not encoded.instances:
        raise NothingReleasedError(f"corpus {settings.corpus}: no instance fits this model")
    lengths = [
        instance.tokens(layouts.layout(instance.hints) if layouts else layout)
        for instance in encoded.instances
    ]
    head = net.get_output_embeddings().weight.numel()
    shape = shape_of(net)
    blocks = shape.parameters - net.get_input_embeddings().weight.numel()
    blocks -= (0 if net.config.tie_word_embeddings else head) + _unused(net)
    trained = shape.parameters if settings.lora is None else _adapters(net, settings)
    passed = lengths if block is None else [2 * length for length in lengths]  # noised and clean
    flops = settings.epochs * _flops(net, layout, passed, blocks, head, settings)
    quantised = 0
    if settings.load_in_4bit:
        quantised = sum(one.weight.numel() for one in quantised_layers(net).values())
    hours, gpu = None, GPUS.get(device or "")
    if gpu is not None:
        is_half = settings.precision is Precision.BFLOAT16
        rate = UTILISATION * (gpu.bfloat16 if is_half else gpu.float32) * 1e12 * devices
        hours = flops / rate / 3600
    return Estimate(
        family=name,
        parameters=shape.parameters,
        trained=trained,
        rows=len(encoded.instances) + len(encoded.refused),
        instances=len(encoded.instances),
        refused=refusals(encoded),
        steps=settings.epochs * -(-len(lengths) // settings.batch),
        tokens=settings.epochs * sum(lengths),
        content_tokens=settings.epochs * sum(i.content_tokens for i in encoded.instances),
        devices=devices,
        device=device or "this machine's device",
        capacity=None if gpu is None else gpu.memory * GIB,
        flops=flops,
        hours=hours,
        held=training(shape, settings, trained, max(passed), devices, quantised),
    )


def shape_of(net: Any) -> Shape:
    """What decides the memory of a network, which may be on the device `meta`."""
    return Shape(
        parameters=sum(p.numel() for p in net.parameters()),
        layers=net.config.num_hidden_layers,
        hidden=net.config.hidden_size,
        head=len(net.get_output_embeddings().weight),
    )


def _flops(
    net: Any, layout: CanvasLayout, lengths: list[int], blocks: int, head: int, settings: Settings
) -> float:
    """FLOP of one epoch: blocks on all tokens, attention on all pairs, the head on masked tokens.

    Half of the answer tokens are masked on average; backward costs two forwards.
    """
    config = net.config
    pairs = sum(length * length for length in lengths)
    attention = 4.0 * config.num_hidden_layers * config.hidden_size * pairs
    trunk: float = 2.0 * blocks * sum(lengths) + attention
    heads: float = 2.0 * head * 0.5 * layout.masks * len(lengths)
    passes = 4.0 if settings.gradient_checkpointing else 3.0
    return passes * trunk + 3.0 * heads


def _unused(net: Any) -> int:
    """The parameters of experts that a token does not pass through; 0 without a mixture."""
    experts = sum(
        one.numel() for name, one in net.named_parameters() if ".experts." in name and one.ndim == 3
    )
    if not experts:
        return 0
    return int(experts * (1 - net.config.num_experts_per_tok / net.config.num_local_experts))


def _adapters(net: Any, settings: Settings) -> int:
    assert settings.lora is not None
    return sum(
        settings.lora.rank * (module.in_features + module.out_features)
        for name, module in net.named_modules()
        if isinstance(module, torch.nn.Linear) and name.split(".")[-1] in settings.lora.modules
    )


def _size(size: int) -> str:
    return f"{size / GIB:,.1f} GiB" if size >= GIB else f"{size / (1 << 20):,.0f} MiB"


def _duration(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 1 else f"{hours:,.1f} h"
