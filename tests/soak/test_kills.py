"""SIGKILL at random instants of a build, as often as it takes: in the end the same bytes.

The short test ends a build at the n-th change that it makes to its folder, n drawn from a seed:
then every instant has its turn, the short ones of the release too. The long one is a user's: the
command, and a clock.
"""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from curation.release.verify import find_problems
from tests.builds import contents, make
from tests.flows.commands import start
from tests.forked import begin
from tests.soak import dying, hostile


def ending(recipe: Path, run: Path, changes: int) -> int | None:
    """The exit code of a build that is killed at its change number `changes`, if it has so many."""
    counted = run.with_name("counted")
    process = begin(dying.build, recipe, run, changes, counted, output=run.with_name("errors"))
    process.join()
    return process.exitcode


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=pytest.mark.soak)])
def test_killed_at_any_change_of_a_file(tmp_path: Path, kills: int) -> None:
    recipe = hostile.write_plain(tmp_path, rows=60)
    said = tmp_path / "errors"
    assert ending(recipe, tmp_path / "whole", 1_000_000) == 0, said.read_text()
    changes = int((tmp_path / "counted").read_text())
    draw = random.Random(kills)
    for number in range(kills):
        run = tmp_path / f"run{number}"
        ended = ending(recipe, run, draw.randrange(changes))
        assert ended == -signal.SIGKILL, said.read_text()
        assert find_problems(run) != []
        make(run, str(recipe.with_suffix("")), "shard_rows=20")
        check_same(run, tmp_path / "whole")


def check_same(run: Path, whole: Path) -> None:
    assert contents(run / "release") == contents(whole / "release")
    assert (run / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()
    assert find_problems(run) == []


@pytest.mark.soak
def test_the_command_killed_at_20_random_instants(tmp_path: Path) -> None:
    """A directory is killed and gone on with until it is done; then comes the next one."""

    def begun(run: str) -> "subprocess.Popen[str]":
        args = ("build", "demo", "--set", "shard_rows=10", "--limit", "40", "--out", run)
        return start(*args, cwd=tmp_path)

    began = time.monotonic()
    process = begun("whole")
    _, err = process.communicate()
    assert process.returncode == 0, err
    seconds = time.monotonic() - began
    draw = random.Random(20)
    kills = done = 0
    while kills < 20 or not done:
        process = begun(f"run{done}")
        try:
            process.communicate(timeout=draw.uniform(0.2, 1.0) * seconds if kills < 20 else None)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0
        check_same(tmp_path / f"run{done}", tmp_path / "whole")
        done += 1
    print(f"{kills} kills, {done} builds came to their end")
