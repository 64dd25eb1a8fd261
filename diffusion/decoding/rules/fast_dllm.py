"""Fast-dLLM's parallel decoding: all confident positions of a block (Wu et al. 2025).

The caches of that work are approximations (`kv_cache.py`); this rule alone is exact.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from diffusion.decoding import Order, View, check_count, first_block, highest


@dataclass(frozen=True, slots=True, kw_only=True)
class FastDllm:
    """In the leftmost unfinished block all confidences above `threshold`, at least the highest."""

    has_steps: ClassVar[bool] = False
    order: ClassVar[Order] = Order.FAST

    threshold: float = 0.9
    block: int = 32

    def __post_init__(self) -> None:
        check_count("block", self.block)
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold: {self.threshold} is not in 0 … 1")

    def scope(self, view: View) -> Tensor:
        """The leftmost unfinished block of each row."""
        return first_block(view, self.block)

    def choose(self, view: View, confidence_BC: Tensor) -> Tensor:
        """All above the threshold, and the highest of each row."""
        scope_BC = self.scope(view)
        return (scope_BC & (confidence_BC > self.threshold)) | highest(confidence_BC, scope_BC, 1)


build = FastDllm
