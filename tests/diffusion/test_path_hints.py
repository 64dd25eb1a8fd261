"""Hints in the headers of paths: the same in training and decoding, never masked, drawn by seed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffusion.data import corpus
from diffusion.data.canvas_layouts import CanvasLayouts
from diffusion.data.corpus import Encoded, ReleasedRow
from diffusion.data.layout import Form, encode
from diffusion.data.path_hints import hint_of
from diffusion.models.network.denoiser import Dlm
from diffusion.settings import ModelReference, Settings
from diffusion.training.collate import collate, mask_step, pieces
from diffusion.training.estimate import estimate
from diffusion.training.prepared import prepare
from diffusion.training.train import fine_tune
from tests.diffusion.checkpoints import make, small_training
from tests.diffusion.decodes import canvas, decoder

HINTS = ("Go", "Go step by step.", "We need 2.")
TEXTS = ("Go step by step.\n2 + 3", "Go on: 5", "It is 5.")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return small_training(tmp_path)


@pytest.fixture
def dlm(tmp_path: Path) -> Dlm:
    return decoder("llada", tmp_path / "model")


def encoded(dlm: Dlm, rows: Sequence[ReleasedRow], hints: Sequence[str], **more: Any) -> Encoded:
    return corpus.encode_rows(
        iter(rows),
        canvas(dlm, paths=3, slot_tokens=30),
        dlm.tokenizer,
        form=Form.CANVAS,
        paths=3,
        mask_id=dlm.mask_id,
        hints=hints,
        **({"context": None} | more),
    )


def test_a_path_has_the_longest_hint_with_which_it_begins() -> None:
    assert [hint_of(text, HINTS) for text in TEXTS] == ["Go step by step.", "Go", ""]
    assert hint_of(TEXTS[0], HINTS[:1]) == "Go"
    assert hint_of(f" {TEXTS[0]}", HINTS) == "", "it begins with another character"
    assert hint_of(TEXTS[0], ()) == ""


def test_headers_show_hints_and_texts_stay_whole(dlm: Dlm) -> None:
    row = ReleasedRow("a", "What is 2 + 3?", TEXTS, "5")
    (instance,) = encoded(dlm, [row], HINTS).instances
    (plain,) = encoded(dlm, [row], ()).instances
    assert plain.hints == ()
    assert instance.hints == ("Go step by step.", "Go", "")
    assert all(map(np.array_equal, instance.texts, plain.texts)), "texts repeat their hints"
    layouts = CanvasLayouts(dlm.tokenizer, canvas(dlm, paths=3, slot_tokens=30))
    layout = layouts.layout(instance.hints)
    headers = [
        "<think 1>\nGo step by step.\n",
        "\n</think 1>\n<think 2>\nGo\n",
        "\n</think 2>\n<think 3>\n",
        "\n</think 3>\n<summary>\n",
    ]
    assert layout.headers == tuple(tuple(encode(dlm.tokenizer, one).tolist()) for one in headers)
    answer = layout.lay(instance.prompt, instance.texts).ids_T[len(instance.prompt) :]
    assert dlm.tokenizer.decode(answer[answer != dlm.fill_id]) == "".join(
        header + text for header, text in zip(headers, (*TEXTS, "5"), strict=True)
    )
    moved, other = layouts.ordered(instance, [2, 0, 1])
    assert moved.hints == ("", *instance.hints[:2]), "a hint moves with its path"
    answer = other.lay(moved.prompt, moved.texts).ids_T[len(moved.prompt) :]
    assert dlm.tokenizer.decode(answer[answer != dlm.fill_id]) == (
        f"<think 3>\n{TEXTS[2]}\n</think 3>\n<think 1>\nGo step by step.\n{TEXTS[0]}\n</think 1>\n"
        f"<think 2>\nGo\n{TEXTS[1]}\n</think 2>\n<summary>\n5"
    )
    assert layouts.layout(()) == layouts.layout(("", "", "")) == canvas(dlm, 3, slot_tokens=30)


@pytest.mark.parametrize("is_shuffled", [False, True])
def test_rows_of_several_lengths_have_their_masks_in_slots_alone(
    dlm: Dlm, is_shuffled: bool
) -> None:
    rows = [
        ReleasedRow(f"{n}{back}", "Why?" * n, TEXTS[::-1] if back else TEXTS, "5")
        for n in range(3)
        for back in (False, True)
    ]
    rows.append(ReleasedRow("none", "Why?", ("1", "2", "3"), "3"))
    instances = encoded(dlm, rows, HINTS).instances
    layout = canvas(dlm, paths=3, slot_tokens=30)
    layouts = CanvasLayouts(dlm.tokenizer, layout)
    step = mask_step(instances, layout, 0, 3, layouts, is_shuffled=is_shuffled)
    plain = mask_step(instances, layout, 0, 3)
    assert [one.mask_L.tolist() for one in step] == [one.mask_L.tolist() for one in plain]
    assert [one.weight for one in step] == [one.weight for one in plain]
    more = layouts.tokens_more(HINTS, is_shuffled=is_shuffled)
    found = []
    for most_tokens, processes in ((1, 1), (10_000, 1), (500, 3)):  # the same rows in any piece
        cut = pieces(step, layout, most_tokens, processes)
        assert all(len(p) * p[0].tokens(layout) <= most_tokens for p in cut if len(p) > 1)
        seen = {}
        for piece in cut:
            batch = collate(piece, layout, dlm.mask_id)
            whole = batch.ids_BT.clone()
            whole.view(-1)[batch.positions_R] = batch.targets_R
            for b, one in enumerate(piece):
                assert one.layout is not None
                row = one.layout.lay(one.instance.prompt, one.instance.texts)
                assert len(row.ids_T) == one.tokens(layout)
                assert one.instance.tokens(layout) <= len(row.ids_T)
                assert len(row.ids_T) <= one.instance.tokens(layout) + more
                tokens = len(row.ids_T)
                assert whole[b, :tokens].tolist() == row.ids_T.tolist(), "headers are not masked"
                masked = (batch.positions_R[batch.rows_R == b] - b * len(whole[b])).tolist()
                assert masked == np.flatnonzero(row.answer_T)[one.mask_L.numpy()].tolist()
                seen[one.instance.id] = batch.ids_BT[b, :tokens].tolist()
        assert len(seen) == len(rows)
        found.append(seen)
    assert found[0] == found[1] == found[2]


def test_the_context_counts_the_longest_header(dlm: Dlm) -> None:
    row = ReleasedRow("a", "Why?", ("1", "2", "3"), "3")
    layout = canvas(dlm, paths=3, slot_tokens=30)
    more = CanvasLayouts(dlm.tokenizer, layout).tokens_more(HINTS)
    longest = [
        encode(dlm.tokenizer, f"\n</think {j}>\n<think {j + 1}>\n{HINTS[1]}\n") for j in (1, 2)
    ]
    first = encode(dlm.tokenizer, f"<think 1>\n{HINTS[1]}\n")
    last = layout.headers[-1]
    assert more == len(first) + sum(map(len, longest)) + len(last) - layout.header_tokens
    (instance,) = encoded(dlm, [row], HINTS).instances
    fits = instance.tokens(layout) + more
    assert encoded(dlm, [row], HINTS, tokens_more=more, context=fits).instances
    (refusal,) = encoded(dlm, [row], HINTS, tokens_more=more, context=fits - 1).refused
    assert refusal.reason == "exceeds_context"
    assert f"answer of {layout.tokens + more} tokens, the model sees {fits - 1}" in refusal.detail


def test_a_training_with_hints_is_seeded_and_another_one(
    settings: Settings, tmp_path: Path
) -> None:
    hinted = replace(settings, path_hints=tuple(f"{n} +" for n in range(3, 12)))
    assert replace(settings, path_hints=()).digest() == settings.digest() != hinted.digest()
    ready = prepare(hinted)
    found = {hint for one in ready.train.instances for hint in one.hints}
    assert "" in found and len(found) > 3
    assert any(one.hints[0] for one in ready.validation.instances), "validation shows them, too"
    assert estimate(hinted, 1, None).tokens > estimate(settings, 1, None).tokens
    said: list[str] = []
    for name, chosen in (("plain", settings), ("a", hinted), ("b", hinted)):
        fine_tune(chosen, tmp_path / name, say=said.append)
    assert sum("paths begin with a hint" in one for one in said) == 2
    for file in ("training.jsonl", "validation.jsonl"):
        plain, a, b = ((tmp_path / name / file).read_bytes() for name in ("plain", "a", "b"))
        assert a == b != plain
    fine_tune(replace(hinted, shuffle_paths=True), tmp_path / "both")


def test_a_block_causal_model_is_trained_with_hints(settings: Settings, tmp_path: Path) -> None:
    model = ModelReference(path=str(make("sdar", tmp_path / "sdar")))
    hints = tuple(f"{n} +" for n in range(3, 12))
    cut, whole = (
        fine_tune(
            replace(settings, model=model, path_hints=hints, micro_tokens=tokens),
            tmp_path / f"{tokens}",
            say=lambda _: None,
        )
        for tokens in (1, 16384)
    )
    assert cut.loss == pytest.approx(whole.loss, rel=1e-5), "padding changes nothing"


def test_digests_of_recipes_without_hints_are_those_of_earlier_versions() -> None:
    settings = Settings(name="a", model=ModelReference(path="m"), corpus="c")
    assert settings.digest() == "a77a19a62a88f5cb"


@pytest.mark.parametrize(
    ("hints", "message"),
    [
        (("Go", " "), r"path_hints\.1: blank"),
        (("Go", "Go"), r"path_hints\.1: 'Go' stands there twice"),
        (("<think 2>",), r"path_hints\.0: '<think 2>' contains the canvas marker '<think 2>'"),
    ],
)
def test_hints_that_cannot_be_used_are_refused(
    settings: Settings, hints: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        replace(settings, path_hints=hints)
    with pytest.raises(ValueError, match="path_hints: form long_cot has one text without paths"):
        replace(settings, path_hints=("Go",), form=Form.LONG_COT)
