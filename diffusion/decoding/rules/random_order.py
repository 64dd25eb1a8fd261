"""Random order: a random subset of the masked positions."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from diffusion.decoding import Order, View, highest


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomOrder:
    """An even share of the masks at every step, anywhere.

    `is_independent`: every mask by itself instead, with the probability 1 / (steps left), as in
    ancestral sampling (Sahoo et al. 2024; Dream's `alg: origin`). A step may commit nothing then,
    which costs no forward pass.
    """

    has_steps: ClassVar[bool] = True

    is_independent: bool = False

    @property
    def order(self) -> Order:
        """The paper's row, for the paper's random subsets."""
        return Order.OTHER if self.is_independent else Order.RANDOM

    def scope(self, view: View) -> Tensor:
        """The positions that will be committed."""
        if self.is_independent:
            return view.masked_BC & (view.noise() < 1 / (view.steps - view.step))
        return highest(view.noise(), view.masked_BC, view.quota)

    def choose(self, view: View, confidence_BC: Tensor) -> Tensor:
        """The same positions, for any confidences."""
        return self.scope(view)


build = RandomOrder
