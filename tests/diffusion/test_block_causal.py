"""Block-causal models: blocks in order, an exact cache, and what they cannot be decoded with."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from diffusion.data.layout import CanvasLayout, Form
from diffusion.decoding import Rule
from diffusion.decoding.decode import Decoded, Request, Sampling, decode
from diffusion.decoding.kv_cache import APPROXIMATE, CachedPositions, CacheSettings
from diffusion.decoding.rules.ar_order import ArOrder
from diffusion.decoding.rules.blockwise import Blockwise
from diffusion.decoding.rules.confidence import Confidence
from diffusion.decoding.rules.entropy_threshold import EntropyThreshold
from diffusion.decoding.rules.fast_dllm import FastDllm
from diffusion.decoding.rules.parallel_forced import ParallelForced
from diffusion.decoding.rules.prophet import Prophet
from diffusion.decoding.rules.random_order import RandomOrder
from diffusion.decoding.rules.remdm import Remdm
from diffusion.evaluation.answers import answers
from diffusion.evaluation.evaluate import evaluate_cells
from diffusion.evaluation.settings import Evaluation, Part, System
from diffusion.models.network.denoiser import Dlm
from diffusion.settings import ModelReference, Precision
from support.errors import UserError
from tests.diffusion.checkpoints import logits_of, make
from tests.diffusion.decodes import canvas, decoder, order, requests
from tests.diffusion.layouts import BLOCK, BLOCK_CAUSAL

FINISHED = CacheSettings(kind=CachedPositions.FINISHED)
RULES: tuple[tuple[Rule, int], ...] = (
    (FastDllm(threshold=0.03, block=BLOCK), 0),
    (EntropyThreshold(block=BLOCK), 0),
    (Blockwise(block=BLOCK), 23),
    (Blockwise(block=BLOCK), 9),
    (Blockwise(block=BLOCK, is_random=True), 12),
    (ArOrder(), 8),
)


@pytest.fixture(scope="module", params=BLOCK_CAUSAL)
def dlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dlm:
    return decoder(request.param, tmp_path_factory.mktemp("model"))


def committed(row: Decoded) -> list[tuple[int, int, int]]:
    return sorted(order(row))


@torch.no_grad()
def plain(dlm: Dlm, layout: CanvasLayout, request: Request, threshold: float | None) -> Any:
    """One row, block after block; one token a step if there is no threshold."""
    row = layout.lay(request.prompt, [np.zeros(0, np.int32)] * len(layout.slots))
    ids = torch.from_numpy(np.where(row.answer_T, dlm.mask_id, row.ids_T).astype(np.int64))
    begin, step, commits = len(ids) - layout.tokens, 0, []
    for start in range(0, len(ids), BLOCK):
        while left := [
            at for at in range(start, min(start + BLOCK, len(ids))) if ids[at] == dlm.mask_id
        ]:
            seen = ids[: start + BLOCK]  # no position sees what comes behind its block
            logits = logits_of(dlm.denoiser, seen[None], torch.arange(len(seen))).float()
            logits[:, dlm.mask_id] = -torch.inf
            best = logits.softmax(-1).max(-1)
            left.sort(key=lambda at: (-float(best.values[at]), at))
            more = [at for at in left[1:] if threshold and float(best.values[at]) > threshold]
            for at in (left[0], *more):
                ids[at] = best.indices[at]
                commits.append((step, at - begin, int(ids[at])))
            step += 1
    return sorted(commits)


@pytest.mark.parametrize("caching", [None, FINISHED])
def test_rows_decode_block_by_block_as_they_do_alone(
    dlm: Dlm, caching: CacheSettings | None
) -> None:
    layout, asked = canvas(dlm), requests(dlm)
    assert len({len(request.prompt) % BLOCK for request in asked}) > 1
    assert any(layout.headers)
    for rule, steps, threshold in (
        (FastDllm(threshold=0.03, block=BLOCK), 0, 0.03),
        (Blockwise(block=BLOCK), layout.masks, None),
    ):
        together = decode(dlm, layout, asked, rule, steps=steps, caching=caching)
        for request, row in zip(asked, together, strict=True):
            assert committed(row) == plain(dlm, layout, request, threshold)
            assert row.nfe == 1 + max(one.step for one in row.commits)


@pytest.mark.parametrize(("rule", "steps"), RULES)
def test_the_cache_of_finished_blocks_is_exact(dlm: Dlm, rule: Rule, steps: int) -> None:
    layout, asked = canvas(dlm), requests(dlm)
    sampling = Sampling(temperature=0.7, seed=3)
    for chosen in (None, sampling):
        exact, kept = (
            decode(dlm, layout, asked, rule, steps=steps, sampling=chosen, caching=caching)
            for caching in (None, FINISHED)
        )
        for one, other in zip(exact, kept, strict=True):
            assert committed(one) == committed(other)
            assert one.nfe == other.nfe
            assert len(one.commits) == layout.masks
            pairs = zip(one.commits, other.commits, strict=True)
            assert max(abs(a.confidence - b.confidence) for a, b in pairs) < 1e-5


@pytest.mark.parametrize(("rule", "steps"), RULES)
def test_no_step_reaches_into_a_block_behind_an_unfinished_one(
    dlm: Dlm, rule: Rule, steps: int
) -> None:
    layout, asked = canvas(dlm), requests(dlm)
    for request, row in zip(
        asked, decode(dlm, layout, asked, rule, steps=steps, caching=FINISHED), strict=True
    ):
        blocks = [
            {(len(request.prompt) + one.position) // BLOCK for one in row.commits if one.step == n}
            for n in range(row.nfe)
        ]
        assert all(len(block) == 1 for block in blocks)
        order = [next(iter(block)) for block in blocks]
        assert order == sorted(order)
        assert steps <= row.nfe <= steps + len(set(order)) or not steps


@contextmanager
def passes(dlm: Dlm) -> Iterator[list[int]]:
    """The number of tokens of every forward pass inside."""
    counts: list[int] = []

    def count(_module: Any, _arguments: Any, named: dict[str, Tensor]) -> None:
        counts.append(named["input_ids"].numel())

    hook = dlm.denoiser.net.register_forward_pre_hook(count, with_kwargs=True)
    yield counts
    hook.remove()


def test_only_what_is_new_is_computed(dlm: Dlm) -> None:
    layout = CanvasLayout(headers=((),), slots=(18,), fill_id=dlm.fill_id)
    prompt = np.arange(5, 27, dtype=np.int32)  # 22 tokens: the answer ends with a block
    rule = Blockwise(block=BLOCK)
    with passes(dlm) as counts:
        decode(dlm, layout, [Request("x", prompt)], rule, steps=18, caching=FINISHED)
    back = int(dlm.denoiser.shift)
    inside = [BLOCK + back] * (BLOCK - 1)
    later = [2 * BLOCK, *inside]
    assert counts == [24, BLOCK + back, *later, *later, *later, *later]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Confidence(), "this rule has no blocks; take blockwise, fast_dllm or entropy_threshold"),
        (Remdm(block=BLOCK), "this rule takes tokens back; take blockwise"),
        (Prophet(block=BLOCK), "this rule looks at the answer first; take blockwise"),
        (RandomOrder(), "this rule has no blocks"),
        (ParallelForced(), "this rule has no blocks"),
        (Blockwise(block=8), f"this rule has blocks of 8; give it block: {BLOCK}"),
        (EntropyThreshold(), f"this rule has blocks of 32; give it block: {BLOCK}"),
        (FastDllm(), f"this rule has blocks of 32; give it block: {BLOCK}"),
    ],
)
def test_rules_with_other_blocks_are_refused(
    dlm: Dlm, rule: Rule, said: str, tmp_path: Path
) -> None:
    begin = f"rule: this model is decoded in blocks of {BLOCK} tokens, and "
    layout, asked = canvas(dlm), requests(dlm)
    with pytest.raises(ValueError, match=f"^{begin}{said}"):
        decode(dlm, layout, asked, rule, steps=4)
    with pytest.raises(UserError, match=rf"^x\.{begin}{said}"):
        answers(
            dlm,
            layout,
            asked,
            rule,
            steps=4,
            sampling=Sampling(),
            precision=Precision.FLOAT32,
            where="x",
        )


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_caches_that_are_not_exact_are_refused(dlm: Dlm, kind: CachedPositions) -> None:
    with pytest.raises(ValueError, match=rf"^cache: {kind} is of models that see the whole row"):
        decode(
            dlm,
            canvas(dlm),
            requests(dlm),
            Blockwise(block=BLOCK),
            steps=4,
            caching=CacheSettings(kind=kind),
        )


def test_an_evaluation_says_so_before_it_decodes_anything(tmp_path: Path) -> None:
    model = ModelReference(path=str(make("sdar", tmp_path / "sdar")))
    good = System(name="good", model=model, form=Form.LONG_COT, rule={"kind": "ar_order"})
    cases: tuple[tuple[Part, CacheSettings | None, str], ...] = (
        ({"kind": "confidence"}, None, r"systems\.bad\.rule: this model is decoded in blocks"),
        ({"kind": "ar_order"}, CacheSettings(kind=CachedPositions.PROMPT), r"bad\.cache: prompt"),
    )
    for rule, cache, said in cases:
        bad = System(name="bad", model=model, form=Form.LONG_COT, rule=dict(rule), cache=cache)
        evaluation = Evaluation(
            name="x",
            benchmark={"kind": "tiny"},
            systems=(good, bad),
            steps=(4,),
            masks=16,
            limit=1,
        )
        with pytest.raises(UserError, match=said):
            evaluate_cells(evaluation, tmp_path / "run", say=lambda _: None)
        assert not (tmp_path / "run").exists()


def test_an_evaluation_of_a_block_causal_model(tmp_path: Path) -> None:
    model = ModelReference(path=str(make("llada2", tmp_path / "llada2")))
    evaluation = Evaluation(
        name="x",
        benchmark={"kind": "tiny"},
        systems=tuple(
            System(
                name=name,
                model=model,
                form=Form.LONG_COT,
                rule={"kind": "blockwise", "block": BLOCK},
                cache=cache,
            )
            for name, cache in (("exact", None), ("kept", FINISHED))
        ),
        steps=(8,),
        masks=16,
        limit=3,
        precision=Precision.FLOAT32,
    )
    exact, kept = evaluate_cells(evaluation, tmp_path / "run", say=lambda _: None)
    assert exact.nfe == kept.nfe >= 8
    assert exact.arness == kept.arness
