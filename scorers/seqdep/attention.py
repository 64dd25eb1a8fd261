"""Attention over packed sequences: every token sees exactly what it would see alone.

In: one row of tokens that holds many documents, each `[x, response, copies …]`; an
`AttentionLayout` says where. The response is causal behind its `x`; a copy sees `x` and itself.
Out: the attention of all, without a [T, T] mask: causal pieces and small batches of copies through
SDPA, or, on CUDA, one FlexAttention call that skips every block in which no token sees another.

`through` gives a transformers model this attention for one forward pass. Options that it does not
know (soft caps, sinks, biases) raise an error and are never ignored.
Axes: T tokens of the row, H heads, D width of a head, N copies, L tokens of a copy, K keys it sees.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

NAME = "polytrace_packed"
# Longer copies are computed one by one by the causal kernel, which needs no mask.
_SHORT = 256
_BUCKET = 16  # copies of similar length share a batch
_MASK_ELEMENTS = 1 << 22  # of one batch of copies: 16 MiB in float32
_KEYS = 1 << 13  # of one batch of copies, each with its own copy of `x`
_FLEX_TOKENS = 1024  # rows are padded to a multiple: FlexAttention compiles once a length
# Options that transformers passes and that change nothing here: packing keeps to windows itself.
_KNOWN = {
    *("dropout", "is_causal", "use_cache", "output_attentions", "output_hidden_states"),
    *("position_ids", "cache_position", "sliding_window", "return_dict"),
}


class Branch(NamedTuple):
    """Tokens `start` to `end` of the row, which continue its tokens `x_start` to `x_end`."""

    x_start: int
    x_end: int
    start: int
    end: int


class Copies(NamedTuple):
    """A batch of short copies: the places of their queries and keys, and what each query sees.

    `queries_NL` and `keys_NK` are indices into the row (padded with the last query, with 0),
    `mask_N1LK` is added to the scores, `real_NL` marks queries that are no padding.
    """

    queries_NL: Tensor
    keys_NK: Tensor
    mask_N1LK: Tensor
    real_NL: Tensor


@dataclass(frozen=True)
class AttentionLayout:
    """The places of the documents in a row: `branches` cover all but the `x`s and the padding.

    The branch directly behind its `x` is the response; the two are one causal piece.
    """

    tokens: int
    branches: tuple[Branch, ...]
    dtype: torch.dtype
    device: torch.device

    @cached_property
    def causal(self) -> tuple[tuple[Branch, Tensor | slice], ...]:
        """The branches that are computed alone, with the indices of `x` and of themselves."""
        return tuple((b, _whole(b, self.device)) for b in self.branches if not _is_short(b))

    @cached_property
    def copies(self) -> tuple[Copies, ...]:
        """The other branches in batches of similar length."""
        short = sorted((b for b in self.branches if _is_short(b)), key=_bucket)
        groups: list[list[Branch]] = []
        for branch in short:
            group = groups[-1] if groups else []
            most = max(_keys(b) for b in (*group, branch))
            keys = (len(group) + 1) * most
            is_full = keys > _KEYS or keys * _bucket(branch) > _MASK_ELEMENTS
            if not group or is_full or _bucket(group[0]) != _bucket(branch):
                groups.append([branch])
            else:
                group.append(branch)
        return tuple(_copies(group, self.dtype, self.device) for group in groups)

    @cached_property
    def blocks(self) -> BlockMask:
        """The layout as FlexAttention's block mask, for a row padded to `padded` tokens."""
        branch_T = torch.full((self.padded,), -1, dtype=torch.int32)
        x_T = torch.full((self.padded,), -1, dtype=torch.int32)  # the x that a token follows on
        for number, (x_start, x_end, start, end) in enumerate(self.branches):
            branch_T[x_start:x_end], branch_T[start:end] = -2, number
            x_T[x_start:x_end], x_T[start:end] = x_start, x_start
        branch_T, x_T = branch_T.to(self.device), x_T.to(self.device)

        def sees(_b: Tensor, _h: Tensor, query: Tensor, key: Tensor) -> Tensor:
            is_near = (branch_T[key] == -2) | (branch_T[key] == branch_T[query])
            return (query >= key) & (x_T[key] == x_T[query]) & is_near

        return create_block_mask(
            sees,
            None,
            None,
            self.padded,
            self.padded,
            device=str(self.device),
            _compile=self.device.type == "cuda",  # without it, a whole [T, T] is made
        )

    @property
    def padded(self) -> int:
        """Tokens up to the next bucket."""
        return -(-self.tokens // _FLEX_TOKENS) * _FLEX_TOKENS


def _is_short(branch: Branch) -> bool:
    return branch.start != branch.x_end and branch.end - branch.start <= _SHORT


def _bucket(branch: Branch) -> int:
    return -(-(branch.end - branch.start) // _BUCKET) * _BUCKET


def _keys(branch: Branch) -> int:
    return branch.x_end - branch.x_start + branch.end - branch.start


def _whole(branch: Branch, device: torch.device) -> Tensor | slice:
    x_start, x_end, start, end = branch
    if start == x_end:
        return slice(x_start, end)
    parts = (torch.arange(x_start, x_end), torch.arange(start, end))
    return torch.cat(parts).to(device)


def _copies(group: Sequence[Branch], dtype: torch.dtype, device: torch.device) -> Copies:
    """Indices and mask of copies; each one's keys are its `x`, then itself, then padding."""
    longest, most = max(b.end - b.start for b in group), max(map(_keys, group))
    x_N = torch.tensor([b.x_end - b.x_start for b in group])[:, None]
    x_start_N = torch.tensor([b.x_start for b in group])[:, None]
    start_N = torch.tensor([b.start for b in group])[:, None]
    length_N = torch.tensor([b.end - b.start for b in group])[:, None]
    t_L, t_K = torch.arange(longest)[None], torch.arange(most)[None]
    keys_NK = torch.where(t_K < x_N, x_start_N + t_K, start_N + t_K - x_N)
    is_key_NK = t_K < x_N + length_N
    # Padding queries see what the last real one sees: a row without any key would be NaN.
    own_NL = torch.minimum(t_L, length_N - 1)
    seen_NLK = t_K[:, None] <= (x_N + own_NL)[:, :, None]
    mask_NLK = torch.zeros(seen_NLK.shape, dtype=dtype).masked_fill_(~seen_NLK, -math.inf)
    return Copies(
        queries_NL=(start_N + own_NL).to(device),
        keys_NK=(keys_NK * is_key_NK).to(device),
        mask_N1LK=mask_NLK[:, None].to(device),
        real_NL=(t_L < length_N).to(device),
    )


_layout: ContextVar[AttentionLayout | None] = ContextVar("layout", default=None)


@contextmanager
def through(model: Any, layout: AttentionLayout) -> Iterator[None]:
    """Make a transformers model attend by the layout inside this context."""
    usual = model.config._attn_implementation
    token = _layout.set(layout)
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)
        _layout.reset(token)


def forward(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The function that transformers calls in every layer, with [1, H, T, D]: [1, T, H, D].

    NotImplementedError for an option that would change the result and is not known here.
    """
    names = {name for name, value in options.items() if value is not None}
    if unknown := sorted(names - _KNOWN):
        raise NotImplementedError(f"packed attention knows no {unknown[0]}")
    layout = _layout.get()
    if layout is None or attention_mask is not None:
        raise NotImplementedError("packed attention needs a layout, and makes its own mask")
    if options.get("is_causal") is False or getattr(module, "is_causal", True) is False:
        raise NotImplementedError("packed attention is causal")
    attend = by_blocks if layout.device.type == "cuda" else by_pieces
    return attend(query, key, value, layout, scaling).transpose(1, 2), None


def by_pieces(
    query: Tensor, key: Tensor, value: Tensor, layout: AttentionLayout, scaling: float | None
) -> Tensor:
    """SDPA piece by piece: [1, H, T, D] in and out."""
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:  # grouped heads; not every CPU kernel shares them
        key, value = (one.repeat_interleave(repeats, dim=1) for one in (key, value))
    out = query.new_zeros((*query.shape[:-1], value.shape[-1]))
    for branch, whole in layout.causal:
        q, k, v = query[:, :, whole], key[:, :, whole], value[:, :, whole]
        attended = scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling)
        is_response = branch.start == branch.x_end
        start = branch.x_start if is_response else branch.start
        out[:, :, start : branch.end] = attended[:, :, start - branch.end :]
    for copies in layout.copies:
        q_NHLD = query[0][:, copies.queries_NL].transpose(0, 1)
        k_NHKD = key[0][:, copies.keys_NK].transpose(0, 1)
        v_NHKD = value[0][:, copies.keys_NK].transpose(0, 1)
        attended = scaled_dot_product_attention(
            q_NHLD, k_NHKD, v_NHKD, attn_mask=copies.mask_N1LK, scale=scaling
        )
        real_R = copies.queries_NL[copies.real_NL]
        out[0][:, real_R] = attended.transpose(0, 1)[:, copies.real_NL]
    return out


def by_blocks(
    query: Tensor, key: Tensor, value: Tensor, layout: AttentionLayout, scaling: float | None
) -> Tensor:
    """FlexAttention: [1, H, T, D] in and out; the row is padded to a bucket of lengths."""
    more = layout.padded - query.shape[2]
    padded = [torch.nn.functional.pad(one, (0, 0, 0, more)) for one in (query, key, value)]
    attend: Any = _compiled() if query.device.type == "cuda" else flex_attention
    out: Tensor = attend(
        *padded, block_mask=layout.blocks, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    )
    return out[:, :, : query.shape[2]]


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention, dynamic=False)
