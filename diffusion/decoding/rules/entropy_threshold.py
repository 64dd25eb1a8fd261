"""All positions of a block whose entropy is low (d3LLM's `entropy_threshold`; Qian et al. 2026).

It is Fast-dLLM's parallel decoding with the entropy of a position instead of its probability.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from diffusion.decoding import Measure, Order, View, check_count, first_block, highest


@dataclass(frozen=True, slots=True, kw_only=True)
class EntropyThreshold:
    """In the leftmost unfinished block all up to `threshold` nats, at least the lowest entropy."""

    has_steps: ClassVar[bool] = False
    order: ClassVar[Order] = Order.OTHER
    confidence: ClassVar[Measure] = Measure.ENTROPY

    threshold: float = 0.5
    block: int = 32

    def __post_init__(self) -> None:
        check_count("block", self.block)
        if not self.threshold >= 0:
            raise ValueError(f"threshold: {self.threshold} is under 0")

    def scope(self, view: View) -> Tensor:
        """The leftmost unfinished block of each row."""
        return first_block(view, self.block)

    def choose(self, view: View, confidence_BC: Tensor) -> Tensor:
        """All under the threshold, and the lowest entropy of each row."""
        scope_BC = self.scope(view)
        return (scope_BC & (confidence_BC >= -self.threshold)) | highest(confidence_BC, scope_BC, 1)


build = EntropyThreshold
