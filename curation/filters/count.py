"""Keep at most so many canvases, an even share of the corpus: those whose ids hash lowest.

In a recipe, as the last filter: `{kind: count, most: 12}`. Which canvases stay depends on their
prompts alone, not on their order, so that a corpus that grows changes few of them.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from curation.filters import Filter
from schemas.records import Canvas, Scores, Verdict
from support.errors import UserError


@dataclass(slots=True, kw_only=True)
class CountFilter:
    """Keeps the `most` lowest hashes; `cut` is the highest of them, None where all fit."""

    most: int
    cut: int | None = field(default=None)

    def fit(self, corpus: Iterable[tuple[Canvas, Scores]]) -> None:
        """Find the highest hash that stays; holds `most` hashes of 8 bytes and no canvas."""
        lowest: list[int] = []  # negated: the heap's first is the highest
        is_over = False
        for canvas, _ in corpus:
            if len(lowest) < self.most:
                heapq.heappush(lowest, -_hash(canvas))
            else:
                is_over = True
                heapq.heappushpop(lowest, -_hash(canvas))
        self.cut = -lowest[0] if is_over else None

    def frozen(self) -> str:
        """The cut, as 16 hex digits."""
        return "" if self.cut is None else f"cut={self.cut:016x}"

    def judge(self, canvas: Canvas, scores: Scores) -> Verdict:
        """Drop with `over_count`."""
        if self.cut is None or _hash(canvas) <= self.cut:
            return Verdict(True)
        return Verdict(False, "over_count", f"the corpus is full with {self.most} canvases")


def build(most: int) -> Filter:
    """The filter; UserError where nothing could pass."""
    if most < 1:
        raise UserError(f"filter count: most is {most}; give 1 or more")
    return CountFilter(most=most)


def _hash(canvas: Canvas) -> int:
    name = canvas.prompt.id.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big")
