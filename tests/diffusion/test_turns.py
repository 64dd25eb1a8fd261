"""A model's text ends at its fill or at the end of its turn, and no special token is graded.

The models here are random; their fill is `<|endoftext|>`, and `<|im_end|>` ends their turns.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from diffusion import models
from diffusion.data.layout import CanvasLayout, Form, encode
from diffusion.data.turns import special_token_ids, turn_end_ids
from diffusion.decoding.decode import Commit, Decoded, Request
from diffusion.evaluation.answers import texts_of
from diffusion.evaluation.evaluate import evaluate_cells
from diffusion.evaluation.rows import content
from diffusion.evaluation.settings import Evaluation, System
from diffusion.models.network.denoiser import Dlm
from diffusion.paper.cells import EvaluationCells
from diffusion.settings import ModelReference, Precision
from support.errors import UserError
from tests.diffusion.checkpoints import copy_with, make

FILL, END = "<|endoftext|>", "<|im_end|>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("dream", tmp_path_factory.mktemp("model") / "dream")


def loaded(folder: Path) -> Dlm:
    return models.load_model(str(folder))


def tokens(dlm: Dlm, text: str) -> list[int]:
    """Ids of a text in which special tokens are written out."""
    return [int(one) for one in encode(dlm.tokenizer, text)]


def with_tokenizer(folder: Path, to: Path, **changes: Any) -> Path:
    """The model with other tokens or another template; `add` are special tokens more."""
    shutil.copytree(folder, to)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(to)
    rows = len(tokenizer)
    for name, value in changes.items():
        if name == "add":
            tokenizer.add_special_tokens({"additional_special_tokens": value})
        else:
            setattr(tokenizer, name, value)
    (to / "chat_template.jinja").unlink()  # saved anew where there is one
    tokenizer.save_pretrained(to)
    if added := len(tokenizer) - rows:
        return wider(to, added)
    return to


def wider(folder: Path, rows: int) -> Path:
    """More rows of the embeddings."""
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = torch.cat([weights[name], torch.zeros(rows, weights[name].shape[1])])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["vocab_size"] += rows
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def names(dlm: Dlm) -> set[str]:
    return set(dlm.tokenizer.convert_ids_to_tokens(sorted(dlm.turn_end_ids)))


def test_the_fill_of_these_models_does_not_end_their_turns(folder: Path) -> None:
    dlm = loaded(folder)
    assert dlm.fill_id == dlm.tokenizer.convert_tokens_to_ids(FILL)
    assert dlm.tokenizer.convert_tokens_to_ids(END) in dlm.end_ids - {dlm.fill_id}


@pytest.mark.parametrize("value", [7, [7, 9]])
def test_the_generation_config_names_one_end_or_several(
    folder: Path, tmp_path: Path, value: Any
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "generation_config.json").write_text(json.dumps({"eos_token_id": value}))
    assert {7, 9} & loaded(copy).turn_end_ids == set(value if isinstance(value, list) else [value])


def test_without_a_generation_config_it_is_the_models_own(folder: Path, tmp_path: Path) -> None:
    copy = copy_with(folder, tmp_path / "copy", eos_token_id=[11, 12])
    assert {11, 12} <= loaded(copy).turn_end_ids
    (copy / "generation_config.json").write_text(json.dumps({"eos_token_id": None}))
    assert not {11, 12} & loaded(copy).turn_end_ids


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "generation_config.json: cannot be read"),
        ("[]", "generation_config.json: is not a JSON object"),
        ('{"eos_token_id": "</s>"}', "generation_config.json: eos_token_id: '</s>' is no token's"),
        ('{"eos_token_id": [2, true]}', "eos_token_id: True is no token's id"),
    ],
)
def test_a_damaged_generation_config_is_named(
    folder: Path, tmp_path: Path, text: str, says: str
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "generation_config.json").write_text(text)
    with pytest.raises(UserError, match=says):
        loaded(copy)


def test_a_wrong_id_is_told_with_the_file_that_holds_it(folder: Path, tmp_path: Path) -> None:
    tokenizer = loaded(folder).tokenizer
    with pytest.raises(UserError, match=r"/config\.json: eos_token_id: '</s>' is no token's id"):
        turn_end_ids(tmp_path, {"eos_token_id": "</s>"}, tokenizer)
    copy = copy_with(folder, tmp_path / "copy", eos_token_id="</s>")
    with pytest.raises(UserError, match=r"config\.json: .*'eos_token_id'.*; take the file") as told:
        loaded(copy)
    assert "\n" not in str(told.value)


def test_the_chat_template_shows_what_ends_a_turn(folder: Path, tmp_path: Path) -> None:
    """A name that nobody knows, and EOS is the fill, as LLaDA's and Dream's are."""
    template = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|fin|>\n{% endfor %}"
    changes: dict[str, Any] = {"add": ["<|fin|>"], "eos_token": FILL, "chat_template": template}
    dlm = loaded(with_tokenizer(folder, tmp_path / "copy", **changes))
    assert "<|fin|>" in names(dlm)
    refuses = "{{ raise_exception('no answers here') }}"
    other = with_tokenizer(folder, tmp_path / "other", **changes | {"chat_template": refuses})
    assert "<|fin|>" not in names(loaded(other))


@pytest.mark.parametrize("name", ["<|eot_id|>", "<|im_end|>"])
def test_llada_and_dream_end_their_turns_by_tokens_that_are_not_eos(
    folder: Path, tmp_path: Path, name: str
) -> None:
    changes: dict[str, Any] = {"add": ["<|eot_id|>"], "eos_token": FILL, "chat_template": None}
    assert name in names(loaded(with_tokenizer(folder, tmp_path / "copy", **changes)))


def test_a_text_ends_at_its_fill_or_its_turns_end_and_holds_no_special_token(folder: Path) -> None:
    dlm = loaded(folder)
    layout = CanvasLayout(headers=((), (), ()), slots=(20, 20, 20), fill_id=dlm.fill_id)
    parts = (
        f"The answer is 3/4.{END} no{END}",
        f"<|im_start|>The answer<|im_start|> is 5.{FILL} no",
        "The answer is 6.",
    )
    row = [tokens(dlm, part) for part in parts]
    ids = [one for slot in row for one in (*slot, *[dlm.fill_id] * (20 - len(slot)))]
    (found,) = texts_of(dlm, layout, [np.array(ids, dtype=np.int32)])
    assert found == ("The answer is 3/4.", "The answer is 5.", "The answer is 6.")
    assert set(tokens(dlm, f"{FILL}{END}<|im_start|><|mask|>")) == special_token_ids(dlm.tokenizer)


def written(text: str) -> Any:
    """A decoder that writes the same into every slot, from left to right."""

    def decode(
        dlm: Dlm, layout: CanvasLayout, requests: Sequence[Request], *_: Any, **__: Any
    ) -> Any:
        ids = tokens(dlm, text)
        slots, columns = layout.slot_of(), []
        for slot, length in enumerate(layout.slots):
            first = slots.index(slot)
            fill = [dlm.fill_id] * (length - len(ids))
            columns += [(first + at, token) for at, token in enumerate([*ids, *fill])]
        made = np.zeros(layout.tokens, dtype=np.int32)
        for column, token in columns:
            made[column] = token
        commits = tuple(Commit(n, column, 0.5, token) for n, (column, token) in enumerate(columns))
        return [Decoded(ids_C=made, commits=commits, nfe=len(commits)) for _ in requests]

    return decode


def test_an_answer_before_the_end_of_its_turn_is_right_in_every_form(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base model's text, long-CoT, and a canvas's summary and paths; rows keep the raw ids."""
    text = f"The answer is 3/4.{END} 5<|im_start|>{END}"
    monkeypatch.setattr("diffusion.evaluation.answers.decode", written(text))
    file = tmp_path / "problems.jsonl"
    file.write_text(json.dumps({"question": "What is 1/2 + 1/4?", "answer": "3/4"}) + "\n")
    model = ModelReference(path=str(folder))
    evaluation = Evaluation(
        name="turns",
        benchmark={"kind": "tiny", "path": str(file)},
        systems=(
            System(name="text", model=model, rule={"kind": "confidence"}, form=Form.LONG_COT),
            System(name="canvas", model=model, rule={"kind": "parallel_forced"}),
        ),
        steps=(5,),
        masks=100,
        summary_tokens=25,
        precision=Precision.FLOAT32,
    )
    results = evaluate_cells(evaluation, tmp_path / "run", say=lambda _: None)
    assert [one.accuracy for one in results] == [1.0, 1.0]
    dlm = loaded(folder)
    for cell in EvaluationCells([tmp_path / "run"]).all:
        (row,) = cell._rows("texts", "scored", "tokens_K", "fill_id", "end_ids")
        assert set(row["texts"]) == {row["scored"]} == {"The answer is 3/4."}
        assert set(tokens(dlm, text)) <= set(row["tokens_K"]), "the raw ids"
        assert set(row["end_ids"]) == dlm.end_ids
        left = [row["tokens_K"][k] for k in content(row["tokens_K"], row["end_ids"])]
        assert left and not set(left) & dlm.end_ids


def test_a_model_whose_end_is_its_fill_is_read_as_before() -> None:
    dlm = loaded(Path("tiny/dlm"))
    assert dlm.fill_id in dlm.turn_end_ids
    one_end = replace(dlm, turn_end_ids=frozenset())
    layout = CanvasLayout(headers=((),), slots=(12,), fill_id=dlm.fill_id)
    ids = np.array(tokens(dlm, "The answer is 6.")[:12], dtype=np.int32)
    row = np.concatenate([ids, np.full(12 - len(ids), dlm.fill_id, np.int32)])
    assert (
        texts_of(dlm, layout, [row]) == texts_of(one_end, layout, [row]) == [("The answer is 6.",)]
    )
