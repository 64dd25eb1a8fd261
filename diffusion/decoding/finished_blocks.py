"""The keys and values of finished blocks of a block-causal model. Nothing is approximated.

No position of a block-causal model sees a later block. So the keys and values of a block do not
change once it and all blocks before it are committed. Where a row begins a block, one pass computes
what is not kept yet (at first the whole prompt, later the block that has just been finished) and
the new block. Passes after it compute the new block alone. Nothing computes the blocks behind it.

Axes: B rows, T tokens, C columns of the layout, A active positions, K keys, R positions in scope,
H hidden.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffusion.models.network.attention import block_causal
from diffusion.models.network.denoiser import Denoiser


class _ActiveBlocks(NamedTuple):
    """The rows of a forward pass, their active positions [B, A], and how many keys they see."""

    rows_B: Tensor
    at_BA: Tensor
    keys: int


class FinishedBlocks:
    """The keys and values of a batch, [B, heads, T, D], one pair for each layer."""

    def __init__(self, block: int, rows: int, device: torch.device) -> None:
        self.block = block
        self.layers: list[tuple[Tensor, Tensor]] = []
        self.begin_B = torch.full((rows,), -1, device=device)  # of the block of the last pass
        self.tokens = 0
        self.active: _ActiveBlocks | None = None

    def features(
        self,
        denoiser: Denoiser,
        ids_BT: Tensor,
        attention_mask_BT: Tensor | None,
        at_BC: Tensor,
        scope_BC: Tensor,
    ) -> Tensor:
        """What the head is applied to at every position in scope, [R, H], row after row.

        The scope of each row lies in one block, and all blocks before it are committed.
        """
        self.tokens = ids_BT.shape[1]
        begin_B = torch.where(scope_BC, at_BC, self.tokens).amin(1) // self.block * self.block
        last_B = torch.minimum(begin_B + self.block - 1, at_BC[:, -1])
        is_new_B = begin_B != self.begin_B
        active_B = torch.where(is_new_B, self.begin_B, begin_B - int(denoiser.shift)).clamp(min=0)
        self.begin_B = begin_B
        rows_R, columns_R = scope_BC.nonzero(as_tuple=True)
        features_RH: Tensor | None = None
        for rows_B in (is_new_B, ~is_new_B):
            rows = rows_B.nonzero().squeeze(1)
            if not len(rows):
                continue
            first_b, last_b = active_B[rows], last_B[rows]
            offsets_A = torch.arange(int((last_b - first_b).max()) + 1, device=rows.device)
            at_bA = torch.minimum(first_b[:, None] + offsets_A, last_b[:, None])
            keys = int(last_b.max()) + 1
            self.active = _ActiveBlocks(rows, at_bA, keys)
            seen_bAK = block_causal(
                at_bA[:, :, None], torch.arange(keys, device=rows.device), self.block
            )
            if attention_mask_BT is not None:
                seen_bAK = seen_bAK & attention_mask_BT[rows, None, :keys]
            here_R = rows_B[rows_R]
            place_B = torch.zeros_like(begin_B)
            place_B[rows] = torch.arange(len(rows), device=rows.device)
            row_r = rows_R[here_R]
            local_r = at_BC[row_r, columns_R[here_R]] - active_B[row_r]
            features_rH = denoiser.features(
                ids_BT[rows].gather(1, at_bA),
                place_B[row_r] * at_bA.shape[1] + local_r,
                seen_bAK[:, None],
                position_ids=at_bA,
                past_key_values=self,
            )
            if features_RH is None:
                features_RH = features_rH.new_empty(len(rows_R), features_rH.shape[1])
            features_RH[here_R] = features_rH
        self.active = None
        assert features_RH is not None, "a step without scope makes no pass"
        return features_RH

    def update(
        self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Called by transformers' attention: takes new keys and values, returns all there are."""
        assert self.active is not None
        rows_B, at_BA, keys = self.active
        if layer == len(self.layers):
            shape = (len(self.begin_B), key.shape[1], self.tokens, key.shape[3])
            self.layers.append((key.new_zeros(shape), value.new_zeros(shape)))
        index = at_BA[:, None, :, None]
        everything = []
        for kept, new in zip(self.layers[layer], (key, value), strict=True):
            if len(rows_B) == len(kept):
                seen = kept.scatter_(2, index.expand_as(new), new)[:, :, :keys]
            else:
                seen = kept[rows_B, :, :keys].scatter_(2, index.expand_as(new), new)
                kept[rows_B, :, :keys] = seen
            everything.append(seen)
        return everything[0], everything[1]

    def select(self, open_B: Tensor) -> None:
        """Keep the rows that still have masks."""
        self.begin_B = self.begin_B[open_B]
        self.layers = [(key[open_B], value[open_B]) for key, value in self.layers]
