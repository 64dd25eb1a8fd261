"""Random order: a uniform random subset of the masked positions."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from diffusion.decoding import Order, View, highest


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomOrder:
    """An even share of the masks at every step, anywhere."""

    has_steps: ClassVar[bool] = True
    order: ClassVar[Order] = Order.RANDOM

    def scope(self, view: View) -> Tensor:
        """The positions that will be committed."""
        return highest(view.noise(), view.masked_BC, view.quota)

    def choose(self, view: View, confidence_BC: Tensor) -> Tensor:
        """The same positions, for any confidences."""
        return self.scope(view)


build = RandomOrder
