"""The keys and values of finished blocks of a block-causal model. Nothing is approximated.

No position of a block-causal model sees a later block. So the keys and values of a block do not
change once it and all blocks before it are committed. Where a row begins a block, one pass computes
what is not kept yet (at first the whole prompt, later the block that has just been finished) and
the new block. Passes after it compute the new block alone. Nothing computes the blocks behind it.

Axes: B rows, T tokens, C columns of the layout, A active positions, K keys, R positions in scope,
H hidden.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from diffusion.decoding.passes import KeptKeys, Pass, features_in_passes
from diffusion.models.network.attention import block_causal
from diffusion.models.network.denoiser import Denoiser


class FinishedBlocks:
    """The keys and values of a batch, and which block of each row was begun last."""

    def __init__(self, block: int, rows: int, device: torch.device) -> None:
        self.block = block
        self.kept = KeptKeys()
        self.begin_B = torch.full((rows,), -1, device=device)  # of the block of the last pass
        self.tokens = 0
        self.now: Pass | None = None

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
        passes = self._passes(is_new_B, active_B, last_B, attention_mask_BT)
        return features_in_passes(denoiser, ids_BT, at_BC, scope_BC, passes, self)

    def _passes(
        self, is_new_B: Tensor, active_B: Tensor, last_B: Tensor, attention_mask_BT: Tensor | None
    ) -> Iterator[Pass]:
        """A pass of the rows that begin a block, and one of all others."""
        for rows_B in (is_new_B, ~is_new_B):
            rows = rows_B.nonzero().squeeze(1)
            if not len(rows):
                continue
            first_b, last_b = active_B[rows], last_B[rows]
            offsets_A = torch.arange(int((last_b - first_b).max()) + 1, device=rows.device)
            at_bA = torch.minimum(first_b[:, None] + offsets_A, last_b[:, None])
            keys = int(last_b.max()) + 1
            seen_bAK = block_causal(
                at_bA[:, :, None], torch.arange(keys, device=rows.device), self.block
            )
            if attention_mask_BT is not None:
                seen_bAK = seen_bAK & attention_mask_BT[rows, None, :keys]
            self.now = Pass(rows, at_bA, seen_bAK[:, None])
            yield self.now
        self.now = None

    def update(
        self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Called by transformers' attention: takes new keys and values, returns all there are."""
        assert self.now is not None and self.now.mask is not None
        self.kept.write(layer, (key, value), self.now, (len(self.begin_B), self.tokens))
        return self.kept.read(layer, self.now.rows_b, self.now.mask.shape[-1])

    def select(self, open_B: Tensor) -> None:
        """Keep the rows that still have masks."""
        self.begin_B = self.begin_B[open_B]
        self.kept.select(open_B)
