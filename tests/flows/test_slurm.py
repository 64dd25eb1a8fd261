"""The scripts of `examples/slurm` on a Slurm of this machine, which loses tasks and nodes.

What needs GPUs, vLLM or a network between nodes is not run here.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from curation.release.verify import find_problems
from flows.runtime import cluster
from flows.runtime.runners import runner_of
from schemas.recipe import Recipe, load_recipe
from support.errors import UserError
from support.paths import ROOT
from tests.builds import RECIPES, contents, make
from tests.curation.test_remote import SETS, recorded
from tests.servers.slurm import STATE, Slurm

SCRIPTS = sorted(path for path in (ROOT / "examples" / "slurm").iterdir())

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    """A cluster whose jobs are submitted from `tmp_path`, as from a checkout."""
    made = Slurm(tmp_path / "slurm")
    for name in ("polytrace", "dask"):
        module = "flows.cli" if name == "polytrace" else "dask"
        made.program(name, f"{sys.executable} -m {module}")
    shutil.copytree(ROOT / "examples" / "slurm", tmp_path / "examples" / "slurm")
    yield made
    made.cancel()


def submit(slurm: Slurm, folder: Path, *words: str, **env: str) -> str:
    more = {
        "PATH": f"{slurm.bin}:{os.environ['PATH']}",
        STATE: str(slurm.state),
        "PYTHONPATH": str(ROOT),
        "PREFECT_HOME": str(folder / ".prefect"),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        words, cwd=folder, env=os.environ | more | env, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def until(seen: Callable[[], object], slurm: Slurm, seconds: float = 240) -> None:
    """Wait for something that jobs do."""
    deadline = time.monotonic() + seconds
    while not seen():
        logs = {log.name: log.read_text() for log in slurm.state.glob("*.log")}
        assert time.monotonic() < deadline, logs
        time.sleep(0.02)


def log(slurm: Slurm, task: str) -> str:
    return (slurm.state / f"{task}.log").read_text()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_are_checked(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n") and "\nset -euo pipefail\n" in text
    assert os.access(script, os.X_OK)
    for line in text.splitlines():
        if line.startswith("#SBATCH "):
            assert len(line.split()) == 2, "one option a line, as --name=value"
    if (checker := shutil.which("shellcheck")) is None:
        pytest.skip("shellcheck is not installed")
    found = subprocess.run([checker, script], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


EVALUATION = """
name: small
benchmark: {kind: tiny}
limit: 18
masks: 36
summary_tokens: 12
steps: [9, 12]
batch: 2
systems:
  - {name: AO, base: tiny, model: {path: tiny/dlm}, form: long_cot, rule: {kind: confidence}}
"""


@needs_bash
@pytest.mark.slow  # five commands that import PyTorch
def test_an_array_that_loses_a_task_merges_to_the_bytes_of_one_process(
    slurm: Slurm, tmp_path: Path
) -> None:
    (tmp_path / "small.yaml").write_text(EVALUATION)
    submit(slurm, tmp_path, "polytrace", "evaluate", "small.yaml", "--out", "whole")
    script = "examples/slurm/submit_evaluation.sh"
    said = submit(slurm, tmp_path, script, "3", "small.yaml", "--out", "run")
    assert said == "shards 1, merge 2"
    cells = tmp_path / "run" / "cells"
    until(lambda: slurm.running("1_2") and "shard 2 of 3" in log(slurm, "1_2"), slurm)
    slurm.lose_task("1_2")
    until(lambda: slurm.ended("2"), slurm)
    assert slurm.ended("1") == {"1_1": [0], "1_2": [-signal.SIGKILL, 0], "1_3": [0]}
    assert slurm.ended("2") == {"2": [0]}, log(slurm, "2")
    assert cells.is_dir()
    made = contents(tmp_path / "run")
    assert made == contents(tmp_path / "whole") and "results.json" in made


@needs_bash
@pytest.mark.slow
def test_an_array_of_which_a_task_fails_is_not_merged(slurm: Slurm, tmp_path: Path) -> None:
    slurm.program("polytrace", "sh -c 'exit 2'")
    submit(slurm, tmp_path, "examples/slurm/submit_evaluation.sh", "2", "r.yaml", "--out", "run")
    until(lambda: slurm.ended("2"), slurm)
    assert slurm.ended("1") == {"1_1": [2], "1_2": [2]}
    assert not (slurm.state / "2.log").exists(), "the merge never began"


@needs_bash
@pytest.mark.slow
def test_a_build_that_loses_a_node_makes_the_bytes_of_one_process(
    slurm: Slurm, tmp_path: Path, prefect_api: str
) -> None:
    pytest.importorskip("prefect_dask")
    (tmp_path / "rows.jsonl").write_bytes(recorded(60))
    sets = ("source.path=rows.jsonl", "shard_rows=4", *SETS)
    words = [word for one in sets for word in ("--set", one)]
    job = submit(
        slurm,
        tmp_path,
        *("sbatch", "examples/slurm/build.sbatch", "recorded_traces", *words, "--out", "run"),
        PREFECT_API_URL=prefect_api,
        WORKERS_PER_NODE="1",
    )
    until(lambda: list((tmp_path / "run" / "graded").glob("*.json")), slurm)
    assert slurm.lose_node("node2") == 1
    until(lambda: slurm.ended(job), slurm)
    assert slurm.ended(job) == {job: [0]}, log(slurm, job)
    assert "the workers on node2 have ended" in log(slurm, job)
    assert not list(tmp_path.glob("scheduler-*.json"))
    assert find_problems(tmp_path / "run") == []
    local = [f"source.path={tmp_path / 'rows.jsonl'}", *sets[1:]]
    make(tmp_path / "local", "recorded_traces", *local)
    data = [contents(tmp_path / run / "release" / "data") for run in ("run", "local")]
    assert data[0] == data[1] and len(data[0]) > 5


@needs_bash
@pytest.mark.slow
def test_a_build_that_lacks_samples_is_queued_again(slurm: Slurm, tmp_path: Path) -> None:
    """The addresses of the teachers are read anew: servers may have moved meanwhile."""
    code = 'echo "$@" >>words; test -e again || { touch again; exit 3; }'
    slurm.program("polytrace", f"sh -c '{code}' polytrace")
    slurm.program("dask", "sleep 60")
    (tmp_path / "teachers").mkdir()
    for n in (1, 2):
        (tmp_path / "teachers" / f"7-1-{n}.url").write_text(f"http://gpu{n}:8000/v1\n")
    job = submit(
        slurm,
        tmp_path,
        *("sbatch", "examples/slurm/build.sbatch", "own", "--out", "run"),
        TEACHERS="teachers",
    )
    until(lambda: slurm.ended(job), slurm)
    assert slurm.ended(job) == {job: [0, 0]}, log(slurm, job)
    endpoints = "--set teacher.endpoints=[http://gpu1:8000/v1,http://gpu2:8000/v1]"
    line = f"build own --out run --set task_runner=dask {endpoints}"
    assert (tmp_path / "words").read_text().splitlines() == [line, line]


@needs_bash
@pytest.mark.slow
@pytest.mark.parametrize("script", ["build", "train", "evaluate"])
def test_a_job_near_its_time_limit_is_queued_again(
    script: str, slurm: Slurm, tmp_path: Path
) -> None:
    code = "test -e again || { touch again; exec sleep 60; }"
    for name in ("polytrace", "accelerate"):
        slurm.program(name, f"sh -c '{code}' name")
    slurm.program("dask", "sleep 60")
    words = ("--nodes=1", "--array=1-1") if script == "evaluate" else ("--nodes=1",)
    job = submit(slurm, tmp_path, "sbatch", *words, f"examples/slurm/{script}.sbatch", "recipe")
    task = f"{job}_1" if script == "evaluate" else job
    until((tmp_path / "again").exists, slurm, 60)
    pid = slurm.running(task)
    assert pid is not None
    os.kill(pid, signal.SIGUSR1)
    until(lambda: slurm.ended(job), slurm, 60)
    assert slurm.ended(job) == {task: [0, 0]}
    assert "the time limit is near" in log(slurm, task)


VLLM = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
Path("served").open("a").write(" ".join(sys.argv[1:]) + "\\n")
HTTPServer(("", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@needs_bash
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_teachers_write_addresses_that_answer(slurm: Slurm, tmp_path: Path) -> None:
    (tmp_path / "vllm.py").write_text(VLLM)
    slurm.program("vllm", f"{sys.executable} {tmp_path / 'vllm.py'}")
    job = submit(
        slurm,
        tmp_path,
        *("sbatch", "--array=1-1", "examples/slurm/teachers.sbatch", "org/model", "--seed", "1"),
        TEACHERS=str(tmp_path / "teachers"),
        CUDA_VISIBLE_DEVICES="0,1,2,3",
        GPUS_PER_SERVER="2",
        PORT="18470",
    )
    until(lambda: len(list((tmp_path / "teachers").glob("*.url"))) == 2, slurm, 60)
    found = {file.name: file.read_text() for file in (tmp_path / "teachers").glob("*.url")}
    assert found == {f"{job}-1-{n}.url": f"http://localhost:{18470 + n}/v1\n" for n in (0, 1)}
    first = (tmp_path / "served").read_text().splitlines()[0]
    assert first.startswith("serve org/model --seed 1 --host 0.0.0.0 --port 1847")
    assert first.endswith("--tensor-parallel-size 2")
    pid = slurm.running(f"{job}_1")
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    until(lambda: slurm.ended(job), slurm, 60)
    assert not list((tmp_path / "teachers").iterdir())


@needs_bash
@pytest.mark.slow
def test_a_training_starts_one_launcher_a_node(slurm: Slurm, tmp_path: Path) -> None:
    slurm.program("accelerate", "sh -c 'echo \"$@\" >>words-$SLURM_NODEID' accelerate")
    words = ("train.sbatch", "llada_nap", "--set", "corpus=runs/a b")
    job = submit(slurm, tmp_path, "sbatch", "--nodes=2", f"examples/slurm/{words[0]}", *words[1:])
    until(lambda: slurm.ended(job), slurm, 60)
    assert slurm.ended(job) == {job: [0]}, log(slurm, job)
    for n in (0, 1):
        assert (tmp_path / f"words-{n}").read_text() == (
            "launch --config_file flows/recipes/train/accelerate/fsdp2.yaml --num_machines 2 "
            f"--num_processes 2 --machine_rank {n} --main_process_ip node1 --main_process_port "
            "20001 -m flows.cli train llada_nap --set corpus=runs/a b\n"
        )


# The scheduler's file


def dask_recipe() -> Recipe:
    return load_recipe(RECIPES / "demo.yaml", ["task_runner=dask"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "No such file or directory"),
        ("[]", "the file holds no address"),
        ('{"address": "tcp://127.0.0.1:9"}', "Connection refused"),
    ],
)
def test_a_scheduler_file_that_leads_nowhere_is_one_sentence(
    text: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "scheduler.json"
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv(cluster.DASK, str(file))
    monkeypatch.setattr(cluster, "FILE_SECONDS", 0.1)
    with pytest.raises(UserError) as caught:
        runner_of(dask_recipe())
    assert str(caught.value).startswith(f"POLYTRACE_DASK={file}: no Dask scheduler answers there (")
    assert says in str(caught.value)


def test_a_scheduler_without_workers_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    pytest.importorskip("prefect_dask")
    options = {"n_workers": 0, "dashboard_address": None, "processes": False}
    file = tmp_path / "scheduler.json"
    monkeypatch.setenv(cluster.DASK, str(file))
    for module in ("flows.runtime.cluster", "flows.runtime.runners"):
        monkeypatch.setattr(f"{module}.WORKER_SECONDS", 1.0)
    with distributed.LocalCluster(protocol="tcp", **options) as running:
        file.write_text(json.dumps({"address": running.scheduler_address}))
        with pytest.raises(UserError, match="no worker has come to this Dask scheduler within 1 s"):
            runner_of(dask_recipe())
        running.scale(1)
        assert runner_of(dask_recipe()).address == running.scheduler_address
