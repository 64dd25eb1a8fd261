"""The objective against METHOD section 4 written out in float64, for every family."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffusion import models
from diffusion.data import corpus
from diffusion.data.corpus import Instance
from diffusion.data.layout import CanvasLayout, Form, layout_of
from diffusion.models.network.denoiser import Dlm
from diffusion.training.collate import Masked, Schedule, collate, mask_step, pieces
from diffusion.training.objective import EPSILON, draw_mask, mask_probabilities
from tests.diffusion.checkpoints import FAMILIES, make, write_corpus
from tests.diffusion.layouts import A2D


@pytest.fixture(params=(*FAMILIES, *A2D))
def dlm(request: pytest.FixtureRequest, tmp_path: Path) -> Dlm:
    return models.load_model(str(make(str(request.param), tmp_path / "model")), dtype=torch.float64)


def data(dlm: Dlm, folder: Path, form: Form, rows: int = 5) -> tuple[CanvasLayout, list[Instance]]:
    layout = layout_of(
        dlm.tokenizer, dlm.fill_id, form=form, paths=3, slot_tokens=30, summary_tokens=12
    )
    release = write_corpus(folder, rows=rows, validation=1)
    encoded = corpus.encode_rows(
        corpus.rows(release, "train"),
        layout,
        dlm.tokenizer,
        form=form,
        paths=3,
        context=dlm.context,
        mask_id=dlm.mask_id,
    )
    assert not encoded.refused
    return layout, list(encoded.instances)


def reference(
    dlm: Dlm, layout: CanvasLayout, masked: list[Masked], *, shift: bool
) -> tuple[Tensor, list[Tensor]]:
    """`1/B sum_b 1/L_b sum_masked CE / p_b` with whole [T, V] logits, row by row, and autograd."""
    net = models.families()[dlm.family].build(
        dlm.folder, models.read_config(dlm.folder), torch.float64, False
    )
    total = torch.zeros((), dtype=torch.float64)
    for m in masked:
        row = layout.lay(m.instance.prompt, m.instance.texts)
        target_T = torch.from_numpy(row.ids_T).long()
        answer = torch.from_numpy(row.answer_T).nonzero().squeeze(1)
        hidden = answer[m.mask_L]
        noisy_T = target_T.clone()
        noisy_T[hidden] = dlm.mask_id
        logits_TV = net(input_ids=noisy_T[None]).logits[0]
        if shift:
            logits_TV = torch.cat([logits_TV[:1], logits_TV[:-1]])
        log_p = logits_TV.log_softmax(-1)
        nats = -log_p[hidden, target_T[hidden]]
        total = total + nats.sum() / m.p / len(answer) / len(masked)
    total.backward()
    return total.detach(), [p.grad for p in net.parameters()]


def ours(
    dlm: Dlm, layout: CanvasLayout, masked: list[Masked], most_tokens: int, processes: int = 1
) -> tuple[Tensor, list[Tensor]]:
    total = torch.zeros((), dtype=torch.float64)
    for piece in pieces(masked, layout, most_tokens, processes):
        b = collate(piece, layout, dlm.mask_id)
        part = dlm.denoiser(
            b.ids_BT, b.positions_R, b.targets_R, b.weights_R, b.attention_mask_BT
        ).total
        part.backward()
        total += part.detach()
    return total, [p.grad for p in dlm.denoiser.net.parameters()]


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("most_tokens", [1, 400, 10_000])
def test_loss_and_gradient_are_those_of_the_formula(
    dlm: Dlm, form: Form, most_tokens: int, tmp_path: Path
) -> None:
    layout, instances = data(dlm, tmp_path, form)
    masked = mask_step(instances, layout, seed=3, step=7)
    expected, gradients = reference(dlm, layout, masked, shift=dlm.family == "dream")
    total, found = ours(dlm, layout, masked, most_tokens)
    torch.testing.assert_close(total, expected, rtol=1e-10, atol=1e-12)
    assert len(found) == len(gradients)
    for one, other in zip(found, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-11)


def test_a_dropped_or_added_shift_is_noticed(dlm: Dlm, tmp_path: Path) -> None:
    layout, instances = data(dlm, tmp_path, Form.CANVAS)
    masked = mask_step(instances, layout, seed=3, step=7)
    wrong, _ = reference(dlm, layout, masked, shift=dlm.family != "dream")
    total, _ = ours(dlm, layout, masked, 10_000)
    assert abs(float(total - wrong)) > 1e-3


def test_more_pieces_and_processes_change_nothing_but_rounding(dlm: Dlm, tmp_path: Path) -> None:
    layout, instances = data(dlm, tmp_path, Form.CANVAS)
    masked = mask_step(instances, layout, seed=0, step=0)
    one, first = ours(dlm, layout, masked, 10_000)
    first = [gradient.clone() for gradient in first]
    dlm.denoiser.zero_grad()
    many, second = ours(dlm, layout, masked, 10_000, processes=8)  # more processes than rows
    torch.testing.assert_close(one, many, rtol=1e-12, atol=0)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-13)


def test_a_step_without_a_masked_token_is_zero_and_has_zero_gradients(
    dlm: Dlm, tmp_path: Path
) -> None:
    layout, instances = data(dlm, tmp_path, Form.CANVAS, rows=2)
    unmasked = [
        Masked(instance=i, mask_L=torch.zeros(layout.masks, dtype=torch.bool), p=0.001, weight=1.0)
        for i in instances
    ]
    total, gradients = ours(dlm, layout, unmasked, 10_000)
    assert float(total) == 0.0
    assert all(g is None or not g.any() for g in gradients)


def test_only_slots_are_masked_and_fill_is_part_of_the_target(dlm: Dlm, tmp_path: Path) -> None:
    layout, instances = data(dlm, tmp_path, Form.CANVAS, rows=1)
    (instance,) = instances
    full = Masked(
        instance=instance, mask_L=torch.ones(layout.masks, dtype=torch.bool), p=1.0, weight=1.0
    )
    b = collate([full], layout, dlm.mask_id)
    row = layout.lay(instance.prompt, instance.texts)
    assert len(b.positions_R) == layout.masks == 102
    assert int(b.is_content_R.sum()) == instance.content_tokens
    kept = dlm.tokenizer.decode(b.ids_BT[0][b.ids_BT[0] != dlm.mask_id])
    assert kept.endswith(
        "<think 1>\n\n</think 1>\n<think 2>\n\n</think 2>\n<think 3>\n\n</think 3>\n<summary>\n"
    )
    assert set(b.targets_R[~b.is_content_R].tolist()) == {dlm.fill_id}
    assert b.targets_R.tolist() == row.ids_T[row.answer_T].tolist()


def test_ratios_are_stratified_and_masks_are_never_the_same() -> None:
    p_B = mask_probabilities(64, seed=0, step=5)
    places = ((p_B.sort().values - EPSILON) / (1 - EPSILON) * 64).floor().long()
    assert places.tolist() == list(range(64))
    assert torch.equal(p_B, mask_probabilities(64, seed=0, step=5))
    assert not torch.equal(p_B, mask_probabilities(64, seed=0, step=6))
    drawn = {
        tuple(draw_mask(200, 0.5, seed, step, instance).tolist())
        for seed in range(3)
        for step in range(3)
        for instance in range(8)
    }
    assert len(drawn) == 72
    share = torch.stack([draw_mask(1000, 0.3, 0, 0, i) for i in range(50)]).double().mean()
    assert abs(float(share) - 0.3) < 0.01


def test_every_epoch_holds_every_instance_once() -> None:
    schedule = Schedule(count=23, batch=5, epochs=3, seed=1)
    batches = list(schedule.batches())
    assert len(batches) == schedule.steps == 15
    for epoch in range(3):
        seen = [i for batch in batches[5 * epoch : 5 * epoch + 5] for i in batch]
        assert sorted(seen) == list(range(23))
    assert batches[0] != batches[5]
    for start in range(16):
        assert list(schedule.batches(start)) == batches[start:]
