"""Autoregressive order: the leftmost masked positions."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from diffusion.decoding import Order, View, leftmost


@dataclass(frozen=True, slots=True, kw_only=True)
class ArOrder:
    """An even share of the masks at every step, from left to right."""

    has_steps: ClassVar[bool] = True
    order: ClassVar[Order] = Order.AR

    def scope(self, view: View) -> Tensor:
        """The positions that will be committed."""
        return leftmost(view.masked_BC, view.quota)

    def choose(self, view: View, confidence_BC: Tensor) -> Tensor:
        """The same positions, for any confidences."""
        return self.scope(view)


build = ArOrder
