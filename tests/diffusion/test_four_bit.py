"""Base weights of 4 bits under LoRA: which layers, what is trained and saved, what is refused."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from diffusion import memory, models
from diffusion.settings import Lora, ModelReference, Precision, Settings
from diffusion.training.estimate import estimate, shape_of
from diffusion.training.four_bit import bitsandbytes, dequantised, quantise, quantised_layers
from diffusion.training.lora import merge
from diffusion.training.train import fine_tune
from support.errors import UserError
from tests.diffusion.checkpoints import ids, make, weights_of, write_corpus

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("four_bit")
    return Settings(
        name="small",
        model=ModelReference(path=str(make("llada", folder / "base"))),
        corpus=str(write_corpus(folder / "corpus", rows=12)),
        slot_tokens=30,
        summary_tokens=12,
        epochs=2,
        batch=6,
        learning_rate=1e-2,
        precision=Precision.FLOAT32,
        micro_tokens=600,
        checkpoint_every=3,
        lora=Lora(rank=2),
        load_in_4bit=True,
    )


@pytest.mark.parametrize(
    "kind", ["llada", "dream", "masked_lm", "a2d-qwen3", "sdar", "fast_dllm_v2"]
)
def test_linear_layers_are_quantised_and_embeddings_and_the_head_are_not(
    kind: str, tmp_path: Path
) -> None:
    net = models.load_model(str(make(kind, tmp_path))).denoiser.net
    layers = quantised_layers(net)
    whole = {id(net.get_input_embeddings()), id(net.get_output_embeddings())}
    assert not whole & {id(one) for one in layers.values()}
    left = {
        name.removesuffix(".weight")
        for name, one in net.named_parameters()
        if one.ndim == 2 and name.removesuffix(".weight") not in layers
    }
    assert left <= {"model.embed_tokens", "lm_head", "model.embeddings.tok_embeddings", "decoder"}
    names = {name.rpartition(".")[2] for name in layers}
    expected = {"Wqkv", "Wo", "Wi", "dense"} if kind == "masked_lm" else {"q_proj", "down_proj"}
    assert expected <= names


@pytest.mark.parametrize("kind", ["llada_moe", "llada2", "sdar_moe"])
def test_a_mixture_is_refused(kind: str, settings: Settings, tmp_path: Path) -> None:
    model = ModelReference(path=str(make(kind, tmp_path / "model")))
    chosen = replace(settings, model=model)
    with pytest.raises(UserError, match="load_in_4bit: the experts of this mixture are no linear"):
        estimate(chosen, 1, None)
    with pytest.raises(UserError, match="load_in_4bit: the experts of this mixture are no linear"):
        quantise(models.load_model(model.path).denoiser.net, chosen, False, CPU)


def test_what_it_needs_is_said(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"load_in_4bit: weights of 4 bits are not trained; add"):
        replace(settings, lora=None)
    net = models.load_model(settings.model.path).denoiser.net
    with pytest.raises(UserError, match="load_in_4bit: weights of 4 bits are not sharded"):
        quantise(net, settings, True, CPU)
    assert replace(settings, load_in_4bit=False).digest() != settings.digest()
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UserError, match=r'^4bit: not installed; pip install -e "\.\[4bit\]"'):
        fine_tune(settings, tmp_path / "run")


def test_an_adapter_is_merged_where_its_layer_is() -> None:
    """After a training on a GPU, what 4 bits stand for is on the CPU, and the adapter is not."""
    state = {
        "net.q_proj.base_layer.weight": torch.ones(3, 4, device="meta"),
        "net.q_proj.lora_A.default.weight": torch.ones(2, 4),
        "net.q_proj.lora_B.default.weight": torch.ones(3, 2),
    }
    whole = merge(state, Lora(rank=2))
    assert [(name, one.device.type) for name, one in whole.items()] == [
        ("net.q_proj.weight", "meta")
    ]


def test_an_estimate_counts_4_bits(settings: Settings) -> None:
    net = models.load_model(settings.model.path).denoiser.net
    shape, quantised = shape_of(net), 2 * (4 * 32 * 32 + 3 * 32 * 48)
    found = estimate(settings, 1, None).held.weights
    assert found == memory.training(shape, settings, 0, 100, 1, quantised).weights
    assert found == pytest.approx(4 * (shape.parameters - quantised) + 0.516 * quantised, rel=1e-3)


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "training.jsonl").read_text().splitlines()]


def check_training(settings: Settings, out: Path) -> None:
    """Adapters alone are trained, losses are near those of whole weights, a model is saved."""
    plain = fine_tune(replace(settings, load_in_4bit=False), out / "plain", say=lambda _: None)
    summary = fine_tune(settings, out / "4bit", say=lambda _: None)
    assert summary.parameters == plain.parameters
    assert summary.trained_parameters == plain.trained_parameters
    losses = [[line["loss"] for line in lines(out / name)] for name in ("plain", "4bit")]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)

    # What is saved is what was trained: quantised weights with the adapter beside them.
    net = models.load_model(settings.model.path).denoiser
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    quantise(net.net, settings, False, device)
    kind = bitsandbytes().nn.Linear4bit
    packed: list[Any] = [one for one in net.modules() if isinstance(one, kind)]
    assert len(packed) == 2 * 7
    assert all(one.weight.dtype == torch.uint8 and one.weight.quant_state for one in packed)
    assert net.net.get_output_embeddings().weight.dtype == torch.float32
    base = weights_of(Path(settings.model.path))
    state = dequantised(net, net.state_dict())
    untouched = "model.layers.0.mlp.up_proj.weight"
    saved = weights_of(out / "4bit" / "model")
    assert saved.keys() == base.keys()
    up = saved["model.transformer.blocks.0.up_proj.weight"]
    torch.testing.assert_close(up, state[f"net.{untouched}"].cpu(), atol=0, rtol=0)
    difference = (up - base["model.transformer.blocks.0.up_proj.weight"]).abs()
    assert 0 < difference.mean() < 0.2 * up.abs().mean()

    # The same command goes on bit-equally.
    for gone in ("checkpoints/step-00000004/state.json", "summary.json"):
        (out / "4bit" / gone).unlink()
    before = (out / "4bit" / "training.jsonl").read_bytes()
    (out / "4bit" / "checkpoints" / "step-00000004").rename(out / "gone")
    assert fine_tune(settings, out / "4bit", say=lambda _: None) == summary
    assert (out / "4bit" / "training.jsonl").read_bytes() == before
    again = weights_of(out / "4bit" / "model")
    assert all(torch.equal(saved[name], again[name]) for name in saved)


def test_adapters_are_trained_on_4_bits(settings: Settings, tmp_path: Path) -> None:
    """On this machine's device, which may be a CPU."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is missing: pip install -e .[4bit]")
    check_training(settings, tmp_path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_holds_4_bits(settings: Settings, tmp_path: Path) -> None:
    """In bfloat16, with checkpointed activations; nothing stays on the CPU."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is missing: pip install -e .[4bit]")
    chosen = replace(settings, precision=Precision.BFLOAT16, gradient_checkpointing=True)
    check_training(chosen, tmp_path)
    net, ids_BT = models.load_model(settings.model.path).denoiser, ids().cuda()
    quantise(net.net, chosen, False, torch.device("cuda"))
    assert all(one.is_cuda for one in net.parameters())
    with torch.autocast("cuda", torch.bfloat16), torch.no_grad():
        at_R = torch.arange(ids_BT.numel(), device=ids_BT.device)
        assert net.features(ids_BT, at_R, None).isfinite().all()
