"""Prophet: commit everything that is left once the answer is certain (Li et al. 2025).

Until then it decodes block-wise. The answer is certain when the two highest logits differ enough,
on average over the positions of the answer. The difference that is asked for falls as decoding goes
on: `early` in the first third of the steps, `middle` in the second, `late` in the last.
"""

from dataclasses import dataclass
from math import isnan
from typing import ClassVar

import torch
from torch import Tensor

from diffusion.decoding import Measure, Order, View, check_count
from diffusion.decoding.rules.blockwise import Blockwise
from support.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Prophet:
    """Block-wise decoding that ends early; `steps` are the most that it takes.

    The answer is the last slot (of a canvas its summary), or `answer_tokens` masks from the mask
    number `answer_start` on, counted from 0 over all slots. `block` and `confidence` as in
    `blockwise`.
    """

    has_steps: ClassVar[bool] = True
    order: ClassVar[Order] = Order.OTHER
    reads_gap: ClassVar[bool] = True

    block: int = 32
    confidence: Measure = Measure.PROBABILITY
    early: float = 7.5
    middle: float = 5.0
    late: float = 2.5
    answer_start: int | None = None
    answer_tokens: int | None = None

    def __post_init__(self) -> None:
        check_count("block", self.block)
        for name in ("early", "middle", "late"):
            if isnan(getattr(self, name)):
                raise ValueError(f"{name}: {getattr(self, name)} is no number")
        if self.answer_start is not None and self.answer_start < 0:
            raise ValueError(f"answer_start: {self.answer_start} is under 0")
        if self.answer_tokens is not None:
            check_count("answer_tokens", self.answer_tokens)

    def scope(self, view: View) -> Tensor:
        """Every mask, because all may be committed, and the whole answer."""
        return view.masked_BC | self._answer(view)

    def choose(self, view: View, confidence_BC: Tensor) -> Tensor:
        """The step's share of masks, or all of a row whose answer is certain."""
        assert view.gap_BC is not None
        answer_C = self._answer(view)
        gap_B = view.gap_BC[:, answer_C].mean(1)
        is_certain_B1 = (gap_B >= self._threshold(view))[:, None]
        share_BC = Blockwise(block=self.block, confidence=self.confidence).choose(
            view, confidence_BC
        )
        return torch.where(is_certain_B1, view.masked_BC, share_BC)

    def _threshold(self, view: View) -> float:
        progress = (view.step + 1) / view.steps
        return self.early if progress < 0.33 else self.middle if progress < 0.67 else self.late

    def _answer(self, view: View) -> Tensor:
        """The columns of the answer, [C]; the last slot where the options name none.

        UserError if it begins behind the last mask.
        """
        index_C = view.mask_index_C
        last_C = view.slot_C == view.slot_C.max()
        start = int(index_C[last_C].min()) if self.answer_start is None else self.answer_start
        if start >= view.mask_count:
            raise UserError(
                f"rule.answer_start: {start} is behind the answer's {view.mask_count} masks, which "
                "are counted from 0"
            )
        end = view.mask_count if self.answer_tokens is None else start + self.answer_tokens
        return (index_C >= start) & (index_C < end)


build = Prophet
