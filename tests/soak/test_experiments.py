"""An experiment that is killed or interrupted, at any time: no process is left, and the same bytes.

The short tests end it at its stages; the long one presses Ctrl-C in every part of its journey.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from diffusion.training.training_log import STEPS
from flows.runtime.commands import PATIENCE as PATIENCE_OF_COMMANDS
from tests.builds import BuiltRuns
from tests.flows.commands import API, alive, start
from tests.flows.test_finetune_eval import small

KILLED_SECONDS = 5.0
# A training finishes its step and saves it: seconds, but minutes on cores that others keep busy.
INTERRUPTED_SECONDS = PATIENCE_OF_COMMANDS + 30.0
PATIENCE = 1800.0  # of a step of the journey, on a machine that does other work
STAGES = ("train", "evaluate", "seqdep-report")


class Whole(NamedTuple):
    """The folder with the corpus, the bytes of an experiment that nobody disturbed, its seconds."""

    place: Path
    files: dict[str, bytes]
    seconds: float


def begin(place: Path, out: str, env: dict[str, str]) -> "subprocess.Popen[str]":
    return start(
        *("finetune-eval", "small.yaml", "--corpus", "runs/demo", "--out", out), cwd=place, **env
    )


def made(folder: Path) -> dict[str, bytes]:
    """What the experiment is for: weights, decoded rows, tables, and the report."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and (path.suffix in (".safetensors", ".md") or "cells" in path.parts)
        and "checkpoints" not in path.parts
        and not path.name.startswith(".")
    }


@pytest.fixture(scope="module")
def whole(
    built_runs: BuiltRuns, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Whole:
    place = tmp_path_factory.mktemp("place")
    built_runs.copy(place / "runs" / "demo", "demo", limit=24)
    file = small(place, nap_alone=True)
    experiment = yaml.safe_load(file.read_text())
    experiment["train"][0]["set"] = ["epochs=40", "validation=0", "checkpoint_every=10"]
    file.write_text(yaml.safe_dump(experiment))
    began = time.monotonic()
    process = begin(place, "whole", {API: request.getfixturevalue("prefect_api")})
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return Whole(place, made(place / "whole"), time.monotonic() - began)


def wait(process: "subprocess.Popen[str]", is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_at(place: Path, out: str, stage: str, since: float = 0.0) -> bool:
    """Whether the stage's own process is at work; a training has written a step `since` then."""
    if stage == "train":
        written = [file.stat() for file in place.glob(f"{out}/*/{STEPS}")]
        return any(one.st_size and one.st_mtime > since for one in written)
    return any(f"flows.cli {stage}" in line for line in alive(place / ".prefect"))


def check_none_is_left(place: Path, seconds: float) -> float:
    """Seconds until no process lives whose home of Prefect is there: all that came of it."""
    began = time.monotonic()
    while left := alive(place / ".prefect"):
        assert time.monotonic() - began < seconds, left
        time.sleep(0.02)
    return time.monotonic() - began


def interrupt(process: "subprocess.Popen[str]") -> float:
    """Press Ctrl-C; the seconds until the command has ended, as it should."""
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=INTERRUPTED_SECONDS)
    assert "Traceback" not in err, err
    if process.returncode == -signal.SIGINT:  # Python was closing down, and all had been said
        assert "report.html (open it in a browser)" in out, (out, err)
    else:
        assert process.returncode == 128 + signal.SIGINT, err
        assert "polytrace: interrupted; the same command goes on" in err, err
    return time.monotonic() - began


@pytest.mark.slow
def test_killed_and_interrupted_at_every_stage(whole: Whole, prefect_api: str) -> None:
    def at(stage: str) -> "subprocess.Popen[str]":
        since = time.time()
        process = begin(whole.place, "stopped", {API: prefect_api})
        wait(process, lambda: is_at(whole.place, "stopped", stage, since))
        return process

    for stage in STAGES:
        process = at(stage)
        process.kill()
        print(f"killed at {stage}: {check_none_is_left(whole.place, KILLED_SECONDS):.2f} s")
        process.communicate()
        print(f"interrupted at {stage}: {interrupt(at(stage)):.2f} s")
        check_none_is_left(whole.place, KILLED_SECONDS)
    check_goes_on(whole, "stopped", prefect_api)


@pytest.mark.soak
def test_killed_at_ten_random_instants(whole: Whole, prefect_api: str) -> None:
    """One in each tenth of the time that it takes. Whenever it has ended, a new one begins."""
    draw = random.Random(10)
    instants = [whole.seconds * (tenth + draw.random()) / 10 for tenth in range(10)]
    draw.shuffle(instants)
    done = 0
    while instants:
        process = begin(whole.place, f"drawn{done}", {API: prefect_api})
        try:
            _, err = process.communicate(timeout=instants[-1])
        except subprocess.TimeoutExpired:
            process.kill()
            left = check_none_is_left(whole.place, KILLED_SECONDS)
            process.communicate()
            print(f"killed after {instants.pop():.1f} of {whole.seconds:.1f} s; {left:.2f} s")
            continue
        assert process.returncode == 0, err
        assert made(whole.place / f"drawn{done}") == whole.files
        done += 1
    print(f"{done} experiments ended meanwhile")
    check_goes_on(whole, f"drawn{done}", prefect_api)


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_wait_for_the_training(whole: Whole, prefect_api: str) -> None:
    process = begin(whole.place, "twice", {API: prefect_api})
    wait(process, lambda: is_at(whole.place, "twice", "train"))
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=KILLED_SECONDS)
    print(f"interrupted twice: {time.monotonic() - began:.2f} s")
    assert process.returncode == 128 + signal.SIGINT and "Traceback" not in err, err
    check_none_is_left(whole.place, KILLED_SECONDS)


def check_goes_on(whole: Whole, out: str, api: str) -> None:
    process = begin(whole.place, out, {API: api})
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert made(whole.place / out) == whole.files
    check_none_is_left(whole.place, KILLED_SECONDS)


@pytest.mark.soak
def test_ctrl_c_in_every_part_of_the_journey(whole: Whole, prefect_api: str) -> None:
    """With a Prefect server of its own. Whenever the journey has ended, a new one begins."""
    check_ctrl_c(whole, prefect_api, parts=20)


def check_ctrl_c(whole: Whole, api: str, parts: int) -> None:
    done, longest = 0, 0.0
    for part in range(parts):
        out = f"pressed{done}"
        process = begin(whole.place, out, {})
        try:
            _, err = process.communicate(timeout=0.1 + part * whole.seconds / parts)
        except subprocess.TimeoutExpired:
            seconds = interrupt(process)
            print(f"part {part} of {parts}: {seconds:.2f} s")
            longest = max(longest, seconds)
            check_none_is_left(whole.place, KILLED_SECONDS)
            continue
        assert process.returncode == 0, err
        assert made(whole.place / out) == whole.files
        done += 1
    print(f"longest: {longest:.2f} s; {done} journeys ended")
    check_goes_on(whole, f"pressed{done}", api)
