"""From a corpus to tables: by hand, by itself after a build, again without doing anything twice."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from diffusion.training.training_log import STEPS
from flows.experiment import evaluation, find_experiment, folder_of, trainings
from flows.recipe_files import EXPERIMENTS
from support.errors import UserError
from tests.builds import BuiltRuns
from tests.flows.commands import alive, polytrace, start

NAMES = sorted(file.stem for file in EXPERIMENTS.glob("*.yaml"))


@pytest.fixture(scope="module")
def place(built_runs: BuiltRuns, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus of some canvases in runs/demo."""
    folder = tmp_path_factory.mktemp("place")
    built_runs.copy(folder / "runs" / "demo", "demo", limit=24)
    return folder


NAP_ALONE = (
    "systems=[{name: NAP + PF, base: tiny, training: nap, model: {path: runs/tiny_nap/model}, "
    "form: canvas, rule: {kind: parallel_forced}}]"
)


def small(folder: Path, *, nap_alone: bool = False) -> Path:
    """The tiny experiment with little to do, as a file; or of one training and one system alone."""
    experiment: dict[str, Any] = {
        "name": "small",
        "train": [
            {"recipe": "tiny_nap", "set": ["epochs=1", "validation=0"]},
            {"recipe": "tiny_long_cot", "set": ["epochs=1", "validation=0"]},
        ],
        "evaluate": {"recipe": "tiny_smoke", "set": ["limit=3", "steps=[13]"]},
        "seqdep": {"model": "tiny/teacher", "limit": 8},
    }
    if nap_alone:
        del experiment["train"][1]
        experiment["evaluate"]["set"].append(NAP_ALONE)
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(experiment))
    return file


def stamps(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and ("cells" in path.parts or "model" in path.parts)
    }


@pytest.mark.slow
def test_a_release_starts_its_experiment_and_by_hand_it_goes_on(
    place: Path, prefect_api: str
) -> None:
    experiment = small(place)
    built = polytrace(
        *("build", "demo", "--limit", "24", "--json", "--set", f"handoff={experiment}"),
        cwd=place,
        PREFECT_API_URL=prefect_api,
    )
    assert built.returncode == 0, built.stderr
    outcome = json.loads(built.stdout)
    folder = place / outcome["experiment"]
    assert folder.name.startswith("small-") and outcome["canvases"] >= 8
    report = (folder / "report.md").read_text()
    assert f"{outcome['canvases']} canvases" in report
    cards = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*/model/README.md"))]
    assert len(cards) == 2 and all("\nmodel-index:\n" in card for card in cards)
    assert "| tiny_nap | canvas | 3 |" in report and "| tiny_long_cot | long_cot | 3 |" in report
    assert "| NAP + PF | tiny, tiny problems | NAP |" in report
    assert "Table 5" in report and "control: one path repeated" in report
    for line in report.splitlines():
        if line.startswith("!["):
            assert (folder / line.partition("](")[2].rstrip(")")).is_file(), line
    results = json.loads((folder / "evaluation" / "results.json").read_text())
    assert {one["training"] for one in results} == {"base", "long_cot", "nap"}
    assert all(one["count"] == 3 for one in results)

    before = stamps(folder)
    again = polytrace(
        *("finetune-eval", str(experiment), "--corpus", "runs/demo"),
        cwd=place,
        PREFECT_API_URL=prefect_api,
    )
    assert again.returncode == 0, again.stderr
    assert stamps(folder) == before, "what is done is not done again"
    assert f"report   runs/{folder.name}/report.md" in again.stdout
    assert (folder / "report.md").read_text() == report
    rebuilt = polytrace(
        *("build", "demo", "--limit", "24", "--set", f"handoff={experiment}"),
        cwd=place,
        PREFECT_API_URL=prefect_api,
    )
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert f"tables   runs/{folder.name}/report.md" in rebuilt.stdout
    assert stamps(folder) == before


TWO_PROCESSES = """
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_CPU
num_machines: 1
num_processes: 2
machine_rank: 0
main_process_port: 0
use_cpu: true
"""


def begun(place: Path, api: str, out: str, processes: int) -> "subprocess.Popen[str]":
    """An experiment whose first training, on so many processes, has written some steps to `out`."""
    launched = []
    if processes == 2:
        (place / "two.yaml").write_text(TWO_PROCESSES)
        launched = ["--accelerate-config", "two.yaml"]
    experiment = yaml.safe_load(small(place).read_text())
    experiment["name"] = "stopped"
    experiment["train"][0]["set"] = ["epochs=300", "validation=0"]
    file = place / "stopped.yaml"
    file.write_text(yaml.safe_dump(experiment))
    process = start(
        *("finetune-eval", str(file), "--corpus", "runs/demo", "--out", out),
        *launched,
        cwd=place,
        PREFECT_API_URL=api,
    )
    while not any(file.stat().st_size for file in place.glob(f"{out}/*/{STEPS}")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    return process


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "number"), [(1, signal.SIGTERM), (2, signal.SIGINT)])
def test_a_stopped_experiment_saves_and_leaves_no_process(
    place: Path, prefect_api: str, processes: int, number: int
) -> None:
    out = f"stopped_{processes}"
    process = begun(place, prefect_api, out, processes)
    began = time.monotonic()
    os.killpg(process.pid, number)  # as Ctrl-C does, to all that the terminal has started
    _, err = process.communicate(timeout=120)
    print(f"{processes} processes, stopped by {number}: {time.monotonic() - began:.2f} s")
    assert process.returncode == 128 + number
    assert "interrupted; the same command goes on" in err and "Traceback" not in err
    (tuned,) = (place / out).glob("tiny_nap-*")
    assert list((tuned / "checkpoints").iterdir()), "it was saved"
    assert not trainers(out), "no training goes on alone"


@pytest.mark.slow
def test_an_experiment_that_is_killed_while_two_processes_train_leaves_none(
    place: Path, prefect_api: str
) -> None:
    """One process: tests/soak/test_experiments.py."""
    out = "killed"
    process = begun(place, prefect_api, out, 2)
    assert len(trainers(out)) >= 2
    process.kill()
    began = time.monotonic()
    while left := trainers(out) + alive(place / ".prefect"):
        assert time.monotonic() - began < 5, left
        time.sleep(0.05)
    print(f"two processes, killed: {time.monotonic() - began:.2f} s")
    process.communicate()


def trainers(out: str) -> list[str]:
    """The command lines that name the training in the folder `out`."""
    commands = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True)
    return [line for line in commands.stdout.splitlines() if f"{out}/tiny_nap" in line]


@pytest.mark.parametrize("name", NAMES)
def test_bundled_experiments_evaluate_what_they_train(name: str, tmp_path: Path) -> None:
    experiment = find_experiment(name)
    settings = trainings(experiment, "runs/corpus")
    asked = evaluation(experiment, settings, tmp_path)
    assert all(one.corpus == "runs/corpus" for one in settings)
    used = {system.model.path for system in asked.systems}
    assert used >= {str(tmp_path / folder_of(one) / "model") for one in settings}, "none is in vain"
    assert not any(path.startswith("runs/") for path in used), "all that is tuned is trained here"
    masks = {one.paths * one.slot_tokens + one.summary_tokens for one in settings}
    assert masks == {asked.masks}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ('evaluate.set=["systems=[]"]', "systems: empty"),
        ("evaluate.set=[systems.0.rule.kind=confidense]", "did you mean 'confidence'"),
        ("evaluate.set=[benchmark.kind=gsm9k]", "choices: gpqa, gsm8k, math500, tiny"),
        ("evaluate.set=[benchmark.path=no/such.jsonl]", "no/such.jsonl: no such file"),
        ("train=[{recipe: tiny_nap}]", "no training of this experiment makes its model"),
        ("evaluate.recipe=tiny_smok", "did you mean 'tiny_smoke'"),
        ("seqdep.limit=1", "a slope needs at least 2 rows"),
        ("evaluate.set=[masks=78]", "masks are 78, and tiny_long_cot is trained on 156"),
        (
            "evaluate.set=[systems.0.model.path=no/such/model]",
            "no/such/model: no such model directory",
        ),
        (
            'evaluate.set=["systems.0.rule.kind=confidence"]',
            "are one cell of the tables",
        ),
    ],
)
def test_a_mistake_shows_before_anything_is_trained(change: str, says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        experiment = find_experiment("tiny", (change,))
        evaluation(experiment, trainings(experiment, "runs/corpus"), Path("out"))


def test_seeds_variants_and_fill_are_cells_of_their_own() -> None:
    """Long-CoT + AO is the system 5 of the recipe, NAP + PF 6, NAP + AO 7."""
    same = ["systems.7.rule.kind=parallel_forced"]
    for more in (
        ["systems.6.training_seed=0", "systems.7.training_seed=1"],
        ["systems.7.variant=shuffled paths"],
        ["systems.7.fill=last"],
        ["systems.7.path_hints=[Go step by step., First all products., Take the last first.]"],
    ):
        experiment = find_experiment("tiny", (f"evaluate.set={json.dumps([*same, *more])}",))
        evaluation(experiment, trainings(experiment, "runs/corpus"), Path("out"))
    for less in (
        ["systems.7.training_seed=1"],  # the other has none
        ["systems.6.training_seed=1", "systems.7.training_seed=1"],
        ["systems.7.fill=free"],
        [  # what tables would refuse once all is decoded
            *("systems.6.training_seed=0", "systems.7.training_seed=1"),
            *("systems.6.variant=hints", "systems.7.variant=hints"),
            "systems.7.path_hints=[Go step by step., First all products., Take the last first.]",
        ],
    ):
        experiment = find_experiment("tiny", (f"evaluate.set={json.dumps([*same, *less])}",))
        with pytest.raises(UserError, match="are one cell of the tables"):
            evaluation(experiment, trainings(experiment, "runs/corpus"), Path("out"))


def test_an_adapter_that_is_trained_here_may_be_evaluated(tmp_path: Path) -> None:
    plain = find_experiment("tiny")
    trained = trainings(plain, "runs/corpus")
    systems = evaluation(plain, trained, tmp_path).systems
    model = str(tmp_path / folder_of(trained[0]) / "model")
    number = [one.model.path for one in systems].index(model)
    change = f'evaluate.set=["systems.{number}.model.path=runs/tiny_nap/adapter"]'
    tuned = find_experiment("tiny", ("train.0.set=[lora.rank=2]", change))
    settings = trainings(tuned, "runs/corpus")
    asked = evaluation(tuned, settings, tmp_path).systems[number].model.path
    assert asked == str(tmp_path / folder_of(settings[0]) / "adapter")
    whole = find_experiment("tiny", (change,))
    with pytest.raises(UserError, match="no training of this experiment makes its model"):
        evaluation(whole, trainings(whole, "runs/corpus"), tmp_path)


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    small(tmp_path)
    for arguments, says in (
        (("tiny", "--corpus", "nowhere"), "nowhere: no such run directory"),
        (("tiny", "--corpus", "."), "manifest.json: no manifest, so no complete run"),
        (("tinny", "--corpus", "."), "did you mean 'tiny'"),
        (("small.yaml", "--corpus", ".", "--set", "trian=[]"), "did you mean 'train'"),
    ):
        done = polytrace("finetune-eval", *arguments, cwd=tmp_path)
        assert done.returncode == 2, (arguments, done.stderr)
        assert says in done.stderr, done.stderr
    done = polytrace("build", "demo", "--set", "handoff=tinny", cwd=tmp_path)
    assert done.returncode == 2 and "did you mean 'tiny'" in done.stderr
    assert not (tmp_path / "runs" / "demo" / "prompts").exists(), "nothing was sampled"
    twice = yaml.safe_load((tmp_path / "small.yaml").read_text())
    twice["train"][1]["recipe"] = "tiny_nap"
    (tmp_path / "twice.yaml").write_text(yaml.safe_dump(twice))
    with pytest.raises(UserError, match="two trainings are named 'tiny_nap'"):
        trainings(find_experiment(str(tmp_path / "twice.yaml")), "runs/corpus")
