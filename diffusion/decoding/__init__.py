"""Decoding a canvas of masks: one loop, and one file for each rule (METHOD section 6).

In: a model, a layout, prompts. Out: for every row its tokens, and every commit with its step,
position, confidence and token. A rule is a frozen dataclass in a file under `rules/` with the
members of `Rule`. What it commits depends on the masks, the confidences and the step alone.

Axes: B rows, C columns of a layout (headers and slots), N slots.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol

from torch import Tensor


class Order(StrEnum):
    """What a rule is in the paper's tables."""

    AR = "AR order"
    AO = "AO"
    BLOCKWISE = "block-wise"  # AO of a model that is decoded in no other arbitrary order
    RANDOM = "Random"
    FAST = "Fast-dLLM"
    FORCED = "Parallel-Forced"
    OTHER = "other"  # a rule of another package, which is in no table of the paper


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a rule sees at step `step`, counted from 0, of `steps` (0: as many as it needs).

    `masked_BC`: still masked. `slot_C`: the slot of each column, -1 in headers. `mask_C`: the
    column's number among all columns of slots, -1 in headers; `masks` is their number. `noise()`:
    uniform in [0, 1), [B, C]; the same at every call, different for every row and step.
    """

    step: int
    steps: int
    masked_BC: Tensor
    slot_C: Tensor
    mask_C: Tensor
    masks: int
    noise: Callable[[], Tensor]

    @property
    def quota(self) -> int:
        """The step's even share of the masks; over all steps it sums to `masks`."""
        return (self.step + 1) * self.masks // self.steps - self.step * self.masks // self.steps


class Rule(Protocol):
    """Decides which positions a step commits."""

    has_steps: ClassVar[bool]  # whether it takes a number of steps; if not, confidences decide it

    @property
    def order(self) -> Order:
        """What it is in the paper's tables."""

    def scope(self, view: View) -> Tensor:
        """Masked positions whose confidence is needed, [B, C] bool; the head is computed there."""

    def choose(self, view: View, confidence_BC: Tensor) -> Tensor:
        """The positions to commit, [B, C] bool, within `scope`; -inf where there is none."""


def most(key_BC: Tensor, among_BC: Tensor, count: int) -> Tensor:
    """The `count` positions of each row among `among_BC` with the greatest keys, as [B, C] bool.

    Of equal keys the leftmost is chosen. A row with fewer positions gives all of them.
    """
    masked_BC = key_BC.masked_fill(~among_BC, -float("inf"))
    ranked_BC = masked_BC.argsort(dim=1, descending=True, stable=True)
    chosen_BC = among_BC.new_zeros(among_BC.shape).scatter(1, ranked_BC[:, :count], value=True)
    return chosen_BC & among_BC


def leftmost(among_BC: Tensor, count: int) -> Tensor:
    """The `count` leftmost positions of each row among `among_BC`, as [B, C] bool."""
    return among_BC & (among_BC.cumsum(1) <= count)
