"""Evaluations in shards, in processes and by memory: the same rows in every split."""

import errno
import gc
import json
import os
import shutil
import signal
import time
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from diffusion.data.layout import Form
from diffusion.decoding.decode import decode
from diffusion.evaluation.computed import computed, rows_that_fit
from diffusion.evaluation.evaluate import evaluate_cells, evaluate_shard, merge_shards
from diffusion.evaluation.results import Result
from diffusion.evaluation.settings import Evaluation, System
from diffusion.evaluation.shards import pieces, processes
from diffusion.evaluation.shards.pieces import DoesNotFitError
from diffusion.evaluation.shards.plan import Shard, plan
from diffusion.memory import Shape, rows_within
from diffusion.models import blank_model
from diffusion.settings import ModelReference, Precision
from flows.recipe_files import as_yaml
from support.display.progress import Progress
from support.errors import DamagedError, PolytraceError, StoppedError, UserError
from support.processes import PIPE, Child
from tests.diffusion.checkpoints import make
from tests.flows.commands import check_all_end, polytrace, start

COUNT, CELLS = 17, 3


def quiet(_: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """Three cells of 17 problems in batches of 3, of two models: pieces of 9 and 8 problems."""
    folder = tmp_path_factory.mktemp("evaluation")
    file = folder / "problems.jsonl"
    rows = [
        {"question": f"What is {n} + 1?" + " Why?" * (n % 5), "answer": str(n + 1)}
        for n in range(COUNT)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    one, other = (
        ModelReference(path=str(make(family, folder / family))) for family in ("dream", "llada")
    )
    return Evaluation(
        name="small",
        benchmark={"kind": "tiny", "path": str(file)},
        systems=(
            System(name="AO", model=one, rule={"kind": "confidence"}, form=Form.LONG_COT),
            System(name="random", model=other, rule={"kind": "random_order"}, paths=2),
            System(name="fast", model=one, rule={"kind": "fast_dllm", "threshold": 0.02}),
        ),
        steps=(2,),
        masks=22,
        summary_tokens=4,
        batch=3,
        temperature=0.7,
    )


@pytest.fixture(scope="module")
def whole(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evaluation by one process."""
    out = tmp_path_factory.mktemp("whole")
    evaluate_cells(evaluation, out, say=quiet)
    return out


def files(out: Path) -> dict[str, bytes]:
    """The content of every file of an evaluation."""
    return {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()
    }


def counting(monkeypatch: pytest.MonkeyPatch, most: int = 64) -> Counter[str]:
    """Count decoded batches; more than so many rows at once do not fit into the memory."""
    calls = Counter[str]()

    def counted(dlm: Any, layout: Any, requests: Any, *args: Any, **kwargs: Any) -> Any:
        calls["batches"] += 1
        if len(requests) > most:
            calls["full"] += 1
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")
        calls["rows"] += len(requests)
        return decode(dlm, layout, requests, *args, **kwargs)

    monkeypatch.setattr("diffusion.evaluation.answers.decode", counted)
    return calls


@pytest.mark.parametrize("shards", [2, 3, 5])
def test_shards_and_their_merging_make_the_same_bytes(
    evaluation: Evaluation, whole: Path, tmp_path: Path, shards: int
) -> None:
    for number in reversed(range(1, shards + 1)):
        evaluate_shard(evaluation, tmp_path, Shard(number, shards), say=quiet)
    merge_shards(evaluation, tmp_path)
    assert files(tmp_path) == files(whole)
    merge_shards(evaluation, tmp_path)
    assert files(tmp_path) == files(whole), "merging again changes nothing"


def test_another_split_goes_on_with_the_same_rows(
    evaluation: Evaluation, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counting(monkeypatch)
    evaluate_shard(evaluation, tmp_path, Shard(2, 3), say=quiet)
    evaluate_shard(evaluation, tmp_path, Shard(1, 2), say=quiet)
    done = calls["rows"]
    assert 0 < done < CELLS * COUNT
    evaluate_cells(evaluation, tmp_path, say=quiet)
    assert calls["rows"] == CELLS * COUNT, "no row is decoded twice"
    assert files(tmp_path) == files(whole)


def test_what_is_missing_is_said_and_not_merged(evaluation: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match="holds no rows of AO for this recipe"):
        merge_shards(evaluation, tmp_path)
    evaluate_shard(evaluation, tmp_path, Shard(1, 2), say=quiet)
    with pytest.raises(StoppedError, match=r"AO-2-\w+: holds 1 of 2 files .* '.*' of AO, 2 steps"):
        merge_shards(evaluation, tmp_path)
    with pytest.raises(StoppedError, match="holds no rows of AO for this recipe"):
        merge_shards(replace(evaluation, seed=1), tmp_path)
    file = next(tmp_path.rglob("computed.json"))
    file.write_text("{")
    with pytest.raises(DamagedError, match=r"computed\.json: cannot be read"):
        merge_shards(evaluation, tmp_path)


def test_shards_of_two_machines_never_mix(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(name: str) -> Callable[..., Any]:
        return lambda *of: replace(computed(*of), device_name=name)

    monkeypatch.setattr("diffusion.evaluation.shards.plan.computed", named("GPU A"))
    evaluate_shard(evaluation, tmp_path, Shard(1, 2), say=quiet)
    monkeypatch.setattr("diffusion.evaluation.shards.plan.computed", named("GPU B"))
    evaluate_shard(evaluation, tmp_path, Shard(2, 2), say=quiet)
    with pytest.raises(UserError, match=r"GPU [AB].*GPU [AB].* rows of two machines never mix"):
        merge_shards(evaluation, tmp_path)
    evaluate_shard(evaluation, tmp_path, Shard(1, 2), say=quiet)
    monkeypatch.undo()
    for _ in range(2):
        merged = merge_shards(evaluation, tmp_path)  # on a third machine
        assert {one.device_name for one in merged} == {"GPU B"}, "what A has is not complete"
    monkeypatch.setattr("diffusion.evaluation.shards.plan.computed", named("GPU A"))
    evaluate_shard(evaluation, tmp_path, Shard(2, 2), say=quiet)
    with pytest.raises(UserError, match=r"GPU [AB].*GPU [AB].*: delete .* or .*, a folder or a"):
        merge_shards(evaluation, tmp_path)
    for folder in (tmp_path / "cells").glob("*/"):
        shutil.rmtree(folder)
    assert merge_shards(evaluation, tmp_path) == merged


def test_rows_of_another_batch_are_not_merged(
    evaluation: Evaluation, whole: Path, tmp_path: Path
) -> None:
    """A recipe that asks for single rows has no results of rows that were decoded together."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    others: list[dict[str, Any]] = [{"batch": 4}, {"strict": True}]
    for other in others:
        with pytest.raises(StoppedError, match="holds no rows of AO for this recipe, with its bat"):
            merge_shards(replace(evaluation, **other), run)
    assert {one.batch for one in merge_shards(replace(evaluation, batch="auto"), run)} == {3}
    assert files(run) == files(whole)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--shard .* write I/N"):
        Shard.parse(text)


def test_the_command_takes_shards_and_merges(
    evaluation: Evaluation, whole: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(as_yaml(evaluation))
    command = ("evaluate", str(recipe), "--out", "run")
    for number in (1, 2):
        ended = polytrace(*command, "--shard", f"{number}/2", cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert "once all 2 shards have ended" in ended.stdout
        assert f"shard {number} of 2" in ended.stderr
    ended = polytrace(*command, "--merge", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    made = files(tmp_path / "run")
    assert {name: made.pop(name) for name in (".lock", "recipe.yaml")}
    assert made == files(whole)
    ended = polytrace(*command, "--merge", "--shard", "1/2", cwd=tmp_path)
    assert (ended.returncode, "give one of them" in ended.stderr) == (2, True)
    ended = polytrace(*command, "--set", "batch=auto", "--shard", "1/2", cwd=tmp_path)
    assert (ended.returncode, "batch: auto is decided" in ended.stderr) == (2, True)


# Rows at once, by memory


def test_rows_that_do_not_fit_are_halved_until_they_do(
    evaluation: Evaluation, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are those of the batch that fits."""
    evaluate_cells(replace(evaluation, batch=4), tmp_path / "four", say=quiet)
    calls = counting(monkeypatch, most=4)
    said: list[str] = []
    auto = replace(evaluation, batch="auto")
    results = evaluate_cells(auto, tmp_path / "auto", say=said.append)
    assert files(tmp_path / "auto") == files(tmp_path / "four")
    assert {one.batch for one in results} == {4}
    assert calls["full"] == 2 * 3, "32, 16 and 8 rows of two models"
    assert any("going on with 16 rows at once" in one for one in said)
    evaluate_cells(auto, tmp_path / "auto", say=quiet)
    assert calls["full"] == 6, "the rows that are there say how many fit"


def test_what_does_not_fit_alone_or_as_asked_is_one_sentence(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting(monkeypatch, most=0)
    alone = r"systems\.AO: problem '.*' does not fit into the memory by itself; take a smaller"
    with pytest.raises(DoesNotFitError, match=alone):
        evaluate_cells(replace(evaluation, batch="auto"), tmp_path, say=quiet)
    together = r"problems '10' to '12' do not fit .* lower batch, which is 3, or set batch to auto"
    with pytest.raises(UserError, match=together):
        evaluate_cells(replace(evaluation, batch=3), tmp_path, say=quiet)
    with pytest.raises(UserError, match=alone):
        evaluate_cells(replace(evaluation, batch="auto", strict=True), tmp_path, say=quiet)

    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr("diffusion.models.load_model", full)
    with pytest.raises(UserError, match=r"model .*dream: does not fit into the memory of cpu"):
        evaluate_cells(replace(evaluation, batch="auto"), tmp_path, say=quiet)


def test_memory_decides_how_many_rows_are_decoded_together(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = Shape(parameters=8 * 10**9, layers=32, hidden=4096, head=126_464)  # LLaDA-8B's
    sizes = [
        rows_within(free << 30, shape, 1400, Precision.BFLOAT16, 64)
        for free in (24, 48, 64, 80, 141)
    ]
    assert sizes == sorted(sizes) and sizes[0] == 1 and sizes[-1] == 64
    assert all(size & (size - 1) == 0 for size in sizes)
    assert rows_within(48 << 30, shape, 1400, Precision.FLOAT32, 64) < sizes[1]
    net = blank_model(evaluation.systems[0].model)
    found = {}
    for free in (1 << 30, 1 << 28, 1 << 20):
        monkeypatch.setattr("diffusion.evaluation.computed.free_memory", lambda free=free: free)
        found[free] = [rows_that_fit(net, evaluation, 100, "cpu", share) for share in (1, 2)]
    assert found[1 << 20] == [1, 1]
    assert found[1 << 30] == [32, 32]


def test_one_model_is_held_at_a_time(evaluation: Evaluation) -> None:
    """The garbage collector, which would free it at some later time, is off."""
    load = pieces._OneModel("cpu")
    one, other = (system.model for system in evaluation.systems[:2])
    gc.disable()
    try:
        first = weakref.ref(load(one).denoiser.net)
        assert load(one).denoiser.net is first()
        load(other)
        assert first() is None
    finally:
        gc.enable()


# Processes


def test_devices_are_those_that_are_visible(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "visible_devices", lambda: ("cpu",))
    assert processes.devices_of(evaluation) == ("cpu",)
    assert processes.devices_of(replace(evaluation, processes=3)) == ("cpu",) * 3
    monkeypatch.setattr(processes, "visible_devices", lambda: ("cuda:0", "cuda:1"))
    assert processes.devices_of(evaluation) == ("cuda:0", "cuda:1")
    assert processes.devices_of(replace(evaluation, processes=1)) == ("cuda:0",)
    three = processes.devices_of(replace(evaluation, processes=3))
    assert three == ("cuda:0", "cuda:1", "cuda:0")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"revision": "0" * 12}, r"systems\.AO: cpu has revision '\w{12}' and not '0{12}'"),
        ({"problems": "0" * 16}, "has problems '.*' and not '0{16}'"),
        ({"device_name": "NVIDIA T4"}, "has device_name '.*' and not 'NVIDIA T4'; .* never mix"),
        ({"torch": "9.9"}, "has torch '.*' and not '9.9'"),
        ({}, "has other settings"),
    ],
)
def test_a_process_that_would_write_other_rows_refuses(
    evaluation: Evaluation, tmp_path: Path, changed: dict[str, str], says: str
) -> None:
    planned = plan(evaluation, tmp_path, "cpu")
    job = processes._job(planned, planned.pieces(), tmp_path, "cpu")
    job["facts"][0] |= changed
    job["files"][0] = "AO-2-of-another-digest.parquet"
    with pytest.raises(UserError, match=says):
        next(processes._work(json.loads(json.dumps(job))))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error",
    [
        UserError("systems.AO: problem '3': too long"),
        DamagedError("a file"),
        DoesNotFitError("a sentence", ModelReference(path="m"), 8),
        OSError(28, "No space left on device", "rows-00000.parquet"),
    ],
)
def test_the_error_of_a_process_is_that_of_the_command(error: Exception) -> None:
    told = json.loads(json.dumps(processes._told(error)))
    again = processes._raised(told, "the process on cpu")
    assert (type(again), str(again)) == (type(error), str(error))
    if isinstance(error, DoesNotFitError) and isinstance(again, DoesNotFitError):
        assert (again.model, again.batch) == (error.model, error.batch)


def test_a_fault_in_a_process_names_the_problems(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("of a plugged-in rule")

    monkeypatch.setattr("diffusion.evaluation.answers.decode", broken)
    planned = plan(evaluation, tmp_path, "cpu")
    job = processes._job(planned, planned.pieces(), tmp_path, "cpu")
    with pytest.raises(ZeroDivisionError) as caught:
        next(processes._work(job))
    try:
        raise caught.value
    except ZeroDivisionError as error:
        told = processes._told(error)
    again = processes._raised(told, "the process on cpu")
    assert isinstance(again, PolytraceError) and again.exit_code == 1
    assert "while decoding problems '10' to '17' of AO, 2 steps (ZeroDivisionError: of a" in str(
        again
    )
    log = Path(str(again).partition("traceback is in ")[2].partition(";")[0])
    assert "of a plugged-in rule" in log.read_text()
    log.unlink()
    killed = processes._ended("cuda:1", -signal.SIGKILL, "problem '7' of AO, 2 steps")
    assert str(killed).startswith(
        "the process on cuda:1 was ended by SIGKILL, perhaps for want of memory, at problem '7' of"
    )
    assert str(killed).endswith("if it ends so again, take a lower batch or fewer processes")
    failed = processes._ended("cuda:1", 1, "problem '7' of AO, 2 steps")
    assert str(failed).endswith("if it ends so again, look at what it said above")


def test_the_others_end_where_a_process_cannot_be_started(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    children: list[Child[str]] = []

    def start_one() -> Child[str]:
        if children:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        command = ["sleep", "20"]
        children.append(Child[str](command, grace=1.0, stdin=PIPE, stdout=PIPE, text=True))
        return children[0]

    monkeypatch.setattr(processes, "_start", start_one)
    planned = plan(evaluation, tmp_path, "cpu")
    began = time.monotonic()
    with pytest.raises(OSError, match="Cannot allocate memory"):
        next(processes.decoded(planned, planned.pieces(), tmp_path, ("cpu", "cpu")))
    assert children[0].poll() is not None
    assert time.monotonic() - began < 15, "its work was not waited for"


@pytest.mark.slow  # two processes that import PyTorch, three times
def test_processes_make_the_same_bytes_and_lose_nothing(
    evaluation: Evaluation, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = replace(evaluation, processes=2)
    said: list[str] = []
    evaluate_cells(two, tmp_path / "two", say=said.append)
    assert files(tmp_path / "two") == files(whole)
    assert said[0].endswith("by 2 processes")

    # One process is stopped at its start, and killed when the other has written a piece.
    commands: list[int] = []
    children: list[Any] = []

    def start_one() -> Any:
        children.append(started())
        file = Path(f"/proc/{children[-1].pid}/task/{children[-1].pid}/children")
        while not (pids := file.read_text().split()):  # its supervisor starts it
            time.sleep(0.01)
        commands.append(int(pids[0]))
        if len(commands) == 2:
            os.kill(commands[1], signal.SIGSTOP)
        return children[-1]

    def kill_one(bar: Progress, rows: int) -> None:
        os.kill(commands[1], signal.SIGKILL)

    started = processes._start
    monkeypatch.setattr(processes, "_start", start_one)
    monkeypatch.setattr(Progress, "update", kill_one)
    with pytest.raises(StoppedError, match=r"on cpu was ended by SIGKILL.* at problems '1' to '9'"):
        evaluate_cells(two, tmp_path / "killed", say=quiet)
    assert all(child.poll() is not None for child in children)
    monkeypatch.undo()
    calls = counting(monkeypatch)
    evaluate_cells(evaluation, tmp_path / "killed", say=quiet)
    assert calls["rows"] <= CELLS * COUNT - 8, "a piece at least was kept"
    assert files(tmp_path / "killed") == files(whole)


@pytest.mark.slow  # a command and two processes that import PyTorch
def test_no_process_outlives_a_killed_command(
    evaluation: Evaluation, whole: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(as_yaml(replace(evaluation, processes=2)))
    command = start("evaluate", str(recipe), "--out", "run", cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "run").rglob("rows-*.parquet")):
        assert command.poll() is None and time.monotonic() < deadline, "no rows come"
        time.sleep(0.02)
    command.kill()
    command.communicate()
    check_all_end(tmp_path / ".prefect")
    evaluate_cells(evaluation, tmp_path / "run", say=quiet)
    made = files(tmp_path / "run")
    assert {name: made.pop(name) for name in (".lock", "recipe.yaml")}
    assert made == files(whole)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_every_gpu_decodes_the_same_rows(evaluation: Evaluation, tmp_path: Path) -> None:
    """One process a GPU, at least two; `batch: auto` fits."""
    count = max(2, torch.cuda.device_count())
    one = evaluate_cells(replace(evaluation, processes=1), tmp_path / "one", say=quiet)
    evaluate_cells(replace(evaluation, processes=count), tmp_path / "more", say=quiet)
    assert files(tmp_path / "more") == files(tmp_path / "one")
    assert {result.device for result in one} == {"cuda"}
    auto: list[Result] = evaluate_cells(
        replace(evaluation, batch="auto", processes=count), tmp_path / "auto", say=quiet
    )
    assert {result.batch for result in auto} == {64}
