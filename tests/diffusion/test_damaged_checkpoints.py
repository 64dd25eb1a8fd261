"""Damaged checkpoints of a training are found by their digests, named, and passed over."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion.settings import ModelReference, Precision, Settings
from diffusion.training import checkpoint
from diffusion.training.train import fine_tune
from support.errors import DamagedError, StoppedError, UserError
from tests.diffusion.checkpoints import make, weights_of, write_corpus


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("made")
    return Settings(
        name="small",
        model=ModelReference(path=str(make("a2d-qwen3", folder / "model"))),
        corpus=str(write_corpus(folder / "corpus", rows=8, validation=2)),
        slot_tokens=30,
        summary_tokens=12,
        epochs=3,
        batch=4,
        learning_rate=1e-3,
        precision=Precision.FLOAT32,
        checkpoint_every=2,
    )


@pytest.fixture(scope="module")
def ended(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ended") / "run"
    fine_tune(settings, out)
    (out / "summary.json").unlink()
    return out


@pytest.fixture
def run(ended: Path, tmp_path: Path) -> Path:
    """A training whose checkpoints of steps 4 and 6 are kept, and whose end is yet to be made."""
    return Path(shutil.copytree(ended, tmp_path / "run"))


def state_of(out: Path, step: int) -> Path:
    (file,) = (out / "checkpoints" / f"step-{step:08d}").glob("*.safetensors")
    return file


def flip(file: Path, at: int, bit: int = 0) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1 << bit
    file.write_bytes(content)


def place_of(file: Path, start: str) -> int:
    """Where the numbers of the first tensor lie whose name begins with `start`."""
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    facts = json.loads(content[8 : 8 + size])
    name = next(name for name in facts if name.startswith(start))
    return 8 + size + int(facts[name]["data_offsets"][0])


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "length of the header": lambda file: flip(file, 0),
    "header": lambda file: flip(file, 40),
    "a weight": lambda file: flip(file, place_of(file, "model.")),
    "a moment": lambda file: flip(file, place_of(file, "optimizer.")),
    "the last byte": lambda file: flip(file, -1, bit=7),
    "cut off": cut,
    "empty": lambda file: file.write_bytes(b""),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_checkpoint_before_a_damaged_one_is_taken(
    damage: str, settings: Settings, run: Path
) -> None:
    expected = weights_of(run / "model")
    summary = (run / "training.jsonl").read_bytes()
    DAMAGES[damage](state_of(run, 6))
    said: list[str] = []
    fine_tune(settings, run, say=said.append)
    assert f"{state_of(run, 6)} is damaged" in said[0]
    assert said[0].endswith("; the checkpoint before it, step-00000004, is taken")
    assert "going on from step 4" in said[1]
    assert (run / "training.jsonl").read_bytes() == summary
    found = weights_of(run / "model")
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_another_checkpoint_a_damaged_one_ends_the_command(
    damage: str, settings: Settings, run: Path
) -> None:
    state_of(run, 4).unlink()
    DAMAGES[damage](state_of(run, 6))
    said: list[str] = []
    with pytest.raises(DamagedError) as error:
        fine_tune(settings, run, say=said.append)
    assert error.value.exit_code == 1
    assert str(error.value).startswith(f"{run}/checkpoints/step-00000004/state-00000")
    assert str(error.value).endswith(
        f"no checkpoint before it is left; delete {run}/checkpoints, and the same command trains "
        "from the first step"
    )
    assert "\n" not in str(error.value)
    assert "step-00000006" in said[0]


def test_no_flipped_bit_of_the_position_is_believed(run: Path, tmp_path: Path) -> None:
    folder = run / "checkpoints" / "step-00000006"
    before = checkpoint.read_position(folder)
    whole = (folder / "state.json").read_bytes()
    for at in range(len(whole)):
        for bit in (0, 2, 6):
            flip(folder / "state.json", at, bit)
            try:
                assert checkpoint.read_position(folder) == before
            except DamagedError as error:
                assert "state.json is damaged" in str(error)
            (folder / "state.json").write_bytes(whole)


def test_a_damaged_position_is_passed_over(settings: Settings, run: Path) -> None:
    file = run / "checkpoints" / "step-00000006" / "state.json"
    file.write_text(file.read_text().replace('"step": 6', '"step": 5'))
    said: list[str] = []
    fine_tune(settings, run, say=said.append)
    assert said[0].startswith(f"{file} is damaged")


def older(file: Path) -> None:
    """Take the digests out of a `state.json`, as versions before them wrote it."""
    facts = json.loads(file.read_text())
    del facts["files"], facts["sha256"]
    file.write_text(json.dumps(facts, indent=1) + "\n")


def test_a_checkpoint_of_an_earlier_version_is_loaded(settings: Settings, run: Path) -> None:
    for step in (4, 6):
        older(state_of(run, step).with_name("state.json"))
    said: list[str] = []
    fine_tune(settings, run, say=said.append)
    assert "step-00000006: is of an earlier version, without digests" in said[0]
    assert "going on from step 6" in said[1]
    assert len(said) == 2


def test_a_number_that_is_not_finite_is_not_trained_on(settings: Settings, run: Path) -> None:
    """Without digests, too: it would be blamed on the learning rate."""
    file = state_of(run, 6)
    older(file.with_name("state.json"))
    state = load_file(file)
    name = next(name for name in state if name.endswith("exp_avg"))
    state[name].view(-1)[0] = torch.nan
    save_file(state, file)
    said: list[str] = []
    fine_tune(settings, run, say=said.append)
    assert f"{file} is damaged ({name} holds a number that is not finite)" in said[1]


def test_what_was_trained_after_a_damaged_checkpoint_is_kept(settings: Settings, run: Path) -> None:
    """With one checkpoint kept, the damaged one of a later step must not take its place."""
    cut(state_of(run, 6))
    before = json.loads(state_of(run, 4).with_name("state.json").read_text())
    place = checkpoint.TrainingPosition(
        step=5, digest=before["digest"], processes=1, is_sharded=False
    )
    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(net.parameters())
    folder = run / "checkpoints"
    checkpoint.save_checkpoint(
        folder, place, net, optimizer, process=0, keep=1, any_of=lambda is_true: is_true
    )
    assert [one.name for one in folder.iterdir()] == ["step-00000005"]
    assert {one.name for one in (folder / "step-00000005").iterdir()} == {
        "state-00000-of-00001.safetensors",
        "state.json",
    }


def test_a_checkpoint_without_the_file_of_a_process_is_none(run: Path) -> None:
    """Another machine that writes to a disk of its own leaves nothing here."""
    place = checkpoint.TrainingPosition(step=7, digest="d", processes=2, is_sharded=True)
    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(net.parameters())
    folder = run / "checkpoints"
    says = r"cannot be written \(state-00001-of-00002\.safetensors is not there; do all machines"
    with pytest.raises(StoppedError, match=says):
        checkpoint.save_checkpoint(
            folder, place, net, optimizer, process=0, keep=2, any_of=lambda is_true: is_true
        )
    names = {one.name for one in folder.iterdir()}
    assert names == {"step-00000004", "step-00000006"}


def test_another_training_is_still_the_users_mistake(settings: Settings, run: Path) -> None:
    with pytest.raises(UserError, match="holds a training with another"):
        fine_tune(replace(settings, learning_rate=1e-4), run)
