from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData

from diffusion.data.layout import Form
from diffusion.decoding import Order
from diffusion.decoding.sampling import Fill
from diffusion.evaluation.results import Result
from diffusion.evaluation.settings import Evaluation, System, Training
from diffusion.settings import ModelReference, Settings
from flows.model_cards import render_model_card, write_model_cards
from schemas.manifest import Manifest
from tests.curation import samples

SUMMARY: dict[str, Any] = {
    "instances": 300,
    "steps": 18,
    "loss": 0.51234,
    "validation": {"loss": 0.6},
}


def settings(**changes: Any) -> Settings:
    given: dict[str, Any] = {"name": "demo_nap", "corpus": "runs/demo"}
    given["model"] = ModelReference(path="tiny/dlm")
    return Settings(**(given | changes))


def result(**changes: Any) -> Result:
    given: dict[str, Any] = {
        "system": "NAP + PF",
        "benchmark": "tiny",
        "base": "tiny",
        "training": Training.NAP,
        "tuned_paths": 3,
        "order": Order.FORCED,
        "rule": "parallel_forced",
        "cache": None,
        "form": Form.CANVAS,
        "paths": 3,
        "masks": 156,
        "temperature": 0.0,
        "fill": Fill.FREE,
        "seed": 0,
        "steps": 52,
        "rows": "cells/x.parquet",
        "count": 64,
        "right": 40,
        "unread": 2,
        "accuracy": 0.625,
        "low": 0.5023,
        "high": 0.7336,
        "nfe": 52.0,
        "tokens_per_step": 3.0,
        "content_tokens_per_step": 2.5,
        "arness": 0.4321,
        "arness_low": 0.4,
        "arness_high": 0.46,
        "chance": 0.1,
        "corrected": 0.3,
        "local": 0.5,
        "content_arness": 0.4,
        "content_corrected": 0.3,
        "content_local": 0.5,
        "by_slot": (0.5,),
        "device": "cpu",
        "device_name": "2 cores",
        "dtype": "float32",
    }
    return Result(**(given | changes))


@pytest.fixture
def manifest() -> Manifest:
    return samples.manifest_of(samples.recipe(), samples.corpus(30))


def test_the_accuracies_are_the_metadata_that_the_hub_shows(manifest: Manifest) -> None:
    slow = result(steps=None, accuracy=0.75, right=48, arness=None)
    text = render_model_card(settings(), SUMMARY, manifest, [result(), slow])
    data = ModelCard(text).data
    assert isinstance(data, ModelCardData)
    assert data.license == "apache-2.0", "of the base, whose card says so"
    assert data.base_model is None, "a folder is no id of the Hub"
    assert data.eval_results is not None
    assert [(one.metric_name, one.metric_value) for one in data.eval_results] == [
        ("accuracy: NAP + PF, canvas, 52 steps", 0.625),
        ("accuracy: NAP + PF, canvas, steps by rule", 0.75),
    ]
    assert "| 62.5% [50.2%, 73.4%] | 52 | 3 | 0.432 |" in text
    assert "| 75.0% [" in text and text.count("| - |") == 1
    assert "300 instances, 18 steps of 256" in text and "on held-out rows: 0.600." in text
    assert "build `0123456789ab`, 30 canvases of 3 paths" in text
    assert "Decoded on 2 cores in float32." in text


def test_a_base_of_the_hub_is_named_and_no_license_is_made_up(manifest: Manifest) -> None:
    base = ModelReference(path="org/base-8b")
    text = render_model_card(settings(model=base), SUMMARY | {"validation": None}, manifest, [])
    data = ModelCard(text).data
    assert isinstance(data, ModelCardData)
    assert (data.base_model, data.license, data.eval_results) == ("org/base-8b", None, None)
    assert "its license applies" in text and "on held-out rows: not measured." in text
    assert "evaluated no system that decodes this model" in text


def test_every_model_gets_its_own_results_and_is_written_once(
    manifest: Manifest, tmp_path: Path
) -> None:
    folders = {tmp_path / name: (settings(name=name), SUMMARY) for name in ("one", "two")}
    for folder in folders:
        (folder / "model").mkdir(parents=True)
    rule: dict[str, Any] = {"kind": "parallel_forced"}
    systems = tuple(
        System(
            name=folder.name,
            model=ModelReference(path=str(folder / "model")),
            rule=rule,
            base="tiny",
            training=Training.NAP,
        )
        for folder in folders
    )
    evaluation = Evaluation(
        name="e", benchmark={"kind": "tiny"}, systems=systems, steps=(52,), masks=156
    )
    results = [result(system="one"), result(system="two", accuracy=0.25)]
    cards = write_model_cards(folders, manifest, evaluation, results)
    assert [card.parent.parent.name for card in cards] == ["one", "two"]
    first, second = (card.read_text(encoding="utf-8") for card in cards)
    assert "62.5%" in first and "25.0%" not in first
    assert "25.0%" in second and "62.5%" not in second
    before = [card.stat().st_mtime_ns for card in cards]
    assert write_model_cards(folders, manifest, evaluation, results) == cards
    assert [card.stat().st_mtime_ns for card in cards] == before
