"""Forward passes over parts of rows, and the keys and values that they leave for later passes.

In: the rows of a batch in groups, each with the positions that are computed of its rows. Out: what
the head is applied to, at every position in scope.

Axes: B rows, T tokens, C columns of the layout, A active positions, R positions in scope, H hidden;
b and r: those of one pass.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffusion.models.network.denoiser import Denoiser


class Pass(NamedTuple):
    """Some rows, the positions of each that are computed, in order, and what these attend to."""

    rows_b: Tensor
    at_bA: Tensor
    mask: Tensor | None


def features_in_passes(
    denoiser: Denoiser,
    ids_BT: Tensor,
    at_BC: Tensor,
    scope_BC: Tensor,
    passes: Iterable[Pass],
    cache: Any,
) -> Tensor:
    """What the head is applied to at every position in scope, [R, H], row after row.

    Each row is in one pass, and its positions in scope are among those that the pass computes.
    `cache` is what transformers' attention hands new keys and values to.
    """
    rows_R, columns_R = scope_BC.nonzero(as_tuple=True)
    features_RH: Tensor | None = None
    for rows_b, at_bA, mask in passes:
        place_B = torch.full((len(ids_BT),), -1, device=rows_b.device)
        place_B[rows_b] = torch.arange(len(rows_b), device=rows_b.device)
        here_R = place_B[rows_R] >= 0
        row_r = rows_R[here_R]
        place_r = place_B[row_r]
        local_r = at_BC[row_r, columns_R[here_R]] - at_bA[place_r, 0]
        features_rH = denoiser.features(
            ids_BT[rows_b].gather(1, at_bA),
            place_r * at_bA.shape[1] + local_r,
            mask,
            position_ids=at_bA,
            past_key_values=cache,
        )
        if features_RH is None:
            features_RH = features_rH.new_empty(len(rows_R), features_rH.shape[1])
        features_RH[here_R] = features_rH
    assert features_RH is not None, "a step without scope makes no pass"
    return features_RH


class KeptKeys:
    """Keys and values of a batch, [B, T, heads, D], one pair for each layer."""

    def __init__(self) -> None:
        self.layers: list[tuple[Tensor, Tensor]] = []

    def write(
        self, layer: int, new: tuple[Tensor, Tensor], now: Pass, size_BT: tuple[int, int]
    ) -> None:
        """Take the keys and values of a pass, each [b, heads, A, D]; `size_BT`: of the batch."""
        key, value = (one.transpose(1, 2) for one in new)
        if layer == len(self.layers):
            shape = (*size_BT, *key.shape[2:])
            self.layers.append((key.new_zeros(shape), value.new_zeros(shape)))
        for kept, one in zip(self.layers[layer], (key, value), strict=True):
            kept[now.rows_b[:, None], now.at_bA] = one

    def read(self, layer: int, rows_b: Tensor, keys: int) -> tuple[Tensor, Tensor]:
        """The first `keys` of some rows, [b, heads, K, D]; copied where they are not all rows."""
        key, value = (
            (kept if len(rows_b) == len(kept) else kept[rows_b, :keys])[:, :keys].transpose(1, 2)
            for kept in self.layers[layer]
        )
        return key, value

    def select(self, open_B: Tensor) -> None:
        """Keep some rows."""
        self.layers = [(key[open_B], value[open_B]) for key, value in self.layers]
