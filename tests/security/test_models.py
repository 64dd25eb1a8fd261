"""Model and run directories that hold pickles and code of their own: nothing of it is run."""

import json
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from curation.teachers.local.causal_lm import load_causal_lm
from flows.cli import app
from support.errors import UserError
from tests.curation.samples import corpus, write_run
from tests.diffusion.checkpoints import make, write_corpus

CODE = "from pathlib import Path\nPath({canary!r}).touch()\n"
AUTO = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForMaskedLM")
PLACES = ("data.pkl", "data.pickle", "pytorch_model.bin", "model.pt", "optimizer.pt", "state.pth")


class Evil:
    """Unpickled, it makes its canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.canary), "w")


def seed(folder: Path, canary: Path, names: Sequence[str] = PLACES) -> None:
    """Pickles in a folder: bare ones, and in torch's archives."""
    for number, name in enumerate(names):
        if number % 2:
            (folder / name).write_bytes(pickle.dumps(Evil(canary)))
        else:
            torch.save({"weight": Evil(canary)}, folder / name)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def run(*args: str) -> str:
    """The command's refusal; empty where it ends well."""
    result = CliRunner().invoke(app, args)
    if result.exception is None or result.exit_code == 0:
        return ""
    assert isinstance(result.exception, UserError), result.exception
    assert "\n" not in str(result.exception)
    return str(result.exception)


def commands(model: Path, folder: Path, run_directory: Path) -> dict[str, tuple[str, ...]]:
    """Every command that loads a model."""
    texts = folder / "texts.jsonl"
    texts.write_text('{"text": "1 + 1 = 2"}\n')
    rows = folder / "prompts.jsonl"
    rows.write_text('{"question": "1 + 1?", "answer": "2"}\n')
    source = ("--set", f"source.path={rows}", "--out", str(folder / "build"))
    own = ("build", "own", *source)
    return {
        "teacher": (*own, "--set", f"teacher.path={model}"),
        "scorer": (*own, "--set", "teacher.path=tiny/teacher", "--set", f"scorer.path={model}"),
        "score": (
            *("score", "--model", str(model), "--input", str(texts)),
            *("--out", str(folder / "scores.jsonl")),
        ),
        "train": (
            *("train", "tiny_nap", "--set", f"model.path={model}"),
            *("--set", f"corpus={run_directory}", "--out", str(folder / "train")),
        ),
        "evaluate": (
            *("evaluate", "tiny_base", "--set", f"systems.0.model.path={model}"),
            *("--set", "limit=2", "--out", str(folder / "evaluation")),
        ),
    }


def only_pickles(folder: Path, canary: Path) -> None:
    (folder / "model.safetensors").unlink()
    seed(folder, canary, ["pytorch_model.bin", "model.pkl"])


def an_index_of_pickles(folder: Path, canary: Path) -> None:
    seed(folder, canary)
    names = load_file(folder / "model.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "pytorch_model.bin")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


def an_index_that_leads_outside(folder: Path, canary: Path) -> None:
    names = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "../outside.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def an_adapter(folder: Path, canary: Path) -> None:
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    seed(folder, canary, ["adapter_model.bin"])


def code_of_its_own(folder: Path, canary: Path) -> None:
    (folder / "evil.py").write_text(CODE.format(canary=str(canary)))
    for name in ("config.json", "tokenizer_config.json"):
        facts = json.loads((folder / name).read_text())
        facts["auto_map"] = dict.fromkeys(AUTO, "evil.Evil")
        facts["auto_map"]["AutoTokenizer"] = ["evil.Evil", "evil.Evil"]
        facts |= {"model_type": "evil"} if name == "config.json" else {"tokenizer_class": "Evil"}
        (folder / name).write_text(json.dumps(facts))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, tiny_teacher: Path) -> dict[str, Path]:
    """Whole models: a causal one, a masked one; and a corpus."""
    folder = tmp_path_factory.mktemp("good")
    return {
        "causal": tiny_teacher,
        "masked": make("masked_lm", folder / "masked"),
        "corpus": write_corpus(folder / "corpus"),
    }


WEIGHTS = (only_pickles, an_index_of_pickles, an_index_that_leads_outside, an_adapter)
LOADING = ("scorer", "score", "train", "evaluate")
CASES = [(harm, command) for harm in WEIGHTS for command in ("teacher", *LOADING)]
CASES += [(code_of_its_own, command) for command in LOADING]


@pytest.mark.parametrize(("harm", "command"), CASES)
def test_a_model_that_would_run_something_is_refused_in_one_line(
    harm: Callable[[Path, Path], None],
    command: str,
    good: dict[str, Path],
    tmp_path: Path,
    canary: Path,
) -> None:
    kind = "masked" if command in ("train", "evaluate") else "causal"
    model = tmp_path / "model"
    shutil.copytree(good[kind], model)
    harm(model, canary)
    said = run(*commands(model, tmp_path, good["corpus"])[command])
    assert said and str(model) in said
    assert not canary.exists()


@pytest.mark.parametrize("command", ["teacher", *LOADING])
def test_kernels_that_a_config_names_are_not_fetched(
    command: str, good: dict[str, Path], tmp_path: Path
) -> None:
    """transformers would fetch them from the Hub and run them, where `kernels` is installed."""
    kind = "masked" if command in ("train", "evaluate") else "causal"
    model = tmp_path / "model"
    shutil.copytree(good[kind], model)
    facts = json.loads((model / "config.json").read_text())
    nested = {"attn_implementation": {"": "sdpa", "text_config": "someone/kernel@main"}}
    for named in ({"_attn_implementation": "someone/kernel"}, {"text_config": nested}):
        (model / "config.json").write_text(json.dumps(facts | named))
        said = run(*commands(model, tmp_path, good["corpus"])[command])
        assert "attn_implementation is 'someone/kernel" in said and "code on the Hub" in said


def test_a_teacher_with_code_of_its_own_is_refused_in_one_line(
    tmp_path: Path, tiny_teacher: Path, canary: Path
) -> None:
    """The build loads it only once it samples, so the loader is asked itself."""
    model = tmp_path / "model"
    shutil.copytree(tiny_teacher, model)
    code_of_its_own(model, canary)
    with pytest.raises(UserError, match=r"teacher\.path: .*cannot load the model") as caught:
        load_causal_lm(model, None, trust_remote_code=False)
    assert "\n" not in str(caught.value)
    assert not canary.exists()


@pytest.mark.parametrize("command", ["score", "train"])
def test_pickles_beside_a_model_are_not_looked_at(
    command: str, good: dict[str, Path], tmp_path: Path, canary: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(good["masked" if command == "train" else "causal"], model)
    seed(model, canary)
    done = tmp_path / "train" / "checkpoints" / "step-00000000.part"
    done.mkdir(parents=True)
    seed(tmp_path / "train", canary)
    seed(done.parent, canary)
    seed(done, canary)
    more = ("--set", "epochs=1", "--set", "slot_tokens=30") if command == "train" else ()
    assert run(*commands(model, tmp_path, good["corpus"])[command], *more) == ""
    assert not canary.exists()


def test_a_tokenizer_with_code_of_its_own_is_refused_without_a_question(
    tmp_path: Path, tiny_teacher: Path, canary: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_teacher, model)
    code_of_its_own(model, canary)
    (model / "tokenizer.json").unlink()
    arguments = commands(tiny_teacher, tmp_path, tmp_path)["teacher"]
    said = run(*arguments, "--set", f"canvas.tokenizer={model}")
    assert "canvas.tokenizer" in said
    assert not canary.exists()


def test_a_run_directory_full_of_pickles_is_only_looked_at(tmp_path: Path, canary: Path) -> None:
    folder = tmp_path / "run"
    write_run(folder, corpus(24))
    for place in (folder, *(one for one in folder.rglob("*") if one.is_dir())):
        seed(place, canary)
    assert run("verify", str(folder)) == ""
    assert run("inspect", str(folder)) == ""
    assert run("report", str(folder)) == ""
    assert not canary.exists()


def test_the_canary_would_be_seen(tmp_path: Path, canary: Path) -> None:
    seed(tmp_path, canary, ["a.bin"])
    torch.load(tmp_path / "a.bin", weights_only=False)
    assert canary.exists()
