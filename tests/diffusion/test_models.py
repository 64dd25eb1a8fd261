"""Families: own layouts in transformers' classes, bidirectional, shifted or not, and back."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diffusion import models
from support.errors import UserError
from tests.diffusion import checkpoints
from tests.diffusion.checkpoints import FAMILIES, everywhere, ids, logits_of, make, weights_of


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_round_trip_is_bit_equal(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    source = make(family, tmp_path / "in", dtype)
    dlm = models.load_model(str(source))
    assert dlm.family == family
    models.save(dlm, tmp_path / "out")
    before, after = weights_of(source), weights_of(tmp_path / "out")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype
        assert torch.equal(tensor, after[name]), name
    for file in ("config.json", "tokenizer.json"):
        assert (source / file).read_bytes() == (tmp_path / "out" / file).read_bytes()


def test_every_position_sees_the_whole_row(family: str, tmp_path: Path) -> None:
    dlm = models.load_model(str(make(family, tmp_path)))
    ids_BT = ids(1)
    changed_BT = ids_BT.clone()
    changed_BT[0, -1] += 1
    first, last = everywhere(dlm, ids_BT)[0, 0], everywhere(dlm, changed_BT)[0, 0]
    assert not torch.allclose(first, last, atol=1e-5)


def test_padding_changes_nothing(family: str, tmp_path: Path) -> None:
    dlm = models.load_model(str(make(family, tmp_path)))
    ids_BT = ids()
    alone = everywhere(dlm, ids_BT[:1, :8])[0]
    attention_mask_BT = torch.ones_like(ids_BT, dtype=torch.bool)
    attention_mask_BT[0, 8:] = False
    beside = everywhere(dlm, ids_BT, attention_mask_BT)[0, :8]
    torch.testing.assert_close(alone, beside, atol=2e-5, rtol=1e-4)


def test_logits_of_some_positions_are_those_of_all(family: str, tmp_path: Path) -> None:
    """Against the network's own forward pass, shifted by Dream's rule where it is Dream."""
    dlm = models.load_model(str(make(family, tmp_path)))
    net, ids_BT = dlm.denoiser.net, ids()
    with torch.no_grad():
        logits_BTV = everywhere(dlm, ids_BT)
        positions_R = torch.tensor([0, 3, 14, 19])
        some_RV = logits_of(dlm.denoiser, ids_BT, positions_R)
        again = models.families()[family].build(
            tmp_path, models.read_config(tmp_path), torch.float32, False
        )
        own_BTV = again(input_ids=ids_BT).logits
    assert type(again) is type(net)
    if family == "dream":
        own_BTV = torch.cat([own_BTV[:, :1], own_BTV[:, :-1]], 1)
    torch.testing.assert_close(logits_BTV, own_BTV)
    torch.testing.assert_close(some_RV, own_BTV.flatten(0, 1)[positions_R])


def test_masks_and_fill_are_those_of_the_config(tmp_path: Path) -> None:
    for family in FAMILIES:
        dlm = models.load_model(str(make(family, tmp_path / family)))
        assert dlm.mask_id == dlm.tokenizer.mask_token_id
        fill = "<|endoftext|>" if family == "dream" else "<|im_end|>"
        assert dlm.fill_id == dlm.tokenizer.convert_tokens_to_ids(fill)
        assert dlm.context == 512


@pytest.mark.parametrize("family_name", ["llada", "dream"])
def test_what_does_not_match_is_listed(family_name: str, tmp_path: Path) -> None:
    folder = make(family_name, tmp_path)
    weights = weights_of(folder)
    gone, bent = sorted(weights)[0], sorted(weights)[1]
    del weights[gone]
    weights[bent] = torch.zeros(3, 3)
    weights["model.extra.weight"] = torch.zeros(2)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(UserError) as error:
        models.load_model(str(folder))
    said = str(error.value)
    assert "1 missing" in said
    assert "1 left over: model.extra.weight" in said
    assert f"1 of another shape: {bent} [3, 3] (expected" in said


def test_weights_that_a_masked_lm_lacks_are_named(tmp_path: Path) -> None:
    folder = make("masked_lm", tmp_path)
    weights = weights_of(folder)
    del weights["head.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"1 missing: head\.dense\.weight"):
        models.load_model(str(folder))


def test_a_llada_that_no_llama_computes_is_refused(tmp_path: Path) -> None:
    folder = make("llada", tmp_path / "a")
    for key, value in (("block_type", "sequential"), ("alibi", True), ("scale_logits", True)):
        other = checkpoints.copy_with(folder, tmp_path / key, **{key: value})
        with pytest.raises(UserError, match=key):
            models.load_model(str(other))
    other = checkpoints.copy_with(folder, tmp_path / "short", rope_theta=None)
    with pytest.raises(UserError, match="rope_theta"):
        models.load_model(str(other))


def test_a_tokenizer_without_a_mask_is_the_users_mistake(
    tmp_path: Path, tiny_teacher: Path
) -> None:
    folder = make("masked_lm", tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny_teacher / file, folder / file)
    with pytest.raises(UserError, match="no mask token"):
        models.load_model(str(folder))


def test_ids_beyond_the_embeddings_are_the_users_mistake(tmp_path: Path) -> None:
    folder = make("dream", tmp_path / "a")
    other = checkpoints.copy_with(folder, tmp_path / "b", mask_token_id=151666)
    with pytest.raises(UserError, match="151666 is beyond"):
        models.load_model(str(other))


def test_no_pickle_is_loaded(tmp_path: Path) -> None:
    for family in FAMILIES:
        folder = make(family, tmp_path / family)
        torch.save(weights_of(folder), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        with pytest.raises(UserError, match="holds no safetensors"):
            models.load_model(str(folder))


def test_what_is_no_model_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no local directory"):
        models.load_model(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"config\.json"):
        models.load_model(str(tmp_path))
    (tmp_path / "teacher").mkdir()
    with pytest.raises(UserError, match=r"no local directory \(did you mean .*teacher\?\)"):
        models.load_model(str(tmp_path / "techer"))
    folder = make("masked_lm", tmp_path / "a")
    other = checkpoints.copy_with(folder, tmp_path / "b", model_type="no_such_type")
    with pytest.raises(UserError, match="masked language model"):
        models.load_model(str(other))
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot be read"):
        models.load_model(str(folder))


def test_dreams_own_tokenizer_is_read_without_its_code(tmp_path: Path) -> None:
    """Dream ships vocab.json and merges.txt, a class of its own, and no tokenizer.json."""
    folder = make("dream", tmp_path)
    fast = json.loads((folder / "tokenizer.json").read_text())
    (folder / "vocab.json").write_text(json.dumps(fast["model"]["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in fast["model"]["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    (folder / "tokenizer.json").unlink()
    added = {str(token["id"]): {**token} for token in fast["added_tokens"]}
    for token in added.values():
        token.pop("id")
    settings = {
        "tokenizer_class": "DreamTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
        "added_tokens_decoder": added,
        "mask_token": "<|mask|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    dlm = models.load_model(str(folder))
    ids_T = dlm.tokenizer("A day pays\n<|mask|>", add_special_tokens=False)["input_ids"]
    assert ids_T[-1] == dlm.mask_id
    assert dlm.tokenizer.decode(ids_T) == "A day pays\n<|mask|>"
