"""`polytrace train` and the fine-tuning flow, as a user starts them."""

import json
from pathlib import Path

import pytest
import yaml

from diffusion import models
from diffusion.settings import Settings
from diffusion.training.estimate import GPUS, estimate, parse_devices
from flows.recipe_files import TRAININGS, as_yaml, settings_of
from support.errors import UserError
from tests.diffusion.checkpoints import make, write_corpus
from tests.flows.commands import on_server, polytrace

NAMES = sorted(file.stem for file in TRAININGS.glob("*.yaml"))


def small(folder: Path) -> tuple[str, ...]:
    model = make("masked_lm", folder / "model")
    corpus = write_corpus(folder / "corpus")
    values = {
        "model.path": model,
        "corpus": corpus,
        "slot_tokens": 30,
        "epochs": 2,
        "batch": 8,
        "precision": "float32",
    }
    return tuple(x for name, value in values.items() for x in ("--set", f"{name}={value}"))


def test_a_model_is_trained_from_the_command_line(tmp_path: Path) -> None:
    overrides = small(tmp_path)
    done = polytrace("train", "tiny_nap", *overrides, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "tuned in 6 steps on 24 of 24 rows" in done.stdout
    assert "24 rows = 24 instances + 0 refused" in done.stderr
    out = tmp_path / "runs" / "tiny_nap"
    assert {p.name for p in out.iterdir()} >= {
        *("model", "training.jsonl", "validation.jsonl", "refused.jsonl"),
        *("summary.json", "recipe.yaml", "checkpoints"),
    }
    assert models.load_model(str(out / "model")).family == "masked_lm"
    written = (out / "model" / "model.safetensors").read_bytes()
    again = polytrace("train", str(out / "recipe.yaml"), cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout
    assert (out / "model" / "model.safetensors").read_bytes() == written
    other = polytrace("train", "tiny_nap", *overrides, "--set", "epochs=3", cwd=tmp_path)
    assert other.returncode == 2
    assert "choose another --out" in other.stderr


def test_a_corpus_that_was_built_anew_is_noticed(tmp_path: Path) -> None:
    overrides = small(tmp_path)
    assert polytrace("train", "tiny_nap", *overrides, cwd=tmp_path).returncode == 0
    write_corpus(tmp_path / "corpus", rows=25)
    done = polytrace("train", "tiny_nap", *overrides, cwd=tmp_path)
    assert done.returncode == 2
    assert "another model, corpus or settings" in done.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("epochs=0", "epochs: 0 is not at least 1"),
        ("epoch=2", "did you mean 'epochs'?"),
        ("model.pth=x", "did you mean 'path'?"),
        ("form=grid", "form is 'grid'; give 'canvas' or 'long_cot'"),
        ("corpus=nowhere", "no such folder"),
        ("model.path=nowhere/at all", "is no local directory"),
        ("lora.rank=0", "lora.rank: 0 is not at least 1"),
        ("model.path=https://user:secret@host/x", "secrets belong in the environment"),
    ],
)
def test_a_mistake_is_explained(change: str, said: str, tmp_path: Path) -> None:
    args = ("train", "tiny_nap", *small(tmp_path), "--set", change)
    done = polytrace(*args, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "secret@" not in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_bundled_recipes_are_the_papers_or_tiny(name: str) -> None:
    settings = settings_of(name, ())
    assert settings.name == name
    assert yaml.safe_load(as_yaml(settings))["form"] == settings.form
    if not name.startswith(("tiny", "miniature")):
        assert (settings.epochs, settings.learning_rate, settings.batch) == (3, 2e-6, 256)
        assert (settings.paths, settings.slot_tokens, settings.summary_tokens) == (3, 330, 32)


def test_recipes_survive_being_written(tmp_path: Path) -> None:
    for name in NAMES:
        settings = settings_of(name, ("lora.rank=4", "trackers=[tensorboard]"))
        file = tmp_path / "recipe.yaml"
        file.write_text(as_yaml(settings))
        assert settings_of(str(file), ()) == settings


def small_settings(folder: Path) -> Settings:
    args = small(folder)
    return settings_of("tiny_nap", args[1::2])


def test_an_estimate_loads_nothing_and_shows_its_terms(tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    found = estimate(settings, 8, "a800-80gb")
    assert found.parameters == 49_149
    assert found.rows == found.instances == 24
    assert found.steps == 6
    assert found.memory == (
        found.held.weights
        + found.held.gradients
        + found.held.optimizer
        + found.held.activations
        + found.held.head
    )
    assert found.hours is not None
    assert "8 x a800-80gb: fits into 80.0 GiB" in found.text()
    unknown = estimate(settings, 1, None)
    assert unknown.hours is None
    assert "not known" in unknown.text()


def test_the_paper_at_full_size_is_estimated_from_a_config_alone(tmp_path: Path) -> None:
    """LLaDA-8B's shapes without its weights: it fits sharded, and takes hours."""
    folder = make("llada", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "d_model": 4096, "n_heads": 32, "n_kv_heads": 32, "n_layers": 32,
        "mlp_hidden_size": 12288, "embedding_size": 126464, "max_sequence_length": 4096,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()
    corpus = write_corpus(tmp_path / "corpus", rows=300)
    settings = settings_of("llada_nap", (f"model.path={folder}", f"corpus={corpus}"))
    found = estimate(settings, 8, "a800-80gb")
    assert found.parameters == pytest.approx(8.02e9, rel=0.01)
    assert found.memory < 80 * 2**30
    assert found.hours is not None
    at_scale = found.hours * 103_000 / 300
    # 3 x 103K x 1,100 tokens x 8 x 8.0e9 FLOP at 8 x 312 TFLOP/s x 0.4: 6 h
    assert 4 < at_scale < 8
    alone = estimate(settings, 1, "a800-80gb")
    assert "DOES NOT FIT" in alone.text()


def test_devices_are_named_or_refused() -> None:
    assert parse_devices("8xA800-80GB") == (8, "a800-80gb")
    assert parse_devices("h100-80gb") == (1, "h100-80gb")
    assert all(parse_devices(f"2x{name}") == (2, name) for name in GPUS)
    for wrong in ("8xfoo", "0xh100-80gb", "foo", "x", ""):
        with pytest.raises(UserError, match="COUNTxKIND"):
            parse_devices(wrong)


@pytest.mark.slow
def test_the_flow_trains_on_a_real_prefect_server(
    tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.finetune import finetune

    monkeypatch.chdir(tmp_path)
    with on_server(prefect_api):
        summary = finetune(small_settings(tmp_path))
    assert summary["instances"] == 24
    assert (tmp_path / "runs" / "tiny_nap" / "model" / "config.json").exists()


@pytest.mark.slow
def test_the_flow_passes_on_what_went_wrong(tmp_path: Path) -> None:
    from flows.finetune import train

    settings = small_settings(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(as_yaml(settings).replace(str(tmp_path / "corpus"), "nowhere"))
    with pytest.raises(UserError, match="nowhere: no such folder"):
        train.fn(str(recipe), str(tmp_path / "run"), None)
