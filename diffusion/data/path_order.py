"""The paths of a canvas in another order, each with its own number.

In: an instance, and an order of its paths. Out: the instance and the layout with the paths in that
order: `<think 2>` with its path may stand before `<think 1>` with its path. The summary stays last.
This is what `shuffle_think` of the public NAP code does (`shuffle_think_blocks`, which moves a path
together with its tags).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from diffusion.data.corpus import Instance
from diffusion.data.layout import CanvasLayout, encode
from schemas.canvas import header, summary_header


class PathOrders:
    """Lays out canvases of a number of paths in any order; header tokens are made once a pair."""

    def __init__(self, tokenizer: Any, layout: CanvasLayout) -> None:
        self._tokenizer = tokenizer
        self._layout = layout
        self.paths = len(layout.slots) - 1
        self._headers: dict[tuple[int, int], tuple[int, ...]] = {}

    @property
    def tokens_more(self) -> int:
        """At most so many tokens more than in the usual order has a canvas in another one."""
        numbers = range(1, self.paths + 1)
        first = max(len(self._header(0, after)) for after in numbers)
        last = max(len(self._header(before, 0)) for before in numbers)
        between = [len(self._header(i, j)) for i in numbers for j in numbers if i != j]
        most = first + last + (self.paths - 1) * max(between, default=0)
        return max(0, most - self._layout.header_tokens)

    def ordered(self, instance: Instance, order: Sequence[int]) -> tuple[Instance, CanvasLayout]:
        """The instance with path `order[0] + 1` first, and so on, and its layout."""
        numbers = [0, *(path + 1 for path in order), 0]
        headers = tuple(map(self._header, numbers[:-1], numbers[1:]))
        slots = tuple(self._layout.slots[path] for path in order)
        texts = tuple(instance.texts[path] for path in order)
        return (
            instance._replace(texts=(*texts, instance.texts[-1])),
            replace(self._layout, headers=headers, slots=(*slots, self._layout.slots[-1])),
        )

    def _header(self, before: int, after: int) -> tuple[int, ...]:
        """The ids between two paths; 0 is what stands before the first and behind the last one."""
        if (known := self._headers.get((before, after))) is None:
            text = header(after, before) if after else summary_header(before)
            known = tuple(encode(self._tokenizer, text).tolist())
            self._headers[before, after] = known
        return known
