"""Packed attention against a dense mask, and what it refuses to guess."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scorers.seqdep.attention import AttentionLayout, Branch, by_blocks, by_pieces, forward

Document = tuple[int, list[int]]  # tokens of x and of its branches, the response first


def layout(documents: list[Document]) -> AttentionLayout:
    branches, at = [], 0
    for x, lengths in documents:
        start, at = at, at + x
        for length in lengths:
            branches.append(Branch(start, start + x, at, at + length))
            at += length
    return AttentionLayout(at, tuple(branches), torch.float64, torch.device("cpu"))


def dense(query: Tensor, key: Tensor, value: Tensor, where: AttentionLayout) -> Tensor:
    """Every token sees its `x` up to itself, and its branch up to itself; nothing else."""
    seen = torch.zeros(where.tokens, where.tokens, dtype=torch.bool)
    for x_start, x_end, start, end in where.branches:
        for span in ((x_start, x_end), (start, end)):
            for token in range(*span):
                seen[token, x_start : min(x_end, token + 1)] = True
                if span == (start, end):
                    seen[token, start : token + 1] = True
    repeats = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    out: Tensor = scores.masked_fill(~seen, float("-inf")).softmax(-1) @ value
    return out


def tensors(tokens: int, heads: int, kv_heads: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(tokens)
    return [
        torch.randn(1, h, tokens, 16, generator=random, dtype=torch.float64)
        for h in (heads, kv_heads, kv_heads)
    ]


DOCUMENTS = st.lists(
    st.tuples(st.integers(1, 9), st.lists(st.integers(1, 40), min_size=1, max_size=5)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60)
@given(DOCUMENTS, st.sampled_from([(2, 2), (4, 2), (2, 1)]))
def test_pieces_equal_a_dense_mask(documents: list[Document], heads: tuple[int, int]) -> None:
    where = layout(documents)
    q, k, v = tensors(where.tokens, *heads)
    assert torch.allclose(by_pieces(q, k, v, where, None), dense(q, k, v, where), atol=1e-12)


@pytest.mark.parametrize(
    "documents",
    [
        [(3, [700, 300, 257, 256, 1])],  # copies that go alone, and the longest that do not
        [(300, [5, 2, 2, 3])],  # a long prompt
        [(1, [1])],
        [(2, [50, 17, 16, 15, 33]), (40, [10, 10]), (5, [300, 290, 8])],
    ],
)
def test_long_and_short_copies_side_by_side(documents: list[Document]) -> None:
    where = layout(documents)
    q, k, v = tensors(where.tokens, 2, 1)
    expected = dense(q, k, v, where)
    assert torch.allclose(by_pieces(q, k, v, where, None), expected, atol=1e-12)
    assert torch.allclose(by_blocks(q, k, v, where, None), expected, atol=1e-12)


def test_a_long_prompt_is_not_copied_for_all_at_once() -> None:
    where = layout([(4000, [10, *([16] * 60)])])
    assert len(where.copies) > 10
    assert max(batch.keys_NK.numel() for batch in where.copies) <= 1 << 13
    assert sum(len(batch.keys_NK) for batch in where.copies) == 60


def test_what_changes_the_result_and_is_not_known_is_refused() -> None:
    q, k, v = tensors(4, 2, 2)
    module: Any = SimpleNamespace(is_causal=True)
    for options in ({"softcap": 50.0}, {"s_aux": q}, {"is_causal": False}, {"dropout": None}):
        with pytest.raises(NotImplementedError):  # the last for want of a layout
            forward(module, q, k, v, None, **options)
