"""ReMDM: in a loop of steps, the least certain tokens are masked again (Wang et al. 2025).

This is the form in which its authors decode LLaDA. Blocks are decoded from the left, the most
confident masks first. When the share `start` of a block is committed, a loop of steps follows: each
masks `count` tokens of the block again, those that were committed with the lowest confidence, and
commits as many. The rest of the block comes after the loop.
"""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from diffusion.decoding import Order, View, check_count, highest


@dataclass(frozen=True, slots=True, kw_only=True)
class Remdm:
    """Block-wise decoding with a loop in each block; `loop` is the loop's share of all steps."""

    has_steps: ClassVar[bool] = True
    order: ClassVar[Order] = Order.OTHER

    block: int = 32
    count: int = 1
    start: float = 0.875
    loop: float = 0.5

    def __post_init__(self) -> None:
        for name in ("block", "count"):
            check_count(name, getattr(self, name))
        if not 0 < self.start <= 1:
            raise ValueError(f"start: {self.start} is not above 0 and at most 1")
        if not 0 <= self.loop < 1:
            raise ValueError(f"loop: {self.loop} is not at least 0 and below 1")

    def scope(self, view: View) -> Tensor:
        """The masks of the step's block, if any of them is to be committed."""
        there_BC = self._block(view)
        masked_BC = view.masked_BC & there_BC
        left_B1 = there_BC.sum(1, keepdim=True) - self._now(view).committed
        return masked_BC & (masked_BC.sum(1, keepdim=True) > left_B1)

    def choose(self, view: View, confidence_BC: Tensor) -> Tensor:
        """The most confident masks of the block, until as many as the step asks for are there."""
        there_BC = self._block(view)
        committed = int((there_BC & ~view.masked_BC)[0].sum())  # all rows have committed as many
        count = self._now(view).committed - committed
        return highest(confidence_BC, view.masked_BC & there_BC, count)

    def take_back(self, view: View, confidence_BC: Tensor, chosen_BC: Tensor) -> Tensor:
        """Before a step of the loop, the tokens of its block that were the least certain."""
        after = self._schedule(view)[view.step + 1]
        there_BC = self._block(view) & (chosen_BC | ~view.masked_BC)
        if not after.is_loop:
            return torch.zeros_like(there_BC)
        certain_BC = torch.where(chosen_BC, confidence_BC, view.at_commit_BC)
        return highest(-certain_BC, there_BC, self.count)

    def _block(self, view: View) -> Tensor:
        """The columns of the block that this step decodes, [B, C]."""
        now = self._now(view)
        is_there_C = (view.mask_index_C >= now.first) & (view.mask_index_C < now.end)
        return is_there_C.expand_as(view.masked_BC)

    def _now(self, view: View) -> "_Step":
        return self._schedule(view)[view.step]

    def _schedule(self, view: View) -> tuple["_Step", ...]:
        return _schedule(self, view.mask_count, view.steps)


build = Remdm


class _Step(NamedTuple):
    """Masks `first` to `end` (excluded) are the block; so many are committed after the step.

    `is_loop`: tokens are taken back before it.
    """

    first: int
    end: int
    committed: int
    is_loop: bool


@cache
def _schedule(rule: Remdm, masks: int, steps: int) -> tuple[_Step, ...]:
    """Every step; blocks are larger where there are more of them than steps."""
    size = max(rule.block, -(-masks // steps))
    firsts = range(0, masks, size)
    schedule: list[_Step] = []
    for n, first in enumerate(firsts):
        end = min(first + size, masks)
        own = (n + 1) * steps // len(firsts) - n * steps // len(firsts)
        looping = min(int(rule.loop * own), own - 1)
        filling = own - looping
        before = max(1, int(rule.start * filling))  # steps in front of the loop
        targets = [(end - first) * (step + 1) // filling for step in range(filling)]
        schedule += (_Step(first, end, target, False) for target in targets[:before])
        schedule += [_Step(first, end, targets[before - 1], True)] * looping
        schedule += (_Step(first, end, target, False) for target in targets[before:])
    return tuple(schedule)
