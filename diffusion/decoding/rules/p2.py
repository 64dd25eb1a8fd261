"""P2, path planning: the least certain tokens are masked again (Peng et al. 2025, Algorithm 1).

Every step predicts all positions of the answer, committed ones too, and keeps an even share more of
them than the step before, those with the highest scores. Masks among them are committed, and
committed tokens outside of them are taken back. This is P2 with self-planning: the score is the
model's own log-probability of what it predicts there, not that of a second model. It may predict
another token than the committed one, which is not exchanged for it.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffusion.decoding import Measure, Order, View, highest


@dataclass(frozen=True, slots=True, kw_only=True)
class PathPlanning:
    """The most certain positions, at every step as many more; the others are masked.

    `eta` multiplies the scores of committed tokens, which are at most 0: with 0 none is taken back,
    and the higher it is, the more are. `confidence`: which one; of the first two the logarithm is
    the score.
    """

    has_steps: ClassVar[bool] = True
    order: ClassVar[Order] = Order.OTHER

    eta: float = 1.0
    confidence: Measure = Measure.PROBABILITY

    def __post_init__(self) -> None:
        if not 0 <= self.eta < float("inf"):
            raise ValueError(f"eta: {self.eta} is not a number of at least 0")

    def scope(self, view: View) -> Tensor:
        """All slots, once anything is kept."""
        is_there_C = (view.slot_C >= 0) & (self._count(view) > 0)
        return is_there_C.expand_as(view.masked_BC)

    def choose(self, view: View, confidence_BC: Tensor) -> Tensor:
        """The masks among what is kept."""
        return self._kept(view, confidence_BC) & view.masked_BC

    def take_back(self, view: View, confidence_BC: Tensor, chosen_BC: Tensor) -> Tensor:
        """The committed tokens that are not kept."""
        return self.scope(view) & ~view.masked_BC & ~self._kept(view, confidence_BC)

    def _kept(self, view: View, confidence_BC: Tensor) -> Tensor:
        score_BC = confidence_BC
        if self.confidence is not Measure.ENTROPY:
            # Not above 0 are tokens that come last: below the logarithm of every probability.
            tiny = torch.finfo(score_BC.dtype).tiny
            score_BC = torch.where(score_BC > 0, score_BC.clamp(min=tiny).log(), score_BC - _LOWEST)
        score_BC = torch.where(view.masked_BC, score_BC, score_BC * self.eta)
        return highest(score_BC, self.scope(view), self._count(view))

    def _count(self, view: View) -> int:
        """How many positions are kept after this step."""
        return (view.step + 1) * view.mask_count // view.steps


_LOWEST = 100.0  # more than the negative logarithm of any probability in float32

build = PathPlanning
