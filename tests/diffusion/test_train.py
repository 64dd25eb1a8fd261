"""Training from end to end: resume, processes, refusals, faults."""

import json
import signal
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
import torch

from diffusion import models
from diffusion.data.layout import Form
from diffusion.settings import Lora, ModelReference, Precision, Settings, Tracker
from diffusion.training import checkpoint
from diffusion.training.train import fine_tune
from schemas.arrow import RELEASE
from support.errors import NothingReleasedError, PolytraceError, StoppedError, UserError
from support.network import free_port
from tests.diffusion.checkpoints import FAMILIES, make, weights_of, write_corpus
from tests.diffusion.layouts import FULL
from tests.diffusion.trained import train, train_as
from tests.forked import begin


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("masked_lm", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def settings(model: Path, corpus: Path) -> Settings:
    return Settings(
        name="small",
        model=ModelReference(path=str(model)),
        corpus=str(corpus),
        slot_tokens=30,
        summary_tokens=12,
        epochs=3,
        batch=6,
        learning_rate=1e-3,
        precision=Precision.FLOAT32,
        micro_tokens=600,
        validate_every=5,
        checkpoint_every=3,
    )


def lines(out: Path, name: str = "training.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


@pytest.mark.parametrize("form", list(Form))
def test_a_training_ends_with_a_model_that_has_learnt(
    settings: Settings, form: Form, tmp_path: Path
) -> None:
    chosen = replace(settings, form=form, epochs=10)
    said: list[str] = []
    summary = fine_tune(chosen, tmp_path / "run", say=said.append)
    steps = lines(tmp_path / "run")
    assert [line["step"] for line in steps] == list(range(1, 41))
    assert steps[-1]["loss"] < 0.8 * steps[0]["loss"]
    assert summary.rows == summary.instances == 24
    assert summary.masks == 102
    assert "24 rows = 24 instances + 0 refused" in said[0]
    assert all(line["instances"] == 6 and line["answer_tokens"] == 612 for line in steps)
    buckets = lines(tmp_path / "run", "validation.jsonl")
    assert buckets[-1]["step"] == 40
    assert len(buckets[-1]["content"]) == 5
    tuned = models.load_model(str(tmp_path / "run" / "model"))
    before = weights_of(Path(settings.model.path))
    after = weights_of(tmp_path / "run" / "model")
    assert before.keys() == after.keys()
    assert not torch.equal(before["head.dense.weight"], after["head.dense.weight"])
    assert tuned.family == "masked_lm"
    assert fine_tune(chosen, tmp_path / "run", say=said.append) == summary
    assert len(said) == 1  # nothing was done the second time


@pytest.mark.parametrize("family", [*FAMILIES, *FULL])
def test_every_family_is_trained_and_saved_in_its_own_layout(
    settings: Settings, family: str, tmp_path: Path
) -> None:
    source = make(family, tmp_path / "model", torch.bfloat16)
    chosen = replace(
        settings,
        model=ModelReference(path=str(source)),
        epochs=1,
        precision=Precision.BFLOAT16,
        gradient_checkpointing=True,
    )
    fine_tune(chosen, tmp_path / "run")
    before, after = weights_of(source), weights_of(tmp_path / "run" / "model")
    assert {n: (t.shape, t.dtype) for n, t in before.items()} == {
        n: (t.shape, t.dtype) for n, t in after.items()
    }
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    if family == "llada_moe":
        assert {name.split(".")[4] for name in changed if ".mlp." in name} >= {"experts", "gate"}


def test_gradient_checkpointing_changes_no_loss(settings: Settings, tmp_path: Path) -> None:
    fine_tune(replace(settings, epochs=1), tmp_path / "plain")
    fine_tune(replace(settings, epochs=1, gradient_checkpointing=True), tmp_path / "checkpointed")
    for one, other in zip(lines(tmp_path / "plain"), lines(tmp_path / "checkpointed"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-6)


@pytest.mark.slow
def test_the_curve_goes_on_bit_equally_after_kills_at_random_steps(
    settings: Settings, tmp_path: Path
) -> None:
    chosen = replace(settings, epochs=10)  # 40 steps, a checkpoint every 3
    whole = begin(train, chosen, tmp_path / "whole")  # with as many threads: sums differ
    rng, out = Random(5), tmp_path / "killed"
    targets = sorted(rng.sample(range(2, 39), 5))
    for target in targets:
        process = begin(train, chosen, out)
        deadline = time.monotonic() + 120
        while process.is_alive() and time.monotonic() < deadline:
            log = out / "training.jsonl"
            if log.exists() and log.read_text().count("\n") >= target:
                process.kill()
                break
            time.sleep(0.005)
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it was killed, and did not end by itself"
    process = begin(train, chosen, out, output=tmp_path / "errors")
    for ended in (process, whole):
        ended.join(120)
        assert ended.exitcode == 0, (tmp_path / "errors").read_text()
    for name in ("training.jsonl", "validation.jsonl", "summary.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    after, expected = weights_of(out / "model"), weights_of(tmp_path / "whole" / "model")
    assert all(torch.equal(after[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_sigterm_saves_and_ends_with_3(settings: Settings, tmp_path: Path) -> None:
    out, said = tmp_path / "run", tmp_path / "errors"
    process = begin(train, replace(settings, epochs=200, checkpoint_every=0), out, output=said)
    while not (out / "training.jsonl").exists() or not (out / "training.jsonl").read_text():
        assert process.is_alive(), said.read_text()
        time.sleep(0.01)
    process.terminate()
    process.join(60)
    assert process.exitcode == 3, said.read_text()
    assert "the checkpoint is saved, and the same command goes on" in said.read_text()
    found = checkpoint.latest(out / "checkpoints")
    assert found is not None
    assert checkpoint.read_position(found).step == len(lines(out))


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(settings: Settings, tmp_path: Path) -> None:
    """2 gloo processes x 1 piece against 1 process x 2 pieces."""
    chosen = replace(settings, epochs=2, checkpoint_every=0)
    fine_tune(chosen, tmp_path / "one")
    port, said = free_port("127.0.0.1", set()), [tmp_path / "said0", tmp_path / "said1"]
    both = [
        begin(train_as, rank, 2, port, chosen, tmp_path / "two", output=file)
        for rank, file in enumerate(said)
    ]
    for process, file in zip(both, said, strict=True):
        process.join(180)
        assert process.exitcode == 0, file.read_text()[-3000:]
    assert "2 x cpu" in said[0].read_text()
    one, two = lines(tmp_path / "one"), lines(tmp_path / "two")
    assert len(one) == len(two) == 8
    for a, b in zip(one, two, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-6)
        assert a["gradient_norm"] == pytest.approx(b["gradient_norm"], rel=1e-4)
        assert a["answer_tokens"] == b["answer_tokens"]


def test_lora_trains_adapters_alone_and_saves_them_merged(
    settings: Settings, tmp_path: Path
) -> None:
    source = make("llada", tmp_path / "model")
    chosen = replace(
        settings,
        model=ModelReference(path=str(source)),
        lora=Lora(rank=2, modules=("q_proj", "v_proj")),
    )
    summary = fine_tune(chosen, tmp_path / "run")
    assert summary.trained_parameters == 2 * 2 * 2 * (32 + 32)
    before, after = weights_of(source), weights_of(tmp_path / "run" / "model")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        f"model.transformer.blocks.{layer}.{name}.weight"
        for layer in range(2)
        for name in ("q_proj", "v_proj")
    }
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").exists()
    with pytest.raises(UserError, match=r"lora\.modules"):
        fine_tune(replace(chosen, lora=Lora(modules=("nothing",))), tmp_path / "other")
    with pytest.raises(UserError, match="head takes no adapter"):
        fine_tune(replace(chosen, lora=Lora(modules=("lm_head",))), tmp_path / "other")


def test_what_does_not_fit_is_counted_and_refused(
    settings: Settings, model: Path, tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / "corpus", first_prompt="why " * 600)
    said: list[str] = []
    chosen = replace(settings, corpus=str(corpus), slot_tokens=20, summary_tokens=8, epochs=1)
    summary = fine_tune(chosen, tmp_path / "run", say=said.append)
    assert summary.rows == 24 == summary.instances + sum(summary.refused.values())
    assert summary.refused["exceeds_context"] == 1
    assert summary.refused["slot_too_short"] > 0
    refused = lines(tmp_path / "run", "refused.jsonl")
    of_split = Counter(line["split"] for line in refused)
    assert of_split["train"] == sum(summary.refused.values())
    assert of_split["validation"] == sum(summary.validation_refused.values()) > 0
    assert f"validation: {of_split['validation']} rows = 0 instances" in said[0]
    (long,) = [r for r in refused if r["reason"] == "exceeds_context"]
    assert long["id"] == "row0"
    assert "the model sees 512" in long["detail"]
    assert "exceeds_context 1" in said[0]
    with pytest.raises(NothingReleasedError, match="no instance fits"):
        fine_tune(replace(chosen, slot_tokens=1), tmp_path / "none")
    few = fine_tune(replace(settings, paths=2, epochs=1), tmp_path / "two")
    assert few.masks == 72
    with pytest.raises(NothingReleasedError, match="too_few_paths 24"):
        fine_tune(replace(settings, paths=4), tmp_path / "four")


def test_a_corpus_of_another_schema_version_is_the_users_mistake(
    settings: Settings, tmp_path: Path
) -> None:
    other = write_corpus(tmp_path / "a", schema=RELEASE.with_metadata({"polytrace.schema": "999"}))
    with pytest.raises(UserError, match="schema version 999"):
        fine_tune(replace(settings, corpus=str(other)), tmp_path / "run")
    plain = write_corpus(tmp_path / "b", schema=pa.schema(list(RELEASE)))
    with pytest.raises(UserError, match="no file of a Polytrace release"):
        fine_tune(replace(settings, corpus=str(plain)), tmp_path / "run")
    (file,) = (write_corpus(tmp_path / "c") / "data").glob("train-*")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match="cannot be read"):
        fine_tune(replace(settings, corpus=str(tmp_path / "c")), tmp_path / "run")
    with pytest.raises(UserError, match="no such folder"):
        fine_tune(replace(settings, corpus=str(tmp_path / "nowhere")), tmp_path / "run")


def test_a_loss_that_is_no_number_ends_with_the_last_checkpoint_whole(
    settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    wild = replace(settings, learning_rate=1e30, warmup=0.0, clip=1e30, epochs=10)
    with pytest.raises(PolytraceError, match=r"step \d+: the loss is (nan|inf)") as error:
        fine_tune(replace(wild, checkpoint_every=1), out)
    assert error.value.exit_code == 1
    assert "step-00000001 is whole" in str(error.value)
    found = checkpoint.latest(out / "checkpoints")
    assert found is not None
    assert checkpoint.read_position(found).step == 1


@pytest.mark.slow
def test_a_full_disk_at_a_checkpoint_leaves_the_last_one_whole(
    settings: Settings, tmp_path: Path
) -> None:
    """Files may grow to a limit: the weights of the first checkpoints fit, optimiser added."""
    out = tmp_path / "run"
    fine_tune(settings, out)
    whole = (out / "training.jsonl").read_bytes()
    (state,) = out.glob("checkpoints/step-00000012/*.safetensors")
    size = state.stat().st_size
    other, said = tmp_path / "full", tmp_path / "errors"
    stopping = replace(settings, epochs=1, checkpoint_every=0)
    process = begin(train, stopping, other, size // 2, output=said)
    process.join(120)
    assert process.exitcode == 3, said.read_text()
    assert "cannot be written" in said.read_text()
    assert "there is none before it" in said.read_text()
    assert not list(other.glob("checkpoints/*"))
    fine_tune(stopping, other)
    assert whole.startswith((other / "training.jsonl").read_bytes()[:100])


def test_other_settings_or_data_in_one_folder_are_refused(
    settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    fine_tune(settings, out)
    with pytest.raises(UserError, match="tuned from another model, corpus or settings"):
        fine_tune(replace(settings, learning_rate=1e-4), out)
    (out / "summary.json").unlink()
    with pytest.raises(UserError, match="holds a training with another"):
        fine_tune(replace(settings, learning_rate=1e-4), out)
    other = write_corpus(tmp_path / "corpus", rows=23)
    with pytest.raises(UserError, match="holds a training with another"):
        fine_tune(replace(settings, corpus=str(other)), out)


def test_leftovers_of_a_kill_cost_no_whole_checkpoint(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "run"
    leftover = out / "checkpoints" / "step-99999999.part"
    leftover.mkdir(parents=True)
    fine_tune(replace(settings, checkpoints=1), out)
    assert [p.name for p in (out / "checkpoints").iterdir()] == ["step-00000012"]


def test_an_end_that_was_cut_off_is_taken_up_without_measuring_twice(
    settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    whole = fine_tune(settings, out)
    (out / "summary.json").unlink()
    assert fine_tune(settings, out) == whole
    assert [line["step"] for line in lines(out, "validation.jsonl")] == [5, 10, 12]


def test_a_mask_in_a_text_is_refused(settings: Settings, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", first_prompt="What is <|mask|>?")
    summary = fine_tune(replace(settings, corpus=str(corpus), epochs=1), tmp_path / "run")
    assert summary.refused == {"special_token": 1}


def test_curves_are_sent_to_tensorboard(settings: Settings, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fine_tune(replace(settings, trackers=(Tracker.TENSORBOARD,)), tmp_path / "run")
    (folder,) = {file.parent for file in (tmp_path / "run" / "tracking" / "small").glob("events*")}
    events = EventAccumulator(str(folder))
    events.Reload()
    assert {"loss", "content_nats", "validation/loss"} <= set(events.Tags()["scalars"])
    assert [e.step for e in events.Scalars("loss")] == list(range(1, 13))


def test_a_missing_extra_is_one_sentence_with_the_command_that_installs_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accelerate.tracking._available_trackers", ["tensorboard"])
    monkeypatch.setitem(sys.modules, "peft", None)
    wanted = replace(settings, trackers=(*Tracker,), lora=Lora())
    with pytest.raises(
        UserError, match=r'^lora,wandb: .* pip install -e "\.\[lora,wandb\]" in the checkout$'
    ):
        fine_tune(wanted, tmp_path / "run")


@pytest.mark.slow
def test_curves_are_sent_to_wandb(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline: the file that `wandb sync` would send holds every step's loss."""
    pytest.importorskip("wandb", reason="pip install -e .[wandb]")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    fine_tune(replace(settings, trackers=(Tracker.WANDB,)), tmp_path / "run")
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    losses = [json.dumps(line["loss"]).encode() for line in lines(tmp_path / "run")]
    deadline = time.monotonic() + 60  # W&B's own process may write the last lines after the end
    while not all(loss in file.read_bytes() for loss in losses):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert b"validation/loss" in file.read_bytes()


def test_settings_are_checked(settings: Settings) -> None:
    wrong: tuple[tuple[str, Any], ...] = (
        *(("epochs", 0), ("batch", 0), ("warmup", 1.5), ("learning_rate", 0.0)),
    )
    for name, value in wrong:
        with pytest.raises(ValueError, match=name):
            replace(settings, **{name: value})
    with pytest.raises(ValueError, match="clip: inf is not a finite number above 0"):
        replace(settings, clip=float("inf"))
    with pytest.raises(ValueError, match="no name for a folder"):
        replace(settings, name="../up")


def test_a_stopped_training_says_what_to_do() -> None:
    assert StoppedError("x").exit_code == 3
