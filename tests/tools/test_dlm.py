"""The tiny DLM: its training can be entered anywhere; the committed weights load as a model."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from diffusion import models
from tools.tiny import train_dlm
from tools.tiny.train_dlm import (
    CANVAS_ROW,
    ROW,
    TEACHER,
    DlmSettings,
    batches,
    learning_rate,
    tokenizer_with_mask,
    write_base,
)

SMALL = DlmSettings(steps=12, rows=4)


@pytest.fixture(scope="module")
def tiny_dlm() -> Path:
    return Path(__file__).parents[2] / "tiny" / "dlm"


def test_batches_are_the_same_from_any_step() -> None:
    tokenizer = tokenizer_with_mask()
    whole = list(batches(SMALL, tokenizer))
    assert len(whole) == 12
    for start in (3, 8, 11):
        (first,) = islice(batches(SMALL, tokenizer, start), 1)
        assert torch.equal(first.ids_BT, whole[start].ids_BT)
        assert torch.equal(first.targets_BT, whole[start].targets_BT)


def test_only_answers_are_masked_and_rows_end_in_fill() -> None:
    tokenizer = tokenizer_with_mask()
    for batch in batches(SMALL, tokenizer):
        assert batch.ids_BT.shape[1] in (ROW, CANVAS_ROW)
        masked_BT = batch.ids_BT == tokenizer.mask_token_id
        assert torch.equal(batch.weights_BT > 0, masked_BT)
        sums = batch.weights_BT.sum(1)[masked_BT.any(1)]
        assert torch.allclose(sums, torch.ones(len(sums)))
        for row_T, masked_T in zip(batch.targets_BT, masked_BT, strict=True):
            text = str(tokenizer.decode(row_T))
            prompt, _, answer = text.partition("<|im_start|>assistant\n")
            assert answer
            assert answer.endswith("<|im_end|>")
            before = len(tokenizer.encode(prompt, add_special_tokens=False))
            assert not masked_T[:before].any()


def test_all_places_of_a_number_are_masked_together_and_tails_to_their_end() -> None:
    tokenizer = tokenizer_with_mask()
    kept, lost, tails, results, heaviest = 0, 0, 0, 0, 0
    for batch in batches(replace(SMALL, rows=30), tokenizer):
        for row in range(1, 30, 3):
            masked_T = (batch.weights_BT[row] > 0).tolist()
            words = [str(tokenizer.decode([i])) for i in batch.targets_BT[row].tolist()]
            begin = len(words) - words[::-1].index("assistant") + 1
            seen: dict[str, set[bool]] = {}
            place = begin
            while place < len(words):
                number = ""
                hidden = set()
                while words[place].strip().isdigit() and not (number and words[place][0] == " "):
                    number += words[place].strip()
                    hidden.add(masked_T[place])
                    place += 1
                seen.setdefault(number, set()).update(hidden)
                place += not number
            seen.pop("")
            assert all(len(hidden) == 1 for hidden in seen.values()), seen
            lost += sum(True in hidden for hidden in seen.values())
            kept += sum(False in hidden for hidden in seen.values())
        for row in range(2, 30, 3):
            tail_T = (batch.weights_BT[row] > 0).int()
            assert tail_T[-1] == 1 and (tail_T.diff() >= 0).all()
            first = int(tail_T.argmax())
            words = [str(tokenizer.decode([i])) for i in batch.targets_BT[row].tolist()]
            weights = batch.weights_BT[row, first : first + 2].tolist()
            results += words[first - 1].strip() in ("=", "is") and words[first].strip().isdigit()
            heaviest += weights[0] == batch.weights_BT[row].max() and weights[0] > weights[1]
            tails += 1
    assert kept > 100 and lost > 100
    assert results > 0.6 * tails
    assert heaviest > 0.95 * tails, "only a tail of fill alone has no token of the solution"


def test_it_begins_as_the_teacher(tmp_path: Path) -> None:
    """With causal attention it is the teacher; the mask and biases are all that was added."""
    write_base(tmp_path)
    teacher: Any = AutoModelForCausalLM.from_pretrained(TEACHER)
    net = models.load_model(str(tmp_path)).denoiser.net
    theirs = dict(teacher.named_parameters())
    for name, ours in net.named_parameters():
        if name.endswith("_proj.bias"):
            assert not ours.any()
        elif name == "model.embed_tokens.weight":
            assert torch.equal(ours[:-1], theirs[name])
        else:
            assert torch.equal(ours, theirs[name])


def test_the_rate_rises_stays_and_falls_to_zero() -> None:
    settings = DlmSettings(steps=1000)
    rates = [learning_rate(step, settings) for step in range(1000)]
    assert rates[0] < rates[99] == rates[499] == settings.learning_rate
    assert rates[-1] < 0.01 * settings.learning_rate


def test_a_training_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = DlmSettings(steps=4, rows=4)
    train_dlm.train(settings, tmp_path / "whole", every=2)
    calls, real = iter(range(10)), train_dlm.loss_of

    def stopped(*args: Any) -> Any:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(train_dlm, "loss_of", stopped)
    with pytest.raises(KeyboardInterrupt):
        train_dlm.train(settings, tmp_path / "parts", every=2)
    train_dlm.train(settings, tmp_path / "parts", every=2)
    whole, parts = (tmp_path / run / "model.safetensors" for run in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()


def test_the_committed_model_is_small_and_loads_as_a_dream(tiny_dlm: Path) -> None:
    assert (tiny_dlm / "model.safetensors").stat().st_size <= 12_000_000
    dlm = models.load_model(str(tiny_dlm))
    assert dlm.family == "dream"
    parameters = sum(p.numel() for p in dlm.denoiser.parameters())
    assert 2e6 <= parameters <= 6e6
    assert dlm.mask_id == dlm.tokenizer.convert_tokens_to_ids("<|mask|>")
    assert f"{parameters:,} parameters" in (tiny_dlm / "README.md").read_text()
