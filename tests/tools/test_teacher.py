"""The committed teacher: an ordinary model directory that solves most, but not all, problems."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from support.paths import ROOT
from tools.tiny import train_teacher
from tools.tiny.measure_teacher import measure

FOLDER = ROOT / "tiny" / "teacher"


def test_an_ordinary_small_model_directory() -> None:
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["head_dim"] in (32, 64)
    assert config["max_position_embeddings"] >= 2048
    assert (FOLDER / "model.safetensors").stat().st_size <= 12_000_000
    names = {path.name for path in FOLDER.iterdir()}
    assert names >= {"README.md", "training_log.jsonl", "tokenizer.json", "chat_template.jinja"}
    assert not [name for name in names if name.endswith((".bin", ".pt", ".py"))]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_tokenizer_loses_nothing(text: str) -> None:
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_every_digit_is_a_token() -> None:
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokens = tokenizer.encode("12 * 345", add_special_tokens=False).tokens
    assert tokens == ["1", "2", "Ġ*", "Ġ3", "4", "5"]


@pytest.mark.slow
def test_groups_hold_right_and_wrong_paths() -> None:
    measured = measure(FOLDER, problems=100, samples=4)
    solved = sum(map(sum, measured.sampled)) / 400
    assert 0.45 < solved < 0.90  # the card has the exact figure, on 1,000 problems
    mixed = sum(any(row) and not all(row) for row in measured.sampled)
    assert mixed >= 20
    assert measured.distinct > 2


def test_the_card_states_the_measured_accuracy() -> None:
    card = (FOLDER / "README.md").read_text()
    (line,) = [one for one in card.splitlines() if one.startswith("| temperature 1.0 |")]
    assert 0.55 <= float(line.split("|")[2].strip(" %")) / 100 <= 0.80


@pytest.mark.slow
def test_training_stopped_in_the_middle_ends_in_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = train_teacher.TeacherSettings(steps=4, stop=4, tokens_per_step=512)
    train_teacher.train(settings, tmp_path / "whole", every=2)
    calls = iter(range(10))
    real = train_teacher.loss_of

    def stopped(*args: Any) -> Any:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(train_teacher, "loss_of", stopped)
    with pytest.raises(KeyboardInterrupt):
        train_teacher.train(settings, tmp_path / "parts", every=2)
    assert (tmp_path / "parts" / "checkpoint.safetensors").exists()
    train_teacher.train(settings, tmp_path / "parts", every=2)
    names = ("model.safetensors", "tokenizer.json")
    for name in names:
        whole, parts = (tmp_path / run / name for run in ("whole", "parts"))
        assert whole.read_bytes() == parts.read_bytes(), name
    assert not (tmp_path / "parts" / "checkpoint.safetensors").exists()
