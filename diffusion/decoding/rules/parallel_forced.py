"""Parallel-forced decoding (Sec. 5.3, Li et al. 2026): all paths are decoded side by side.

The slots of the paths share the commits of each step evenly. If a step commits fewer tokens than
there are paths, the paths take turns, and none is ever more than one mask behind another (METHOD
section 6, docs/adr/0013). Inside a slot the most confident masked positions are committed. The
summary, the last slot, has its share of the steps after the paths (`after`), or decodes beside them
(`joint`); the paper does not say which.
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from diffusion.decoding import Measure, Order, View, highest


class Summary(StrEnum):
    """When the summary is decoded."""

    AFTER = "after"
    JOINT = "joint"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelForced:
    """Quotas for every slot, the most confident masks inside it; `confidence`: which one."""

    has_steps: ClassVar[bool] = True

    summary: Summary = Summary.AFTER
    confidence: Measure = Measure.PROBABILITY

    @property
    def order(self) -> Order:
        """The paper's row, for the paper's confidence."""
        return Order.OTHER if self.confidence is not Measure.PROBABILITY else Order.FORCED

    def scope(self, view: View) -> Tensor:
        """The slots that have a quota at this step."""
        active = [slot for slot, quota in enumerate(quotas(view, self.summary)) if quota]
        slots = torch.tensor(active, device=view.slot_C.device)
        return view.masked_BC & torch.isin(view.slot_C, slots)

    def choose(self, view: View, confidence_BC: Tensor) -> Tensor:
        """Each slot's quota."""
        chosen_BC = torch.zeros_like(view.masked_BC)
        for slot, quota in enumerate(quotas(view, self.summary)):
            if quota:
                among_BC = view.masked_BC & (view.slot_C == slot)
                chosen_BC |= highest(confidence_BC, among_BC, quota)
        return chosen_BC


build = ParallelForced


def quotas(view: View, summary: Summary) -> tuple[int, ...]:
    """How many masks each slot commits at this step; over all steps they sum to its length."""
    lengths = tuple(torch.bincount(view.slot_C[view.slot_C >= 0]).tolist())
    return schedule(lengths, view.steps, summary)[view.step]


@cache
def schedule(lengths: tuple[int, ...], steps: int, summary: Summary) -> list[tuple[int, ...]]:
    """The quotas of all steps (METHOD section 6, docs/adr/0013); the last slot is the summary's.

    `after`: of S steps max(1, round(S L_S / M)) are the summary's. Wherever several slots decode
    side by side, the totals of any two steps are within one of each other.
    """
    paths, last = lengths[:-1], lengths[-1:]
    if summary is Summary.JOINT or not paths or steps == 1:
        return _spread(lengths, steps)
    own = min(max(1, round(steps * last[0] / sum(lengths))), steps - 1)
    return [
        *((*shares, 0) for shares in _spread(paths, steps - own)),
        *((*(0 for _ in paths), *share) for share in _spread(last, own)),
    ]


def _spread(lengths: tuple[int, ...], steps: int) -> list[tuple[int, ...]]:
    """Every slot's masks evenly over the steps, and as many at each step."""
    due = sorted(
        ((2 * n + 1) / (2 * length), slot)
        for slot, length in enumerate(lengths)
        for n in range(length)
    )
    cuts = [len(due) * step // steps for step in range(steps + 1)]
    counts = (Counter(slot for _, slot in due[a:b]) for a, b in pairwise(cuts))
    return [tuple(count[slot] for slot in range(len(lengths))) for count in counts]
