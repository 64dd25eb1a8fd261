"""Block-wise (semi-autoregressive) order: the leftmost unfinished block first.

LLaDA gives every block the same number of steps, and the remainder to the first ones; with more
blocks than steps, or blocks that do not divide the masks, steps are idle or too many. Here each
step commits its even share of all masks, and continues in the next block if one has fewer left. So
the number of steps is always the given one.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from diffusion.decoding import Measure, Order, View, check_count, highest


@dataclass(frozen=True, slots=True, kw_only=True)
class Blockwise:
    """The most confident masks of the leftmost unfinished block of `block` masks.

    `is_random`: at random instead (the paper's Random row for LLaDA). `confidence`: which one.
    """

    has_steps: ClassVar[bool] = True

    block: int = 32
    is_random: bool = False
    confidence: Measure = Measure.PROBABILITY

    def __post_init__(self) -> None:
        check_count("block", self.block)

    @property
    def order(self) -> Order:
        """What the paper calls AO or Random for LLaDA."""
        if self.is_random:
            return Order.RANDOM
        is_papers = self.confidence is Measure.PROBABILITY
        return Order.BLOCKWISE if is_papers else Order.OTHER

    def scope(self, view: View) -> Tensor:
        """The masks of the blocks that this step may reach."""
        if self.is_random:
            return self.choose(view, view.noise())
        return view.masked_BC & (self._before(view) < view.quota)

    def choose(self, view: View, confidence_BC: Tensor) -> Tensor:
        """The step's share of masks, block by block from the left."""
        key_BC = view.noise() if self.is_random else confidence_BC
        block_C = view.mask_index_C // self.block
        # All keys lie within twice `lowered`: a block further left always comes first.
        lowered, least = self.confidence.lowered, self.confidence.least
        shifted_BC = key_BC.clamp(min=least - lowered).double() - 2 * lowered * block_C
        return highest(shifted_BC, view.masked_BC, view.quota)

    def _before(self, view: View) -> Tensor:
        """How many masks are left in the blocks before each column's, [B, C]."""
        block_C = view.mask_index_C // self.block
        masked_BC = view.masked_BC.long()
        counts_BK = masked_BC.new_zeros(len(masked_BC), int(block_C.max()) + 2)
        counts_BK.index_add_(1, block_C + 1, masked_BC)  # headers have no block: -1, and no masks
        return (counts_BK.cumsum(1) - counts_BK)[:, block_C + 1]


build = Blockwise
