"""Reuse keys and values of earlier steps. This is faster but not exact, so it is off by default.

What block-causal models reuse is exact, and in `finished_blocks.py`.

In bidirectional attention every commit changes all keys and values. Fast-dLLM (Wu et al. 2025)
nevertheless keeps some: a full pass computes all positions, and the passes after it only the active
ones, which see the others as they were. Whether a row's pass is full depends on that row alone, so
that in float32 it decodes in a batch as it does by itself.

Axes: B rows, T tokens, C columns of the layout, A active positions, R positions in scope, H hidden.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from diffusion.decoding import Rule
from diffusion.decoding.finished_blocks import FinishedBlocks
from diffusion.decoding.passes import KeptKeys, Pass, features_in_passes
from diffusion.models.network.attention import takes_keys
from diffusion.models.network.denoiser import Denoiser, Dlm
from diffusion.settings import STRICT


class CachedPositions(StrEnum):
    """Which positions keep their keys and values of an earlier step."""

    PROMPT = "prompt"  # the prompt's
    PREFIX = "prefix"  # the prompt's and those before the decoded block
    DUAL = "dual"  # all but the decoded block's
    FINISHED = "finished"  # those before the decoded block, of block-causal models: exact


APPROXIMATE = (CachedPositions.PROMPT, CachedPositions.PREFIX, CachedPositions.DUAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """What is kept; a row's pass is full where a block begins, and after `refresh` others.

    `refresh` 0: only where a block begins; without blocks, only at the first step.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    kind: CachedPositions
    refresh: int = 0

    def __post_init__(self) -> None:
        if self.refresh < 0:
            raise ValueError(f"refresh: {self.refresh} is under 0")
        if self.refresh and self.kind is CachedPositions.FINISHED:
            raise ValueError("refresh: finished blocks never change; leave it out")

    def check(self, rule: Rule) -> None:
        """Raise ValueError if this needs blocks and the rule has none."""
        if self.kind in (CachedPositions.PROMPT, CachedPositions.FINISHED):
            return
        if not isinstance(rule, _HasBlocks):
            raise ValueError(
                f"cache: {self.kind} is of rules with blocks (blockwise, fast_dllm, "
                "entropy_threshold, prophet, remdm); this one can keep the prompt"
            )

    def check_block(self, block: int | None) -> None:
        """Raise ValueError if a model with blocks of this size has no such cache."""
        is_exact = self.kind is CachedPositions.FINISHED
        if is_exact and block is None:
            raise ValueError(
                "cache: finished is of block-causal models, and this one sees the whole row; take "
                "prompt, prefix or dual"
            )
        if not is_exact and block is not None:
            raise ValueError(
                f"cache: {self.kind} is of models that see the whole row, and this one is "
                "block-causal; take finished, which is exact"
            )

    def check_model(self, dlm: Dlm) -> None:
        """Raise ValueError if the model's attention keeps nothing, or not what this keeps."""
        if not takes_keys(dlm.denoiser.net):
            raise ValueError(
                f"cache: a model of the family {dlm.family} keeps nothing; leave it out"
            )
        self.check_block(dlm.denoiser.block)

    def __str__(self) -> str:
        """As tables name it."""
        return f"{self.kind} cache" + (f", refresh={self.refresh}" if self.refresh else "")


@runtime_checkable
class _HasBlocks(Protocol):
    block: int  # masks


# A row is padded to the widest of its forward pass. This many tokens of padding are paid before a
# further pass is: a pass over fewer tokens is not shorter by as much as its start costs.
_PADDING = 512


def new_cache(
    caching: CacheSettings, rule: Rule, dlm: Dlm, mask_index_C: Tensor, rows: int
) -> "Cache | FinishedBlocks":
    """The cache that is asked for, empty; ValueError if the model or the rule has none such."""
    caching.check_model(dlm)
    if dlm.denoiser.block is not None:
        return FinishedBlocks(dlm.denoiser.block, rows, mask_index_C.device)
    return Cache(caching, rule, mask_index_C, rows)


class Cache:
    """The keys and values of a batch, and when each row was computed in full."""

    def __init__(self, caching: CacheSettings, rule: Rule, mask_index_C: Tensor, rows: int) -> None:
        caching.check(rule)
        self.caching = caching
        # A rule without blocks has one, of all masks.
        block = rule.block if isinstance(rule, _HasBlocks) else len(mask_index_C)
        self.block_C = torch.where(mask_index_C < 0, -1, mask_index_C // block)
        self.kept = KeptKeys()
        self.block_B = torch.full((rows,), -1, device=mask_index_C.device)  # at the last whole pass
        self.since_B = torch.zeros_like(self.block_B)  # passes since then
        self.tokens = 0
        self.now: Pass | None = None
        self.is_whole = False  # whether it computes rows in full

    def features(
        self,
        denoiser: Denoiser,
        ids_BT: Tensor,
        attention_mask_BT: Tensor | None,
        at_BC: Tensor,
        scope_BC: Tensor,
    ) -> Tensor:
        """What the head is applied to at every position in scope, [R, H], row after row."""
        low_B, high_B = self._blocks(scope_BC)
        is_asked_B = scope_BC.any(1)  # for other rows nothing is computed
        whole_B = self.block_B != low_B
        if self.caching.refresh:
            whole_B = whole_B | (self.since_B >= self.caching.refresh)
        whole_B = whole_B & is_asked_B
        self.block_B = torch.where(is_asked_B, low_B, self.block_B)
        self.since_B = torch.where(whole_B, 0, self.since_B + is_asked_B.long())
        first_B, last_B = self._active(at_BC, low_B, high_B, back=int(denoiser.shift))
        self.tokens = ids_BT.shape[1]
        passes = self._passes(whole_B, is_asked_B, first_B, last_B, attention_mask_BT)
        return features_in_passes(denoiser, ids_BT, at_BC, scope_BC, passes, self)

    def _passes(
        self,
        whole_B: Tensor,
        is_asked_B: Tensor,
        first_B: Tensor,
        last_B: Tensor,
        attention_mask_BT: Tensor | None,
    ) -> Iterator[Pass]:
        """A pass of the rows that are computed in full, and passes of the others."""
        whole, partial = (
            rows_B.nonzero().squeeze(1) for rows_B in (whole_B, is_asked_B & ~whole_B)
        )
        widths = (last_B - first_B + 1).tolist()
        for rows in (whole, *_alike(partial, widths)):
            if not len(rows):
                continue
            self.is_whole = rows is whole
            if self.is_whole:
                at_bA = torch.arange(self.tokens, device=rows.device).expand(len(rows), -1)
            else:
                width = max(widths[row] for row in rows.tolist())
                offsets = torch.arange(width, device=rows.device)
                at_bA = torch.minimum(first_B[rows][:, None] + offsets, last_B[rows][:, None])
            mask = None if attention_mask_BT is None else attention_mask_BT[rows][:, None, None, :]
            self.now = Pass(rows, at_bA, mask)
            yield self.now
        self.now = None

    def update(
        self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Called by transformers' attention: takes new keys and values, returns the rows' own."""
        assert self.now is not None
        self.kept.write(layer, (key, value), self.now, (len(self.block_B), self.tokens))
        if self.is_whole:
            return key, value
        return self.kept.read(layer, self.now.rows_b, self.tokens)

    def get_query_offset(self, _layer: int) -> int:
        """Asked by transformers for a causal mask, which our models do not have."""
        return 0

    def get_mask_sizes(self, tokens: int, _layer: int) -> tuple[int, int]:
        """Asked by transformers for a causal mask, which our models do not have."""
        return tokens, 0

    def select(self, open_B: Tensor) -> None:
        """Keep the rows that still have masks."""
        self.block_B, self.since_B = self.block_B[open_B], self.since_B[open_B]
        self.kept.select(open_B)

    def _blocks(self, scope_BC: Tensor) -> tuple[Tensor, Tensor]:
        """The first and the last block that a row's scope touches."""
        far = int(self.block_C.max()) + 1
        low_B = torch.where(scope_BC, self.block_C, far).amin(1)
        return low_B, torch.where(scope_BC, self.block_C, -1).amax(1)

    def _active(
        self, at_BC: Tensor, low_B: Tensor, high_B: Tensor, *, back: int
    ) -> tuple[Tensor, Tensor]:
        """Each row's first and last active position; the first is moved left by `back`."""
        first_B, last_B = at_BC[:, 0], at_BC[:, -1]
        if self.caching.kind is not CachedPositions.PROMPT:
            is_in_BC = (self.block_C >= low_B[:, None]) & (self.block_C <= high_B[:, None])
            far = int(at_BC.max()) + 1
            first_B = torch.where(is_in_BC, at_BC, far).amin(1)
            if self.caching.kind is CachedPositions.DUAL:
                last_B = torch.where(is_in_BC, at_BC, -1).amax(1)
        return (first_B - back).clamp(min=0), last_B


def _alike(rows: Tensor, widths: list[int]) -> list[Tensor]:
    """Rows in groups of about as many active positions, one for each forward pass."""
    ordered = sorted(rows.tolist(), key=lambda row: widths[row])
    if not ordered:
        return []
    saved, count = max(
        (n * (widths[ordered[-1]] - widths[ordered[n - 1]]), n) for n in range(1, len(ordered) + 1)
    )
    if saved < _PADDING:
        return [rows]
    parts = (
        torch.tensor(sorted(part), device=rows.device)
        for part in (ordered[:count], ordered[count:])
    )
    return [group for part in parts for group in _alike(part, widths)]
