"""Layouts of single canvases: with their paths in another order, or with hints in their headers.

In: an instance, and an order of its paths. Out: the instance and the layout with the paths in that
order: `<think 2>` with its path may stand before `<think 1>` with its path. The summary stays last.
This is what `shuffle_think` of the public NAP code does (`shuffle_think_blocks`, which moves a path
together with its tags). A path with a hint has it, and a line feed, behind its usual header.
Training and decoding both make these headers here.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from diffusion.data.corpus import Instance
from diffusion.data.layout import CanvasLayout, encode
from schemas.canvas import header, summary_header


class CanvasLayouts:
    """Lays out canvases like `layout`, each with an order and hints of its own.

    The tokens of a header are made once. `layout` is that of a canvas in the usual order without
    hints.
    """

    def __init__(self, tokenizer: Any, layout: CanvasLayout) -> None:
        self._tokenizer = tokenizer
        self._layout = layout
        self.paths = len(layout.slots) - 1
        self._headers: dict[tuple[int, int, str], tuple[int, ...]] = {}

    def tokens_more(self, hints: Sequence[str] = (), *, is_shuffled: bool = False) -> int:
        """At most so many tokens more than the usual canvas has one with other headers.

        With any of `hints`, or none, before each path, and with the paths in any order if they are
        shuffled.
        """
        numbers = range(1, self.paths + 1)
        any_hint = ("", *hints)
        if is_shuffled:
            first = max(self._most(0, after, any_hint) for after in numbers)
            last = max(len(self._header(before, 0)) for before in numbers)
            between = [self._most(i, j, any_hint) for i in numbers for j in numbers if i != j]
            most = first + last + (self.paths - 1) * max(between, default=0)
        else:
            most = sum(self._most(j - 1, j, any_hint) for j in numbers)
            most += len(self._header(self.paths, 0))
        return max(0, most - self._layout.header_tokens)

    def layout(self, hints: Sequence[str], order: Sequence[int] | None = None) -> CanvasLayout:
        """The layout with path `order[0] + 1` first, and so on; `hints[j]` is that of path j + 1.

        An empty hint is none, and so are empty `hints`; without `order` it is the usual one.
        """
        order = range(self.paths) if order is None else order
        numbers = [0, *(path + 1 for path in order), 0]
        shown = [*(hints[path] if hints else "" for path in order), ""]
        return replace(
            self._layout,
            headers=tuple(map(self._header, numbers[:-1], numbers[1:], shown)),
            slots=(*(self._layout.slots[path] for path in order), self._layout.slots[-1]),
        )

    def ordered(self, instance: Instance, order: Sequence[int]) -> tuple[Instance, CanvasLayout]:
        """The instance with path `order[0] + 1` first, and so on, and its layout."""
        texts = tuple(instance.texts[path] for path in order)
        hints = tuple(instance.hints[path] for path in order) if instance.hints else ()
        return (
            instance._replace(texts=(*texts, instance.texts[-1]), hints=hints),
            self.layout(instance.hints, order),
        )

    def _header(self, before: int, after: int, hint: str = "") -> tuple[int, ...]:
        """The ids between two paths; 0 is what stands before the first and behind the last one."""
        if (known := self._headers.get((before, after, hint))) is None:
            text = header(after, before) if after else summary_header(before)
            text += f"{hint}\n" if hint else ""
            known = tuple(encode(self._tokenizer, text).tolist())
            self._headers[before, after, hint] = known
        return known

    def _most(self, before: int, after: int, hints: Sequence[str]) -> int:
        """The tokens of the longest header between two paths with one of the hints."""
        return max(len(self._header(before, after, hint)) for hint in hints)
