"""Decoding a canvas of masks: one loop, and one file for each rule (METHOD section 6).

In: a model, a layout, prompts. Out: for every row its tokens, and every commit with its step,
position, confidence and token. A rule is a frozen dataclass in a file under `rules/` with the
members of `Rule`, and of `Remasks` if it takes tokens back. What it commits depends on its `View`,
which has random numbers for rules that draw, and on the confidences alone.

Axes: B rows, C columns of a layout (headers and slots), N slots.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor


class Order(StrEnum):
    """The rows of the paper's tables; a rule belongs to one of them, or to OTHER."""

    AR = "AR order"
    AO = "AO"
    BLOCKWISE = "block-wise"  # AO of a model that is decoded in no other arbitrary order
    RANDOM = "Random"
    FAST = "Fast-dLLM"
    FORCED = "Parallel-Forced"
    OTHER = "other"  # any rule that is in no table of the paper


class Measure(StrEnum):
    """The confidence that rules rank positions by (the algorithms of Dream's sampler, in brackets).

    A probability and a margin lie in [0, 1], a negative entropy below 0. At temperature 0 all are
    of softmax(logits); see `Sampling` for the others.
    """

    PROBABILITY = "probability"  # of the token that is committed (maskgit_plus)
    MARGIN = "margin"  # the highest probability minus the second (topk_margin)
    ENTROPY = "entropy"  # the sum of p log p, in nats (entropy)

    @property
    def least(self) -> float:
        """Below every confidence, or equal to it: vocabularies have fewer than e^32 tokens."""
        return -32.0 if self is Measure.ENTROPY else 0.0

    @property
    def lowered(self) -> float:
        """What is taken from a confidence so that it comes after all others, in its order."""
        return 64.0 if self is Measure.ENTROPY else 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a rule sees at step `step`, counted from 0.

    `steps`: how many there are; 0 for a rule without `has_steps`, which goes on until no mask is
    left. `masked_BC`: whether the position is still masked. `slot_C`: the number of the column's
    slot, -1 in headers. `mask_index_C`: the columns of slots counted from 0 over the whole layout,
    -1 in headers. `mask_count`: how many columns of slots there are. `noise()`: random numbers in
    [0, 1), [B, C], different for every row and step; two calls at one step return the same.
    `at_commit_BC`: the probability with which the token of a position was committed, inf where
    there is no committed token. `gap_BC`: the two highest logits' difference at every position in
    scope, in `choose` of a rule with `reads_gap` alone.
    """

    step: int
    steps: int
    masked_BC: Tensor
    slot_C: Tensor
    mask_index_C: Tensor
    mask_count: int
    noise: Callable[[], Tensor]
    at_commit_BC: Tensor
    gap_BC: Tensor | None = None

    @property
    def quota(self) -> int:
        """How many masks this step commits if all steps share them evenly.

        For rules with `has_steps` alone: without a number of steps there is no share.
        """
        before, after = (n * self.mask_count // self.steps for n in (self.step, self.step + 1))
        return after - before


class Rule(Protocol):
    """Decides which positions a step commits.

    It may also have `confidence`, a `Measure` (default: the probability), and `reads_gap`, which is
    True if it reads `View.gap_BC`.
    """

    has_steps: ClassVar[bool]  # whether the user sets the number of steps

    @property
    def order(self) -> Order:
        """The row of the paper's tables that it belongs to."""

    def scope(self, view: View) -> Tensor:
        """Positions of slots whose confidence is needed, [B, C] bool; masked ones, as a rule.

        The model's head, which is a large part of the work, is computed at these alone.
        """

    def choose(self, view: View, confidence_BC: Tensor) -> Tensor:
        """The masked positions to commit, [B, C] bool, within `scope`.

        Outside `scope`, `confidence_BC` is -inf.
        """


@runtime_checkable
class Remasks(Protocol):
    """A rule that takes committed tokens back, so that their positions are masked again.

    It has a number of steps, which ends the loop, and takes nothing back at the last one.
    """

    def take_back(self, view: View, confidence_BC: Tensor, chosen_BC: Tensor) -> Tensor:
        """The positions to mask again when the step ends, [B, C] bool.

        `view` and `confidence_BC` are those of `choose`, which returned `chosen_BC`. What this step
        has committed may be taken back, too.
        """


def measure_of(rule: Rule) -> Measure:
    """The confidence that a rule ranks by."""
    measure = getattr(rule, "confidence", None)
    return measure if isinstance(measure, Measure) else Measure.PROBABILITY


def check_count(name: str, value: int) -> None:
    """Raise ValueError unless an option of a rule is a number of masks that tensors can hold."""
    if value < 1:
        raise ValueError(f"{name}: {value} is under 1")
    if value >= 1 << 31:
        raise ValueError(f"{name}: {value} is over {(1 << 31) - 1}")


def highest(key_BC: Tensor, among_BC: Tensor, count: int) -> Tensor:
    """The `count` positions of each row among `among_BC` with the highest keys, as [B, C] bool.

    Of equal keys the leftmost is chosen. A row with fewer positions gives all of them.
    """
    masked_BC = key_BC.masked_fill(~among_BC, -float("inf"))
    ranked_BC = masked_BC.argsort(dim=1, descending=True, stable=True)
    chosen_BC = among_BC.new_zeros(among_BC.shape).scatter(1, ranked_BC[:, :count], value=True)
    return chosen_BC & among_BC


def leftmost(among_BC: Tensor, count: int) -> Tensor:
    """The `count` leftmost positions of each row among `among_BC`, as [B, C] bool."""
    return among_BC & (among_BC.cumsum(1) <= count)


def first_block(view: View, size: int) -> Tensor:
    """The masks of each row's leftmost unfinished block of `size` masks, [B, C] bool."""
    block_C = view.mask_index_C // size
    last = int(block_C.max()) + 1
    first_B1 = torch.where(view.masked_BC, block_C, last).amin(1, keepdim=True)
    return view.masked_BC & (block_C == first_B1)
