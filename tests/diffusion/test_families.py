"""Further families: their layouts and back, what their positions see, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast

from diffusion import models
from diffusion.data.turns import turn_end_ids
from diffusion.settings import ModelReference, Settings
from diffusion.training.estimate import estimate
from support.errors import UserError
from tests.diffusion.checkpoints import (
    copy_with,
    everywhere,
    ids,
    make,
    weights_of,
    write_corpus,
)
from tests.diffusion.layouts import BLOCK, BLOCK_CAUSAL, FAMILY, FULL, LAYOUTS


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_round_trip_is_bit_equal(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    source = make(kind, tmp_path / "in", dtype)
    dlm = models.load_model(str(source))
    assert dlm.family == FAMILY[kind]
    assert dlm.mask_id == dlm.tokenizer.mask_token_id
    assert dlm.fill_id == dlm.tokenizer.pad_token_id
    assert dlm.context == 512
    models.save(dlm, tmp_path / "out")
    before, after = weights_of(source), weights_of(tmp_path / "out")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype
        assert torch.equal(tensor, after[name]), name
    for file in ("config.json", "tokenizer.json"):
        assert (source / file).read_bytes() == (tmp_path / "out" / file).read_bytes()


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_position_sees_the_whole_row_or_no_later_block(kind: str, tmp_path: Path) -> None:
    dlm = models.load_model(str(make(kind, tmp_path)))
    ids_BT = ids(1)
    logits_TV = everywhere(dlm, ids_BT)[0]
    back = int(dlm.denoiser.shift)
    for changed in (1, 6, 13):
        changed_BT = ids_BT.clone()
        changed_BT[0, changed] += 1
        differs = (everywhere(dlm, changed_BT)[0] - logits_TV).abs().amax(1) > 1e-5
        sees = [
            kind in FULL or max(0, at - back) // BLOCK >= changed // BLOCK
            for at in range(ids_BT.shape[1])
        ]
        assert differs.tolist() == sees


@pytest.mark.parametrize("kind", LAYOUTS)
def test_padding_changes_nothing(kind: str, tmp_path: Path) -> None:
    dlm = models.load_model(str(make(kind, tmp_path)))
    ids_BT = ids()
    alone = everywhere(dlm, ids_BT[:1, :9])[0]
    attention_mask_BT = torch.ones_like(ids_BT, dtype=torch.bool)
    attention_mask_BT[0, 9:] = False
    beside = everywhere(dlm, ids_BT, attention_mask_BT)[0, :9]
    torch.testing.assert_close(alone, beside, atol=2e-5, rtol=1e-4)


def test_the_size_of_a_block_is_the_configs(tmp_path: Path) -> None:
    for kind in LAYOUTS:
        folder = make(kind, tmp_path / kind)
        assert models.identify(folder).block == (BLOCK if kind in BLOCK_CAUSAL else None)
    published = copy_with(tmp_path / "llada2", tmp_path / "published", block_size=None)
    assert models.identify(published).block == 32
    blockwise = copy_with(tmp_path / "a2d-qwen3", tmp_path / "blockwise", block_size=BLOCK)
    dlm = models.load_model(str(blockwise))
    assert dlm.denoiser.block == BLOCK
    assert not torch.equal(
        everywhere(dlm, ids()),
        everywhere(models.load_model(str(tmp_path / "a2d-qwen3")), ids()),
    )


CHILDREN: dict[str, tuple[str, dict[str, Any]]] = {
    # Dream-Coder-7B, DiffuCoder-7B: as Dream, with keys that change nothing.
    "Dream-Coder": (
        "dream",
        {"max_window_layers": 28, "sliding_window": 131072, "attention_dropout": 0.0},
    ),
    "DiffuCoder": ("dream", {"max_window_layers": 28, "eos_token_id": 0, "use_cache": False}),
    # LLaDA-1.5: as LLaDA.
    "LLaDA-1.5": ("llada", {"use_cache": False, "residual_dropout": 0.0, "block_group_size": 1}),
}


@pytest.mark.parametrize("name", CHILDREN)
def test_children_of_a_family_load_as_what_they_are(name: str, tmp_path: Path) -> None:
    family, changes = CHILDREN[name]
    source = make(family, tmp_path / "base")
    dlm = models.load_model(str(copy_with(source, tmp_path / name, **changes)))
    assert dlm.family == family
    assert dlm.mask_id == dlm.tokenizer.mask_token_id
    base = models.load_model(str(source))
    assert torch.equal(everywhere(dlm, ids()), everywhere(base, ids()))


# config.json of apple/DiffuCoder-7B-Instruct, revision 69c039a.
DIFFUCODER = {
    "architectures": ["DreamModel"],
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_dream.DreamConfig",
        "AutoModel": "modeling_dream.DreamModel",
    },
    "bos_token_id": 151643,
    "eos_token_id": 151643,
    "hidden_act": "silu",
    "hidden_size": 3584,
    "initializer_range": 0.02,
    "intermediate_size": 18944,
    "mask_token_id": 151666,
    "max_position_embeddings": 131072,
    "max_window_layers": 28,
    "model_type": "Dream",
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "pad_token_id": 151643,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.3",
    "use_cache": False,
    "use_mrope": False,
    "use_sliding_window": False,
    "vocab_size": 152064,
}


def test_the_published_diffucoder_is_a_dream() -> None:
    name, family = models.family_of(DIFFUCODER)
    assert name == "dream"
    assert family.special_ids(DIFFUCODER, None) == (151666, 151643)
    with torch.device("meta"):
        net = family.blank(DIFFUCODER, torch.bfloat16, trust=False)
    assert sum(one.numel() for one in net.parameters()) == 7_615_616_512  # as many as Dream-7B
    assert models.context_of(net) == 131072


def test_diffucoders_padding_ends_a_text(tmp_path: Path) -> None:
    """Its config.json names another token, which pads a batch."""
    folder = make("dream", tmp_path)
    read = PreTrainedTokenizerFast.from_pretrained(folder)
    read.add_tokens(["<|dlm_pad|>"])
    read.save_pretrained(folder)
    padding = read.get_added_vocab()["<|dlm_pad|>"]
    ends = turn_end_ids(folder, models.read_config(folder), read)
    assert padding in ends
    assert padding != models.families()["dream"].special_ids(models.read_config(folder), read).fill


@pytest.mark.parametrize("family", ["llada", "dream"])
def test_null_ids_are_those_of_the_published_models(family: str, tmp_path: Path) -> None:
    folder = make(family, tmp_path)
    config = dict(models.read_config(folder))
    config |= {"mask_token_id": None, "pad_token_id": None, "eos_token_id": None}
    found = models.families()[family].special_ids(config, None)
    assert found == ((126336, 126081) if family == "llada" else (151666, 151643))


def test_a_mask_that_only_the_config_or_the_vocabulary_has_is_found(tmp_path: Path) -> None:
    folder = make("masked_lm", tmp_path / "bert")
    plain = PreTrainedTokenizerFast.from_pretrained(folder)
    mask_id = plain.mask_token_id
    plain.mask_token = None
    plain.save_pretrained(folder)
    named = copy_with(folder, tmp_path / "named", mask_token_id=mask_id)
    assert models.load_model(str(named)).mask_id == mask_id
    folder = make("a2d-qwen2", tmp_path / "a2d")
    plain.add_tokens(["<|mask|>"])
    plain.save_pretrained(folder)
    assert models.load_model(str(folder)).mask_id == plain.get_added_vocab()["<|mask|>"]


def test_a2d_renders_prompts_without_thinking(tmp_path: Path) -> None:
    folder = make("a2d-qwen3", tmp_path)
    read = PreTrainedTokenizerFast.from_pretrained(folder)
    read.chat_template = (
        "{{- messages[0].content }}"
        "{%- if enable_thinking is defined and enable_thinking is false %}<no>{%- endif %}"
    )
    read.save_pretrained(folder)
    loaded = models.load_model(str(folder)).tokenizer
    turn = [{"role": "user", "content": "Hi"}]
    assert loaded.apply_chat_template(turn, tokenize=False) == "Hi<no>"
    assert loaded.apply_chat_template(turn, tokenize=False, enable_thinking=True) == "Hi"


def without(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        weights = weights_of(folder)
        del weights[name]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return change


def bent(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        weights = weights_of(folder) | {name: torch.zeros(3, 3), "model.extra": torch.zeros(2)}
        weights["model.layers.1.mlp.experts.9.up_proj.weight"] = torch.zeros(24, 32)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            without("model.layers.1.mlp.experts.2.up_proj.weight"),
            "1 missing: model.layers.1.mlp.experts.gate_up_proj",
        ),
        (
            without("model.layers.0.attention.query_key_value.weight"),
            "3 missing: model.layers.0.self_attn.k_proj.weight, model",
        ),
        (
            bent("model.layers.0.attention.query_key_value.weight"),
            "2 left over: model.extra, model.layers.1.mlp.experts.9.up_proj.weight; 1 of another "
            "shape: model.layers.0.attention.query_key_value.weight [3, 3] (expected [64, 32])",
        ),
    ],
)
def test_weights_that_do_not_match_are_listed(
    change: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    folder = make("llada2", tmp_path)
    change(folder)
    with pytest.raises(UserError) as error:
        models.load_model(str(folder))
    assert said in str(error.value)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("sdar", {"block_size": None}, "block_size: None is no number of tokens"),
    ("sdar", {"block_size": True}, "block_size: True is no number of tokens"),
    ("fast_dllm_v2", {"bd_size": None}, "bd_size: None is no number of tokens"),
    ("fast_dllm_v2", {"use_sliding_window": True}, "use_sliding_window is not supported"),
    ("fast_dllm_v2", {"num_attention_heads": 0}, "num_attention_heads: 0 is no positive number"),
    ("a2d-llama", {"rope_theta": None, "vocab_size": None}, "vocab_size, rope_theta missing"),
    ("a2d-qwen2", {"hidden_act": 7}, "config.json: "),
    ("llada_moe", {"qk_layernorm": False}, "no LLaDA-MoE that blocks of Qwen3 compute"),
    ("llada_moe", {"moe_layer_freq": [1]}, "moe_layer_freq: [1] says not for every layer"),
    ("llada_moe", {"num_experts": None}, "num_experts missing"),
    ("llada2", {"score_function": "softmax"}, "no LLaDA2 that layers of GLM-4-MoE compute"),
    ("llada2", {"expert_capacity": 64}, "GLM-4-MoE compute; expert_capacity: 64"),
    ("llada2", {"n_group": 3}, "2 of 4 experts in 1 of 3 groups are no choice"),
    ("sdar_moe", {"model_type": "diffusion_gemma"}, "replaces unsure ones by other random tokens"),
    ("sdar", {"model_type": "qwen3"}, "model_type 'qwen3' with mask_token_id"),
    ("sdar", {"model_type": ["qwen3"], "architectures": 3}, "model_type ['qwen3'] with"),
    ("sdar", {"model_type": "qwen3", "architectures": [["x"]]}, "model_type 'qwen3' with"),
    ("a2d-qwen2", {"hidden_act": "none"}, "'none' is unknown to transformers"),
    ("dream", {"mask_token_id": "12"}, "the mask token's id is '12'; give a whole number from 0"),
    ("llada2", {"mask_token_id": True}, "the mask token's id is True"),
    ("masked_lm", {"mask_token_id": -1}, "the mask token's id is -1"),
    ("llada", {"eos_token_id": [2, 3]}, "the fill token's id is [2, 3]"),
    ("sdar", {"mask_token_id": 0}, "the mask and the token that fills an answer are both 0"),
    ("llada", {"n_layers": None, "rope_theta": None}, "n_layers, rope_theta missing"),
]


@pytest.mark.parametrize(("kind", "changes", "said"), WRONG)
def test_configs_that_cannot_be_used_are_refused_in_a_sentence(
    kind: str, changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    folder = copy_with(make(kind, tmp_path / "made"), tmp_path / "changed", **changes)
    with pytest.raises(UserError) as error:
        models.load_model(str(folder))
    assert str(error.value).startswith(f"{folder}/config.json: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    if "model_type" in changes:
        for name, family in models.families().items():
            assert not family.MODEL_TYPES or f"{name} ({family.MODEL_TYPES[0]}" in str(error.value)


def test_a_padding_of_minus_one_is_none(tmp_path: Path) -> None:
    folder = copy_with(make("sdar", tmp_path / "a"), tmp_path / "b", pad_token_id=-1)
    dlm = models.load_model(str(folder))
    assert dlm.fill_id == dlm.tokenizer.pad_token_id


@pytest.mark.parametrize("kind", ["llada", "a2d-qwen3", "masked_lm", "llada2"])
@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_a_weight_that_is_not_finite_is_named(kind: str, value: float, tmp_path: Path) -> None:
    folder = make(kind, tmp_path)
    weights = weights_of(folder)
    weights[sorted(weights)[-1]].view(-1)[3] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"the weight .*weight holds a number that is not finite"):
        models.load_model(str(folder))


@pytest.mark.parametrize("kind", ["dream", "llada", "masked_lm", "sdar"])
@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, torch.uint8])
def test_quantised_weights_are_refused(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    folder = make(kind, tmp_path)
    weights = weights_of(folder)
    name = sorted(weights)[3]
    weights[name] = weights[name].to(dtype)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=rf"the weight {name} has the type .*, and quantised"):
        models.load_model(str(folder))


@pytest.mark.parametrize("kind", ["dream", "llada", "masked_lm", "sdar", "llada2"])
def test_a_model_without_its_tokenizer_is_refused(kind: str, tmp_path: Path) -> None:
    folder = make(kind, tmp_path)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(UserError, match=r"its tokenizer cannot be read: .*; fetch its files again"):
        models.load_model(str(folder))


def test_an_index_of_no_file_is_refused(tmp_path: Path) -> None:
    folder = make("masked_lm", tmp_path)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    with pytest.raises(UserError, match=r"index\.json: names no file of weights"):
        models.load_model(str(folder))


def test_a_tied_matrix_may_be_there_twice(tmp_path: Path) -> None:
    folder = copy_with(make("sdar", tmp_path / "a"), tmp_path / "b", tie_word_embeddings=True)
    with pytest.raises(UserError, match=r"two different ones; correct tie_word_embeddings"):
        models.load_model(str(folder))
    weights = weights_of(folder)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    twice = models.load_model(str(folder))
    models.save(twice, tmp_path / "out")
    assert weights_of(tmp_path / "out").keys() == weights.keys()
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    once = models.load_model(str(folder))
    assert torch.equal(everywhere(twice, ids()), everywhere(once, ids()))


def test_a_model_that_was_trained_in_blocks_by_its_name_needs_their_size(tmp_path: Path) -> None:
    source = make("a2d-qwen3", tmp_path / "made")
    folder = copy_with(source, tmp_path / "Qwen3-0.6B-diffusion-bd3lm-v0.1")
    with pytest.raises(UserError, match=r"trained block by block; add block_size to its config"):
        models.load_model(str(folder))
    cached = copy_with(source, tmp_path / "models--dllm-hub--Qwen3-bd3lm" / "snapshots" / "0a1b")
    with pytest.raises(UserError, match=r"trained block by block"):
        models.load_model(str(cached))
    other = copy_with(source, tmp_path / "bd3lm-and-others" / "Qwen3-0.6B-diffusion-mdlm")
    assert models.load_model(str(other)).denoiser.block is None


def test_an_estimate_counts_the_experts_that_a_token_passes(tmp_path: Path) -> None:
    source = make("llada_moe", tmp_path / "some")
    everything = copy_with(source, tmp_path / "all", num_experts_per_tok=4)
    flops = [
        estimate(
            Settings(
                name="x",
                model=ModelReference(path=str(folder)),
                corpus=str(write_corpus(tmp_path / folder.name / "corpus")),
                slot_tokens=30,
                summary_tokens=12,
            ),
            1,
            None,
        )
        for folder in (source, everything)
    ]
    assert flops[0].parameters == flops[1].parameters
    unused = 2 * 3 * 24 * 32  # two of four experts, three matrices each
    assert flops[1].flops - flops[0].flops == 3.0 * 2.0 * unused * flops[0].tokens
