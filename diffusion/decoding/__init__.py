"""Decoding a canvas of masks: one loop, and one file for each rule (METHOD section 6).

In: a model, a layout, prompts. Out: for every row its tokens, and every commit with its step,
position, confidence and token. A rule is a frozen dataclass in a file under `rules/` with the
members of `Rule`. What it commits depends on its `View`, which has random numbers for rules that
draw, and on the confidences alone.

Axes: B rows, C columns of a layout (headers and slots), N slots.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol

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


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a rule sees at step `step`, counted from 0.

    `steps`: how many there are; 0 for a rule without `has_steps`, which goes on until no mask is
    left. `masked_BC`: whether the position is still masked. `slot_C`: the number of the column's
    slot, -1 in headers. `mask_index_C`: the columns of slots counted from 0 over the whole layout,
    -1 in headers. `mask_count`: how many columns of slots there are. `noise()`: random numbers in
    [0, 1), [B, C], different for every row and step; two calls at one step return the same.
    """

    step: int
    steps: int
    masked_BC: Tensor
    slot_C: Tensor
    mask_index_C: Tensor
    mask_count: int
    noise: Callable[[], Tensor]

    @property
    def quota(self) -> int:
        """How many masks this step commits if all steps share them evenly.

        For rules with `has_steps` alone: without a number of steps there is no share.
        """
        before, after = (n * self.mask_count // self.steps for n in (self.step, self.step + 1))
        return after - before


class Rule(Protocol):
    """Decides which positions a step commits."""

    has_steps: ClassVar[bool]  # whether the user sets the number of steps

    @property
    def order(self) -> Order:
        """The row of the paper's tables that it belongs to."""

    def scope(self, view: View) -> Tensor:
        """Masked positions whose confidence is needed, [B, C] bool.

        The model's head, which is a large part of the work, is computed at these alone.
        """

    def choose(self, view: View, confidence_BC: Tensor) -> Tensor:
        """The positions to commit, [B, C] bool, within `scope`.

        Outside `scope`, `confidence_BC` is -inf.
        """


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
