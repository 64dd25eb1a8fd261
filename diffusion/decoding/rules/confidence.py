"""AO, arbitrary order: the most confident masked positions anywhere."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from diffusion.decoding import Measure, Order, View, highest


@dataclass(frozen=True, slots=True, kw_only=True)
class Confidence:
    """An even share of the masks at every step, where confidences are highest.

    `confidence`: which one (Dream's `alg`: maskgit_plus, topk_margin, entropy).
    """

    has_steps: ClassVar[bool] = True

    confidence: Measure = Measure.PROBABILITY

    @property
    def order(self) -> Order:
        """The paper's row, for the paper's confidence."""
        return Order.OTHER if self.confidence is not Measure.PROBABILITY else Order.AO

    def scope(self, view: View) -> Tensor:
        """All masked positions."""
        return view.masked_BC

    def choose(self, view: View, confidence_BC: Tensor) -> Tensor:
        """The most confident."""
        return highest(confidence_BC, view.masked_BC, view.quota)


build = Confidence
