"""The settings of a fine-tuning, as frozen dataclasses that check their ranges.

pydantic reads recipes into these classes, but the classes do not import it, so that a machine
without pydantic can train.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from diffusion.data.layout import CanvasLayout, Form, layout_of
from diffusion.data.path_hints import check_hints
from schemas.precision import Precision as Precision

STRICT = {"extra": "forbid"}  # pydantic's configuration: an unknown key is an error


class Attention(StrEnum):
    """How the block mask of a block-causal model's training is computed."""

    DENSE = "dense"  # a mask of all pairs of tokens
    FLEX = "flex"  # FlexAttention, which leaves out what nothing sees; needs a GPU


class Tracker(StrEnum):
    """An experiment tracker to which the curves of a training are sent."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReference:
    """A model or a LoRA adapter: a directory or a hub id.

    `base_model` is the model that an adapter was trained on, where its files do not say so.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    path: str
    trust_remote_code: bool = False
    base_model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """Train low-rank adapters (peft) instead of all weights.

    They are saved, and also merged into the weights of a whole model. `modules` are the names of
    the linear layers that have one.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")

    def __post_init__(self) -> None:
        _within("lora.rank", self.rank, 1)
        _within("lora.dropout", self.dropout, 0, 0.99)
        if not self.modules:
            raise ValueError("lora.modules: empty; name at least one linear layer")


@dataclass(frozen=True, slots=True, kw_only=True)
class StructuredMasking:
    """Mask the paths of a canvas alike, and its summary by another rule: the public NAP code's.

    With ratio t of an instance, position z (0 to 1) of every path is masked with probability
    r_max t (1 + kappa_paths z), at most 1. The summary is masked whole where 1 - t < alpha, and
    otherwise with r_max t (1 + kappa_summary z). Weights stay 1/t. The defaults are that code's.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    r_max: float = 0.9
    alpha: float = 0.8
    kappa_paths: float = 0.0
    kappa_summary: float = 1.0

    def __post_init__(self) -> None:
        _within("structured_masking.r_max", self.r_max, 0.001, 1)
        _within("structured_masking.alpha", self.alpha, 0, 1)
        _within("structured_masking.kappa_paths", self.kappa_paths, 0)
        _within("structured_masking.kappa_summary", self.kappa_summary, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A fine-tuning, fully described. The defaults are the paper's (METHOD sections 1 and 4).

    `corpus`: a run, a release, or hub:ORG/NAME; only its first `limit` training rows are used.
    `paths`, `slot_tokens`, `summary_tokens`: the sizes of a canvas; a long-CoT answer has as many
    masks as all slots of a canvas. `batch`: instances of an optimiser step, over all processes.
    `micro_tokens`: the padded tokens of one forward pass on one device. `warmup`: the share of all
    steps in which the learning rate rises. `clip`: the norm to which gradients are clipped.
    `validation`: how many validation instances are measured. `validate_every`, `checkpoint_every`:
    in steps (0: at the end only). `checkpoints`: how many of the latest checkpoints are kept.
    `attention`: of a block-causal model alone. `load_in_4bit`: keep the weights that adapters are
    beside in 4 bits. `shuffle_paths`: whether the paths of a canvas stand in another random order
    at every step. `path_hints`: beginnings of paths that the headers above these paths show.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    name: str
    model: ModelReference
    corpus: str
    form: Form = Form.CANVAS
    seed: int = 0
    paths: int = 3
    slot_tokens: int = 330
    summary_tokens: int = 32
    epochs: int = 3
    batch: int = 256
    learning_rate: float = 2e-6
    warmup: float = 0.1
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    precision: Precision = Precision.BFLOAT16
    micro_tokens: int = 16384
    gradient_checkpointing: bool = False
    attention: Attention = Attention.DENSE
    shuffle_paths: bool = False
    path_hints: tuple[str, ...] = ()
    structured_masking: StructuredMasking | None = None
    lora: Lora | None = None
    load_in_4bit: bool = False
    limit: int | None = None
    validation: int = 256
    validate_every: int = 100
    checkpoint_every: int = 100
    checkpoints: int = 2
    trackers: tuple[Tracker, ...] = ()

    def __post_init__(self) -> None:
        """Check the ranges: ValueError names the field and the range."""
        check_name(self.name)
        for name in (
            *("paths", "slot_tokens", "summary_tokens", "epochs", "batch", "micro_tokens"),
            "checkpoints",
        ):
            _within(name, getattr(self, name), 1)
        for name in ("validation", "validate_every", "checkpoint_every", "weight_decay"):
            _within(name, getattr(self, name), 0)
        if self.limit is not None:
            _within("limit", self.limit, 1)
        _within("warmup", self.warmup, 0, 1)
        _within("seed", self.seed, 0, 2**63 - 1)
        for name, beta in zip(("betas.0", "betas.1"), self.betas, strict=True):
            _within(name, beta, 0, 0.99999)
        for name in ("shuffle_paths", "path_hints", "structured_masking"):
            if getattr(self, name) and self.form is not Form.CANVAS:
                raise ValueError(
                    f"{name}: form {self.form} has one text without paths; take form=canvas"
                )
        check_hints(self.path_hints)
        if self.load_in_4bit and self.lora is None:
            raise ValueError("load_in_4bit: weights of 4 bits are not trained; add lora: {}")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < float("inf"):
                value = getattr(self, name)
                raise ValueError(f"{name}: {value} is not a finite number above 0")

    def layout(self, tokenizer: Any, fill_id: int) -> CanvasLayout:
        """The layout of an answer in the tokens of a model."""
        return layout_of(
            tokenizer,
            fill_id,
            form=self.form,
            paths=self.paths,
            slot_tokens=self.slot_tokens,
            summary_tokens=self.summary_tokens,
        )

    def digest(self) -> str:
        """16 hex digits over everything that shapes the result, except the corpus."""
        facts = dataclasses.asdict(self)
        for name in ("name", "corpus", "checkpoint_every", "checkpoints", "trackers"):
            facts.pop(name)
        # Keys that were added later count where they are used, so that older trainings go on.
        for field in dataclasses.fields(self):
            if field.name in _ADDED and facts[field.name] == field.default:
                facts.pop(field.name)
        facts["model"].pop("base_model")  # its revision is known with the model's
        return digest_of(facts)


_ADDED = ("attention", "load_in_4bit", "path_hints", "shuffle_paths", "structured_masking")


def digest_of(facts: object) -> str:
    """16 hex digits over plain values, by their JSON."""
    text = json.dumps(facts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def check_name(name: str) -> None:
    """Raise ValueError if a recipe's name cannot be the name of a run directory."""
    if not name or set(name) & set("/\\\0") or name.startswith("."):
        raise ValueError(f"name: {name!r} is no name for a folder")


def _within(name: str, value: float, least: float, most: float | None = None) -> None:
    if not (least <= value and (most is None or value <= most)):
        allowed = f"at least {least}" if most is None else f"within {least} and {most}"
        raise ValueError(f"{name}: {value} is not {allowed}")
