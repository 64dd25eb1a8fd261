"""Training of block-causal models: the clean copy beside the noised one, against block by block."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from diffusion import models
from diffusion.data import corpus as corpora
from diffusion.data.corpus import Instance
from diffusion.data.layout import CanvasLayout, Form, layout_of
from diffusion.models.network.attention import (
    block_causal,
    block_diffusion,
    dense_mask,
    flex_mask,
)
from diffusion.models.network.denoiser import Dlm
from diffusion.settings import Attention, ModelReference, Precision, Settings
from diffusion.training.collate import Masked, collate, mask_step, pieces
from diffusion.training.estimate import estimate
from diffusion.training.train import fine_tune
from support.errors import UserError
from tests.diffusion.checkpoints import copy_with, make, weights_of, write_corpus
from tests.diffusion.layouts import BLOCK, BLOCK_CAUSAL


def tiny(folder: Path, kind: str = "sdar") -> Settings:
    return Settings(
        name="small",
        model=ModelReference(path=str(make(kind, folder / "model"))),
        corpus=str(write_corpus(folder / "corpus", rows=8, validation=2)),
        slot_tokens=30,
        summary_tokens=12,
        epochs=2,
        batch=4,
        learning_rate=1e-3,
        precision=Precision.FLOAT32,
        micro_tokens=800,
    )


def data(dlm: Dlm, folder: Path, form: Form) -> tuple[CanvasLayout, list[Masked]]:
    layout = layout_of(
        dlm.tokenizer, dlm.fill_id, form=form, paths=2, slot_tokens=22, summary_tokens=7
    )
    rows = corpora.rows(write_corpus(folder / "corpus", rows=5, validation=1), "train")
    found = corpora.encode_rows(
        rows, layout, dlm.tokenizer, form=form, paths=2, context=512, mask_id=dlm.mask_id
    )
    instances: list[Instance] = list(found.instances)
    assert len(instances) >= 3
    assert len({len(one.prompt) % BLOCK for one in instances}) > 1
    return layout, mask_step(instances, layout, seed=3, step=7)


def block_by_block(
    dlm: Dlm, layout: CanvasLayout, step: list[Masked]
) -> tuple[float, list[Tensor]]:
    """The loss and its gradients, with a pass for every block behind the clean blocks before it."""
    net = models.families()[dlm.family].build(
        dlm.folder, models.read_config(dlm.folder), next(dlm.denoiser.parameters()).dtype, False
    )
    head = net.get_output_embeddings()
    total = torch.zeros((), dtype=torch.float64)
    for one in step:
        row = layout.lay(one.instance.prompt, one.instance.texts)
        clean_T = torch.from_numpy(row.ids_T).long()
        hidden = torch.from_numpy(row.answer_T).nonzero().squeeze(1)[one.mask_L]
        for begin in range(0, len(clean_T), BLOCK):
            here = hidden[(hidden >= begin) & (hidden < begin + BLOCK)]
            if not len(here):
                continue
            ids = clean_T[: begin + BLOCK].clone()
            ids[here] = dlm.mask_id
            at = torch.arange(len(ids))
            seen = block_causal(at[:, None], at, BLOCK)[None, None]
            states = net.base_model(input_ids=ids[None], attention_mask=seen).last_hidden_state[0]
            read = here - int(dlm.denoiser.shift)
            log_p = head(states[read]).log_softmax(-1)
            nats = -log_p.gather(1, clean_T[here, None]).sum()
            total = total + nats / one.p / layout.masks / len(step)
    total.backward()
    return float(total.detach()), [parameter.grad for parameter in net.parameters()]


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("kind", BLOCK_CAUSAL)
def test_one_pass_gives_the_loss_and_gradients_of_a_pass_a_block(
    kind: str, form: Form, tmp_path: Path
) -> None:
    folder = make(kind, tmp_path / "model")
    is_mixture = kind in ("sdar_moe", "llada2")  # transformers' experts take no float64
    dlm = models.load_model(str(folder), dtype=torch.float32 if is_mixture else torch.float64)
    layout, step = data(dlm, tmp_path, form)
    expected, gradients = block_by_block(dlm, layout, step)
    for most_tokens in (1, 10_000):
        dlm.denoiser.zero_grad()
        total = 0.0
        for piece in pieces(step, layout, most_tokens, 1):
            part, _ = dlm.denoiser(*collate(piece, layout, dlm.mask_id).inputs)
            part.backward()
            total += float(part.detach())
        assert total == pytest.approx(expected, rel=1e-5)
        found = [parameter.grad for parameter in dlm.denoiser.net.parameters()]
        for one, other in zip(found, gradients, strict=True):
            if one is None or other is None:
                assert (one is None or not one.any()) and (other is None or not other.any())
            else:
                # transformers computes norms in float32 whatever the type of the model
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 if is_mixture else 1e-7)


def test_the_mask_is_that_of_block_diffusion() -> None:
    """Written out for two blocks of two tokens: noised rows first, then clean ones."""
    at = torch.arange(8)
    expected = """
        11000000
        11000000
        00111100
        00111100
        00001100
        00001100
        00001111
        00001111
    """
    wanted = [[digit == "1" for digit in line] for line in expected.split()]
    assert block_diffusion(at[:, None], at, 4, 2).tolist() == wanted


def test_flex_attention_and_the_dense_mask_give_the_same() -> None:
    torch.manual_seed(0)
    lengths_B, tokens = torch.tensor([37, 22]), 37
    query, key, value = (
        torch.randn(2, heads, 2 * tokens, 16, dtype=torch.float32) for heads in (4, 2, 2)
    )
    mask = dense_mask(lengths_B, tokens, BLOCK)
    dense = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, enable_gqa=True
    )
    flex = flex_attention(
        query, key, value, block_mask=flex_mask(lengths_B, tokens, BLOCK), enable_gqa=True
    )
    assert isinstance(flex, Tensor)
    torch.testing.assert_close(flex, dense, rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("kind", BLOCK_CAUSAL)
def test_a_model_gives_the_same_losses_with_flex_attention(kind: str, tmp_path: Path) -> None:
    dlm = models.load_model(str(make(kind, tmp_path / "model")))
    layout, step = data(dlm, tmp_path, Form.CANVAS)
    inputs = collate(step, layout, dlm.mask_id).inputs
    dense = dlm.denoiser(*inputs).nats_R
    dlm.denoiser.uses_flex = True
    torch.testing.assert_close(dlm.denoiser(*inputs).nats_R, dense, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="FlexAttention trains on a GPU alone")
def test_flex_attention_gives_the_gradients_of_the_dense_mask(tmp_path: Path) -> None:
    found = []
    for uses_flex in (False, True):
        dlm = models.load_model(str(make("sdar", tmp_path / "model")), device="cuda")
        dlm.denoiser.uses_flex = uses_flex
        layout, step = data(dlm, tmp_path, Form.CANVAS)
        batch = collate(step, layout, dlm.mask_id).to(torch.device("cuda"))
        dlm.denoiser(*batch.inputs).total.backward()
        found.append([parameter.grad for parameter in dlm.denoiser.net.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("kind", ["sdar", "fast_dllm_v2"])
def test_a_block_causal_model_learns_a_tiny_corpus(kind: str, form: Form, tmp_path: Path) -> None:
    settings = replace(
        tiny(tmp_path, kind),
        form=form,
        paths=2,
        limit=2,
        batch=2,
        epochs=40,
        learning_rate=1e-2,
        validation=0,
        checkpoint_every=0,
    )
    fine_tune(settings, tmp_path / "run")
    steps = [json.loads(one) for one in (tmp_path / "run" / "training.jsonl").open()]
    content = [one["content_nats"] for one in steps]
    assert sum(content[-5:]) < 0.5 * sum(content[:5])


@pytest.mark.parametrize("kind", BLOCK_CAUSAL)
def test_every_block_causal_family_is_trained_and_saved(kind: str, tmp_path: Path) -> None:
    settings = replace(
        tiny(tmp_path, kind),
        epochs=1,
        precision=Precision.BFLOAT16,
        gradient_checkpointing=True,
    )
    summary = fine_tune(settings, tmp_path / "run")
    assert summary.validation is not None
    before, after = weights_of(tmp_path / "model"), weights_of(tmp_path / "run" / "model")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert models.load_model(str(tmp_path / "run" / "model")).denoiser.block == BLOCK


def test_an_estimate_counts_both_copies(tmp_path: Path) -> None:
    settings = tiny(tmp_path)
    blocks = estimate(settings, 1, None)
    config = {"model_type": "a2d-qwen3", "architectures": ["A2DQwen3LMHeadModel"]}
    whole = copy_with(tmp_path / "model", tmp_path / "whole", block_size=None, **config)
    once = estimate(replace(settings, model=ModelReference(path=str(whole))), 1, None)
    assert blocks.tokens == once.tokens
    assert 1.9 * once.flops < blocks.flops < 3 * once.flops


def test_flex_attention_is_refused_where_it_cannot_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = replace(tiny(tmp_path), attention=Attention.FLEX)
    with pytest.raises(UserError, match="attention: flex needs a GPU"):
        fine_tune(settings, tmp_path / "run")
    full = replace(settings, model=ModelReference(path=str(make("llada", tmp_path / "full"))))
    with pytest.raises(UserError, match="attention: flex is for block-causal models"):
        estimate(full, 1, None)


def test_a_new_key_at_its_default_is_no_other_training(tmp_path: Path) -> None:
    """The digest is the one that a version without the key computed."""
    settings = replace(tiny(tmp_path), model=ModelReference(path="m"), corpus="c")
    assert settings.digest() == "21f6797099809c84"
    assert replace(settings, attention=Attention.FLEX).digest() != settings.digest()
