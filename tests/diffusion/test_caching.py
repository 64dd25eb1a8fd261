"""Caches: each equals a plain row that keeps the same, and none is on by default."""

import types
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffusion import models
from diffusion.data.layout import CanvasLayout
from diffusion.decoding import Rule, kv_cache
from diffusion.decoding.decode import Request, Sampling, decode
from diffusion.decoding.kv_cache import APPROXIMATE, CachedPositions, CacheSettings
from diffusion.decoding.rules.blockwise import Blockwise
from diffusion.decoding.rules.confidence import Confidence
from diffusion.decoding.rules.fast_dllm import FastDllm
from diffusion.evaluation.answers import answers
from diffusion.models.network import attention
from diffusion.models.network.denoiser import Dlm
from diffusion.settings import Precision
from support.errors import UserError
from tests.diffusion.checkpoints import make
from tests.diffusion.decodes import canvas, decoder, requests


@pytest.fixture(scope="module", params=("llada", "dream", "a2d-qwen3", "llada_moe"))
def dlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dlm:
    return decoder(request.param, tmp_path_factory.mktemp(request.param))


class PlainCache:
    """Keys and values of a whole row, all computed anew, of which the active ones alone count."""

    def __init__(self) -> None:
        self.layers: dict[int, list[Tensor]] = {}
        self.active_T: Tensor | None = None

    def update(self, key: Tensor, value: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        if self.active_T is None:
            self.layers[layer] = [key, value]
        else:
            self.layers[layer] = [
                torch.where(self.active_T[None, None, :, None], new, old)
                for new, old in zip((key, value), self.layers[layer], strict=True)
            ]
        return self.layers[layer][0], self.layers[layer][1]


@torch.no_grad()
def plain(
    dlm: Dlm, layout: CanvasLayout, request: Request, caching: CacheSettings, threshold: float
) -> Any:
    """Fast-dLLM on one row in blocks of 5."""
    row = layout.lay(request.prompt, [np.zeros(0, np.int32)] * len(layout.slots))
    ids = torch.from_numpy(np.where(row.answer_T, dlm.mask_id, row.ids_T).astype(np.int64))
    begin, everywhere = len(ids) - layout.tokens, torch.arange(len(ids))
    masks = [begin + c for c, slot in enumerate(layout.slot_of()) if slot >= 0]
    blocks = [masks[i : i + 5] for i in range(0, len(masks), 5)]
    cache, step, commits, head = PlainCache(), 0, [], dlm.denoiser.net.get_output_embeddings()
    for n, block in enumerate(blocks):
        since = None
        while any(int(ids[at]) == dlm.mask_id for at in block):
            is_whole = since is None or (caching.refresh and since >= caching.refresh)
            since = 0 if is_whole or since is None else since + 1
            back = int(dlm.denoiser.shift)
            first = {
                CachedPositions.PROMPT: begin,
                CachedPositions.PREFIX: block[0],
                CachedPositions.DUAL: block[0],
            }[caching.kind]
            last = blocks[n][-1] if caching.kind is CachedPositions.DUAL else len(ids) - 1
            active_T = (everywhere >= first - back) & (everywhere <= last)
            cache.active_T = None if is_whole else active_T
            features = dlm.denoiser.features(
                ids[None],
                everywhere,
                torch.ones(1, 1, 1, len(ids), dtype=torch.bool),
                position_ids=everywhere[None],
                past_key_values=cache,
            )
            logits = nn.functional.linear(features, head.weight, getattr(head, "bias", None))
            logits[:, dlm.mask_id] = -torch.inf
            best = logits.float().softmax(-1).max(-1)
            left = [at for at in block if int(ids[at]) == dlm.mask_id]
            left.sort(key=lambda at: (-float(best.values[at]), at))
            for at in [left[0], *(at for at in left[1:] if float(best.values[at]) > threshold)]:
                ids[at] = best.indices[at]
                commits.append((step, at - begin, int(ids[at])))
            step += 1
    return sorted(commits)


@pytest.mark.parametrize("kind", APPROXIMATE)
@pytest.mark.parametrize("refresh", [0, 1, 2])
def test_each_equals_a_plain_row_that_keeps_the_same(
    dlm: Dlm, kind: CachedPositions, refresh: int
) -> None:
    layout, asked = canvas(dlm), requests(dlm)
    caching = CacheSettings(kind=kind, refresh=refresh)
    threshold = 0.04 if dlm.family == "llada_moe" else 0.015  # near its random weights' confidences
    rule = FastDllm(threshold=threshold, block=5)
    together = decode(dlm, layout, asked, rule, caching=caching)
    for request, row in zip(asked, together, strict=True):
        found = sorted((c.step, c.position, c.token) for c in row.commits)
        assert found == plain(dlm, layout, request, caching, threshold)
        assert row.nfe == 1 + max(c.step for c in row.commits)
    passes = {row.nfe for row in together}
    assert len(passes) > 1 and max(passes) < layout.masks, "rows leave, and commit several at once"


def test_a_cache_changes_what_is_decoded(dlm: Dlm) -> None:
    layout, asked = canvas(dlm), requests(dlm)
    for kind, rule in (
        (CachedPositions.DUAL, FastDllm(threshold=0.9, block=5)),
        (CachedPositions.PREFIX, Blockwise(block=8)),
        (CachedPositions.PROMPT, Confidence()),
    ):
        exact, kept = (
            decode(dlm, layout, asked, rule, steps=23, caching=caching)
            for caching in (None, CacheSettings(kind=kind))
        )
        assert [row.commits for row in exact] != [row.commits for row in kept]
        assert all(len(row.commits) == layout.masks for row in kept)


def test_blocks_of_one_mask_are_exact(dlm: Dlm) -> None:
    layout, asked = canvas(dlm), requests(dlm)
    rule = FastDllm(block=1)
    exact = decode(dlm, layout, asked, rule)
    for kind in APPROXIMATE:
        kept = decode(dlm, layout, asked, rule, caching=CacheSettings(kind=kind))
        for one, other in zip(exact, kept, strict=True):
            assert one.ids_C.tolist() == other.ids_C.tolist()


def test_mistakes_are_named(dlm: Dlm, tmp_path: Any) -> None:
    layout, asked = canvas(dlm), requests(dlm)
    rule: Rule = Confidence()
    for kind in (CachedPositions.PREFIX, CachedPositions.DUAL):
        with pytest.raises(ValueError, match=f"cache: {kind} is of rules with blocks"):
            decode(dlm, layout, asked, rule, steps=4, caching=CacheSettings(kind=kind))
    with pytest.raises(ValueError, match="refresh: -1 is under 0"):
        CacheSettings(kind=CachedPositions.DUAL, refresh=-1)
    with pytest.raises(ValueError, match=r"refresh: finished blocks never change"):
        CacheSettings(kind=CachedPositions.FINISHED, refresh=4)
    finished = CacheSettings(kind=CachedPositions.FINISHED)
    with pytest.raises(ValueError, match="cache: finished is of block-causal models, and this one"):
        decode(dlm, layout, asked, rule, steps=4, caching=finished)
    other = models.load_model(str(make("masked_lm", tmp_path)))
    with pytest.raises(UserError, match=r"x\.cache: a model of the family masked_lm keeps nothing"):
        answers(
            other,
            canvas(other),
            requests(other),
            rule,
            steps=4,
            sampling=Sampling(),
            precision=Precision.FLOAT32,
            where="x",
            caching=CacheSettings(kind=CachedPositions.PROMPT),
        )
    with pytest.raises(UserError, match=r"x\.cache: prefix is of rules with blocks"):
        answers(
            dlm,
            layout,
            asked,
            rule,
            steps=4,
            sampling=Sampling(),
            precision=Precision.FLOAT32,
            where="x",
            caching=CacheSettings(kind=CachedPositions.PREFIX),
        )


@pytest.mark.parametrize("masked", [False, True])
def test_queries_that_share_keys_attend_as_each_alone(masked: bool) -> None:
    """A few queries of 6 heads over 11 keys of 2 heads, against one head after the other."""
    draw = torch.Generator().manual_seed(3)
    query, key, value = (
        torch.randn(2, heads, length, 8, generator=draw)
        for heads, length in ((6, 3), (2, 11), (2, 11))
    )
    mask = torch.arange(11) < torch.tensor([11, 7])[:, None] if masked else None
    bare = types.SimpleNamespace(num_key_value_groups=3, is_causal=False)
    over_heads = None if mask is None else mask[:, None, None]
    found, _ = attention._attend(bare, query, key, value, over_heads, scaling=0.3)
    for row in range(2):
        for head in range(6):
            scores = query[row, head] @ key[row, head // 3].T * 0.3
            if mask is not None:
                scores = scores.masked_fill(~mask[row], -torch.inf)
            expected = scores.softmax(-1) @ value[row, head // 3]
            torch.testing.assert_close(found[row, :, head], expected)


def test_rows_in_groups_decode_as_they_do_alone(dlm: Dlm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cached passes of rows with other widths are apart where padding would cost too much."""
    monkeypatch.setattr(kv_cache, "_PADDING", 1)
    layout, asked = canvas(dlm), requests(dlm)
    rule = FastDllm(threshold=0.02, block=6)
    caching = CacheSettings(kind=CachedPositions.PREFIX)
    passes: list[int] = []
    dlm.denoiser.net.register_forward_pre_hook(lambda *_: passes.append(1))
    together = decode(dlm, layout, asked, rule, caching=caching)
    # The rows of this mixture of experts stay abreast.
    is_split = len(passes) > max(row.nfe for row in together)
    assert is_split or dlm.family == "llada_moe", "some steps took several passes"
    for one, row in zip(asked, together, strict=True):
        (alone,) = decode(dlm, layout, [one], rule, caching=caching)
        assert alone.ids_C.tolist() == row.ids_C.tolist() and alone.nfe == row.nfe
