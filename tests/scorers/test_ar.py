import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scorers.seqdep.loader import Batch, Scorer, load_scorer
from support.errors import UserError
from tests.scorers import small_models

ROOT = Path(__file__).resolve().parents[2]
SMALL: dict[str, dict[str, Any]] = {
    "LlamaConfig": {},
    "Qwen2Config": {},
    "GPT2Config": {"n_positions": 512, "n_embd": 32, "n_layer": 2, "n_head": 2},
    "Gemma2Config": {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 64},
    "CohereConfig": {"logit_scale": 0.25},
    "GraniteConfig": {"logits_scaling": 4.0},
    "MistralConfig": {"sliding_window": 40},
    "BloomConfig": {"n_layer": 2, "n_head": 2},
    "MambaConfig": {"state_size": 4},
}
PACKED: dict[str, int | None] = {
    "Gemma2Config": 0,  # a soft cap on its attention, which ours has not
    "MistralConfig": 40,
    "BloomConfig": 0,
    "MambaConfig": 0,
}


SaveModel = Callable[..., Path]


@pytest.fixture(scope="module")
def save_model(tmp_path_factory: pytest.TempPathFactory) -> SaveModel:
    """`small_models.save` into a new folder each time."""
    return lambda config, **options: small_models.save(
        tmp_path_factory.mktemp(config.lower()), config, **options
    )


@pytest.fixture(scope="module")
def llama(save_model: SaveModel) -> Path:
    return save_model("LlamaConfig")


@pytest.fixture(scope="module")
def scorer(llama: Path) -> Scorer:
    return load_scorer(str(llama))


@pytest.mark.parametrize("config", SMALL)
def test_what_a_model_does_is_found_out(config: str, save_model: SaveModel) -> None:
    scorer = load_scorer(str(save_model(config, **SMALL[config])))
    assert scorer.packed_tokens == PACKED.get(config)
    assert scorer.direct_head
    assert scorer.model.dtype == torch.float32


@pytest.mark.parametrize("config", SMALL)
def test_log_probs_are_those_of_the_model(config: str, save_model: SaveModel) -> None:
    scorer = load_scorer(str(save_model(config, **SMALL[config])), dtype=torch.float64)
    ids = torch.tensor([[5, 9, 30, 200, 31, 8], [7, 7, 90, 12, 0, 0]])  # the second row is padded
    batch = Batch(
        ids_BT=ids,
        rows_R=torch.tensor([0, 4, 6, 8, 6]),
        targets_R=torch.tensor([9, 8, 7, 12, 1]),
    )
    first = scorer.model(ids[:1]).logits.log_softmax(-1)[0]
    second = scorer.model(ids[1:, :4]).logits.log_softmax(-1)[0]
    expected = torch.stack([first[0, 9], first[4, 8], second[0, 7], second[2, 12], second[0, 1]])
    exact = 1e-5 if config in ("BloomConfig", "MambaConfig") else 1e-12  # they round to float32
    torch.testing.assert_close(
        scorer.log_probs(batch), expected, rtol=0, atol=exact, check_dtype=False
    )


def test_log_probs_are_taken_in_row_chunks(scorer: Scorer, monkeypatch: Any) -> None:
    batch = Batch(
        ids_BT=torch.arange(1, 41)[None],
        rows_R=torch.arange(39),
        targets_R=torch.arange(2, 41),
    )
    whole = scorer.log_probs(batch)
    monkeypatch.setattr("scorers.seqdep.causal_lm._CHUNK_LOGITS", 7 * 320)
    shapes = []
    hook = scorer.model.lm_head.register_forward_hook(lambda *a: shapes.append(tuple(a[2].shape)))
    try:
        torch.testing.assert_close(scorer.log_probs(batch), whole, rtol=0, atol=1e-5)
    finally:
        hook.remove()
    assert {rows for rows, _ in shapes} == {7, 4}


def test_special_look_alikes_are_plain_text(scorer: Scorer) -> None:
    ids, starts = scorer.encode("a<|end|>b<|user|>")
    special = set(scorer.tokenizer.all_special_ids)
    assert len(special) == 3
    assert not special & set(ids)
    assert scorer.tokenizer.decode(ids) == "a<|end|>b<|user|>"
    assert set(range(1, 8)) & set(starts)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_starts_are_first_characters_byte_for_byte(scorer: Scorer, text: str) -> None:
    from tokenizers import pre_tokenizers

    ids, starts = scorer.encode(text)
    of_byte = [at for at, character in enumerate(text) for _ in character.encode()]
    at, expected = 0, []
    for token in scorer.tokenizer.convert_ids_to_tokens(list(ids)):
        expected.append(of_byte[at])
        at += len(token)  # byte level: one character of a token stands for one byte
    assert at == len(of_byte)
    assert len(pre_tokenizers.ByteLevel.alphabet()) == 256
    assert list(starts) == expected


def test_a_leading_blank_belongs_to_its_token(scorer: Scorer) -> None:
    _, starts = scorer.encode("The answer is")
    assert 3 in starts  # " answer" begins with its blank, although the tokenizer trims offsets
    assert 4 not in starts


def test_lone_surrogates_keep_their_place(scorer: Scorer) -> None:
    assert scorer.encode("a\ud800b") == scorer.encode("a\ufffdb")
    assert scorer.prompt_ids("a\ud800b") == scorer.prompt_ids("a\ufffdb")


def test_prompt_ids_with_a_template(scorer: Scorer) -> None:
    assert scorer.tokenizer.decode(scorer.prompt_ids("Hi?")) == "<|user|>Hi?<|end|><|bot|>"
    assert scorer.prompt_ids("") == (scorer.tokenizer.eos_token_id,)


def test_prompt_ids_without_a_template(save_model: SaveModel) -> None:
    raw = load_scorer(str(save_model("LlamaConfig", chat=False)))
    assert raw.tokenizer.decode(raw.prompt_ids("Hi<|end|>")) == "Hi<|end|>"
    assert raw.prompt_ids("Hi<|end|>") == raw.encode("Hi<|end|>").ids_T
    raw.tokenizer.bos_token = "<|user|>"
    assert raw.prompt_ids("") == (raw.tokenizer.convert_tokens_to_ids("<|user|>"),)
    raw.tokenizer.bos_token = raw.tokenizer.eos_token = None
    with pytest.raises(UserError, match="no BOS or EOS"):
        raw.prompt_ids("")


def test_a_template_that_fails_is_a_user_error(scorer: Scorer, monkeypatch: Any) -> None:
    monkeypatch.setattr(scorer.tokenizer, "chat_template", "{{ raise_exception('no users') }}")
    with pytest.raises(UserError, match="chat template fails: no users"):
        scorer.prompt_ids("Hi")


def test_a_template_does_not_see_the_date(scorer: Scorer, monkeypatch: Any) -> None:
    monkeypatch.setattr(scorer.tokenizer, "chat_template", "{{ strftime_now('%Y-%m-%d') }}")
    assert scorer.tokenizer.decode(scorer.prompt_ids("Hi")) == "2025-01-01"


def test_a_foreign_tokenizer_is_a_user_error(save_model: SaveModel) -> None:
    short = load_scorer(str(save_model("LlamaConfig", vocab_size=200)))
    with pytest.raises(UserError, match="beyond the model's 200 embeddings"):
        short.encode("The answer is 60")


def test_name_and_revision(llama: Path, tmp_path: Path, scorer: Scorer) -> None:
    assert scorer.name == "model"
    assert len(scorer.revision) == 12
    assert scorer.context == 512
    snapshot = tmp_path / "models--some--lm" / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    for file in llama.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    copy = load_scorer(str(snapshot))
    assert copy.name == "some/lm"
    assert copy.revision == scorer.revision


@pytest.mark.parametrize(
    "damage", ["no directory", "empty", "config", "weights", "head", "tensors"]
)
def test_a_broken_directory_is_one_line(damage: str, llama: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    directory = tmp_path / "broken"
    if damage != "no directory":
        directory.mkdir()
    if damage not in ("no directory", "empty"):
        for file in llama.iterdir():
            (directory / file.name).write_bytes(file.read_bytes())
    weights = directory / "model.safetensors"
    if damage == "config":
        (directory / "config.json").write_text("{broken")
    elif damage == "weights":
        weights.unlink()
    elif damage == "head":
        tensors = load_file(weights)
        del tensors["lm_head.weight"]
        save_file(tensors, weights, {"format": "pt"})
    elif damage == "tensors":
        weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(UserError) as caught:
        load_scorer(str(directory))
    assert str(directory) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_that_sees_both_sides_is_refused(save_model: SaveModel) -> None:
    both = save_model("BertConfig", auto="MaskedLM", max_position_embeddings=64)
    with pytest.raises(UserError, match="causal LM"):
        load_scorer(str(both))


def test_weights_that_give_nan_are_refused(llama: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for file in llama.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.norm.weight"][:] = float("nan")
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="no finite log-probabilities"):
        load_scorer(str(tmp_path))


IMPORTS = """
import importlib.abc, json, sys
BLOCKED = {
    "pydantic", "prefect", "typer", "polars", "datasets", "orjson", "rapidfuzz", "math_verify",
    "latex2sympy2_extended", "xxhash", "fastapi", "matplotlib",
}
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(name)
        return None
sys.meta_path.insert(0, Block())
import numpy, pyarrow, torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
AutoModelForCausalLM.from_pretrained, AutoTokenizer.from_pretrained
before = {name.partition(".")[0] for name in sys.modules}
import scorers.seqdep.loader, scorers.seqdep.measurement, scorers.seqdep.segments
after = {name.partition(".")[0] for name in sys.modules}
OURS = ("schemas", "support", "curation")
loaded = {name for name in sys.modules if name.partition(".")[0] in OURS}
print(json.dumps([sorted(after - before - set(sys.stdlib_module_names)), sorted(loaded)]))
"""


@pytest.mark.slow
def test_imports_are_torch_and_transformers_alone() -> None:
    run = subprocess.run(
        [sys.executable, "-c", IMPORTS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    packages, ours = json.loads(run.stdout)
    assert set(packages) <= {"scorers", "schemas", "support"}
    assert set(ours) <= {
        "support",
        "support.capacity",
        "schemas",
        "schemas.canvas",
        "support.errors",
        "support.files",
        "schemas.records",
        *(f"schemas.records.{part}" for part in ("flow", "released", "scores", "terms")),
    }


def test_a_context_too_short_to_try_is_named(save_model: SaveModel) -> None:
    config = {"max_position_embeddings": 8, "n_embd": 32, "n_layer": 2, "n_head": 2}
    with pytest.raises(UserError, match="sees 8 tokens only"):
        load_scorer(str(save_model("GPT2Config", **config)))
