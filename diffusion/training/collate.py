"""An optimiser step's instances as micro-batches. In: instances. Out: tensors for the denoiser.

The instances of a step are sorted by length and cut into pieces of similar length, so that little
is padded. The piece of an instance changes neither its mask nor its weight, and so not the
gradient. Pieces are dealt to processes in turn.

Axes: B rows of a piece, T tokens, R masked positions of a piece.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusion.data.canvas_layouts import CanvasLayouts
from diffusion.data.corpus import Instance
from diffusion.data.layout import CanvasLayout
from diffusion.settings import StructuredMasking
from diffusion.training.objective import (
    draw_mask,
    draw_order,
    generator,
    mask_probabilities,
    structured_probabilities,
    token_weight,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """What one forward pass sees.

    `ids_BT` holds masks, `attention_mask_BT` is False at padding (None: nothing is padded). For
    each masked token: its flat position b*T + t, its target, its weight, its row and whether it is
    content. `answer_tokens` and `content_tokens` count the rows' answers with and without fill.
    """

    ids_BT: Tensor
    attention_mask_BT: Tensor | None
    positions_R: Tensor
    targets_R: Tensor
    weights_R: Tensor
    rows_R: Tensor
    is_content_R: Tensor
    answer_tokens: int
    content_tokens: int

    def to(self, device: torch.device) -> "MicroBatch":
        """The same on a device."""
        if device.type == "cpu":
            return self
        moved: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            moved[one.name] = value.to(device) if isinstance(value, Tensor) else value
        return MicroBatch(**moved)

    @property
    def inputs(self) -> tuple[Tensor | None, ...]:
        """What a `Denoiser` is called with."""
        return (
            *(self.ids_BT, self.positions_R, self.targets_R, self.weights_R),
            self.attention_mask_BT,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked:
    """An instance of a step with its mask: `mask_L` over its answer tokens, drawn with `p`.

    `layout` is its own, if its paths are not in the usual order or its headers show hints.
    """

    instance: Instance
    mask_L: Tensor
    p: float
    weight: float
    layout: CanvasLayout | None = None

    def tokens(self, layout: CanvasLayout) -> int:
        """Length of its row in tokens; `layout` is that of a row without one of its own."""
        return self.instance.tokens(self.layout or layout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The instances of each step: an epoch is a permutation; its last step may be smaller."""

    count: int
    batch: int
    epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one epoch."""
        return math.ceil(self.count / self.batch)

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.epochs * self.steps_per_epoch

    def batches(self, start: int = 0) -> Iterator[list[int]]:
        """Indices of the instances of each step, from step `start` on."""
        for epoch in range(start // self.steps_per_epoch, self.epochs):
            order = torch.randperm(self.count, generator=generator(self.seed, "order", epoch))
            skipped = max(0, start - epoch * self.steps_per_epoch)
            for batch in torch.split(order, self.batch)[skipped:]:
                yield batch.tolist()


def mask_step(
    instances: Sequence[Instance],
    layout: CanvasLayout,
    seed: int,
    step: int,
    layouts: CanvasLayouts | None = None,
    structured: StructuredMasking | None = None,
    *,
    is_shuffled: bool = False,
) -> list[Masked]:
    """The instances of a step with their masks and weights.

    With `layouts` each has a layout of its own, in which its hints and, if they are shuffled, the
    order of its paths show. With `structured`, p is the ratio from which the probabilities of an
    instance's slots follow.
    """
    count, tokens = len(instances), layout.masks
    ordered: list[tuple[Instance, CanvasLayout | None]] = [
        (one, None)
        if layouts is None
        else layouts.ordered(
            one,
            draw_order(layouts.paths, seed, step, number) if is_shuffled else range(layouts.paths),
        )
        for number, one in enumerate(instances)
    ]
    return [
        Masked(
            instance=ordered[number][0],
            layout=ordered[number][1],
            mask_L=draw_mask(
                tokens,
                p if structured is None else structured_probabilities(p, layout.slots, structured),
                seed,
                step,
                number,
            ),
            p=p,
            weight=token_weight(p, tokens, count),
        )
        for number, p in enumerate(mask_probabilities(count, seed, step).tolist())
    ]


def pieces(
    step: Sequence[Masked], layout: CanvasLayout, most_tokens: int, processes: int
) -> list[list[Masked]]:
    """A step cut into pieces of similar length and of at most `most_tokens` padded tokens each.

    Their number is a multiple of `processes`; process r takes pieces r, r + processes, … A single
    row longer than `most_tokens` is a piece of its own. With too few rows some pieces are empty.
    """
    ordered = sorted(step, key=lambda m: -m.tokens(layout))
    number = processes
    while True:
        cut = [
            ordered[len(ordered) * i // number : len(ordered) * (i + 1) // number]
            for i in range(number)
        ]
        largest = max((len(p) * p[0].tokens(layout) for p in cut if p), default=0)
        if largest <= most_tokens or number >= len(ordered):
            return cut
        number += processes


def collate(piece: Sequence[Masked], layout: CanvasLayout, mask_id: int) -> MicroBatch:
    """The tensors of a piece; an empty one is a row of two fill tokens without a mask."""
    rows = [(m.layout or layout).lay(m.instance.prompt, m.instance.texts) for m in piece]
    lengths = [len(row.ids_T) for row in rows] or [2]
    longest = max(lengths)
    ids_BT = np.full((len(lengths), longest), layout.fill_id, dtype=np.int64)
    masked_BT = np.zeros_like(ids_BT, dtype=np.bool_)
    content_BT = np.zeros_like(ids_BT, dtype=np.bool_)
    weights_B = np.array([m.weight for m in piece])
    for b, (row, m) in enumerate(zip(rows, piece, strict=True)):
        ids_BT[b, : lengths[b]] = row.ids_T
        content_BT[b, : lengths[b]] = row.content_T
        masked_BT[b, np.flatnonzero(row.answer_T)[m.mask_L.numpy()]] = True
    positions_R = np.flatnonzero(masked_BT)
    rows_R = positions_R // longest
    targets_R = ids_BT.reshape(-1)[positions_R]
    ids_BT[masked_BT] = mask_id
    is_padded = min(lengths) < longest
    return MicroBatch(
        ids_BT=torch.from_numpy(ids_BT),
        attention_mask_BT=torch.arange(longest) < torch.tensor(lengths)[:, None]
        if is_padded
        else None,
        positions_R=torch.from_numpy(positions_R),
        targets_R=torch.from_numpy(targets_R),
        weights_R=torch.from_numpy(weights_B[rows_R]),
        rows_R=torch.from_numpy(rows_R),
        is_content_R=torch.from_numpy(content_BT.reshape(-1)[positions_R]),
        answer_tokens=len(piece) * layout.masks,
        content_tokens=sum(m.instance.content_tokens for m in piece),
    )
