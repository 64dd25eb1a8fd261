"""Paths shuffled at every step: text, masks, seeds and processes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffusion import models
from diffusion.data import corpus
from diffusion.data.canvas_layouts import CanvasLayouts
from diffusion.data.layout import Form, layout_of
from diffusion.settings import Settings
from diffusion.training.collate import collate, mask_step, pieces
from diffusion.training.objective import draw_order
from diffusion.training.train import fine_tune
from tests.diffusion.checkpoints import small_training


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return small_training(tmp_path)


def test_a_path_moves_with_its_number_and_the_summary_stays(settings: Settings) -> None:
    dlm = models.load_model(settings.model.path)
    layout = layout_of(
        dlm.tokenizer, dlm.fill_id, form=Form.CANVAS, paths=3, slot_tokens=30, summary_tokens=12
    )
    rows = list(corpus.rows(Path(settings.corpus), "train"))
    instances = corpus.encode_rows(
        iter(rows),
        layout,
        dlm.tokenizer,
        form=Form.CANVAS,
        paths=3,
        context=None,
        mask_id=dlm.mask_id,
    ).instances
    orders = CanvasLayouts(dlm.tokenizer, layout)
    assert orders.ordered(instances[0], [0, 1, 2]) == (instances[0], layout)
    moved, other = orders.ordered(instances[0], [2, 0, 1])
    row = other.lay(moved.prompt, moved.texts)
    answer = row.ids_T[len(moved.prompt) :]
    shown = answer[answer != dlm.fill_id]
    one, two, three = rows[0].paths[:3]
    assert dlm.tokenizer.decode(shown) == (
        f"<think 3>\n{three}\n</think 3>\n<think 1>\n{one}\n</think 1>\n<think 2>\n{two}"
        f"\n</think 2>\n<summary>\n{rows[0].summary}"
    )
    assert orders.tokens_more(is_shuffled=True) >= len(row.ids_T) - instances[0].tokens(layout)
    step = mask_step(instances, layout, 0, 3, orders, is_shuffled=True)
    assert [one.mask_L.tolist() for one in step] == [
        one.mask_L.tolist() for one in mask_step(instances, layout, 0, 3)
    ]
    for most_tokens, processes in ((1, 1), (10_000, 1), (500, 3)):  # the same rows in any piece
        found = {
            one.instance.id: batch.ids_BT[b][: one.instance.tokens(layout)].tolist()
            for piece in pieces(step, layout, most_tokens, processes)
            for batch in [collate(piece, layout, dlm.mask_id)]
            for b, one in enumerate(piece)
        }
        if most_tokens == 1:
            first = found
        assert found == first
    assert {tuple(draw_order(3, 0, 0, number)) for number in range(60)} == {
        *((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    }


def test_a_training_with_shuffled_paths_is_seeded_and_another_one(
    settings: Settings, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    shuffled = replace(settings, shuffle_paths=True)
    assert settings.digest() != shuffled.digest()
    for name, chosen in (("plain", settings), ("a", shuffled), ("b", shuffled)):
        fine_tune(chosen, tmp_path / name)
    plain, a, b = (
        (tmp_path / name / "training.jsonl").read_bytes() for name in ("plain", "a", "b")
    )
    assert a == b != plain


def test_a_text_without_paths_has_none_to_shuffle(settings: Settings) -> None:
    with pytest.raises(ValueError, match="shuffle_paths: form long_cot has one text"):
        replace(settings, shuffle_paths=True, form=Form.LONG_COT)
