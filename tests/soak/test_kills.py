"""SIGKILL at random instants of a build, as often as it takes: in the end the same bytes.

The short test ends a build at the n-th change that it makes to its folder, n drawn from a seed:
then every instant has its turn, the short ones of the release too. The long one is a user's: the
command, and a clock.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curation.release.verify import find_problems
from support.paths import ROOT
from tests.builds import contents, make
from tests.flows.commands import start
from tests.soak import hostile

DYING = """
import os, signal, sys
from pathlib import Path
from tests.builds import make
left = int(sys.argv[3])

def count(event, args):
    global left
    changes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
    writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
    if (changes or writes) and str(args[0]).startswith(sys.argv[2]):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
make(Path(sys.argv[2]), sys.argv[1], "shard_rows=20")
print(int(sys.argv[3]) - left)
"""


def dying(recipe: Path, run: Path, changes: int) -> "subprocess.CompletedProcess[str]":
    """A build that is killed at its change number `changes`, if it has so many; prints how many."""
    arguments = [str(recipe.with_suffix("")), str(run), str(changes)]
    return subprocess.run(
        [sys.executable, "-c", DYING, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=pytest.mark.soak)])
def test_killed_at_any_change_of_a_file(tmp_path: Path, kills: int) -> None:
    recipe = hostile.write_plain(tmp_path, rows=60)
    whole = dying(recipe, tmp_path / "whole", 1_000_000)
    assert whole.returncode == 0, whole.stderr
    changes = int(whole.stdout)
    draw = random.Random(kills)
    for number in range(kills):
        run = tmp_path / f"run{number}"
        ended = dying(recipe, run, draw.randrange(changes))
        assert ended.returncode == -signal.SIGKILL, ended.stderr
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

    def begin(run: str) -> "subprocess.Popen[str]":
        args = ("build", "demo", "--set", "shard_rows=10", "--limit", "40", "--out", run)
        return start(*args, cwd=tmp_path)

    began = time.monotonic()
    process = begin("whole")
    _, err = process.communicate()
    assert process.returncode == 0, err
    seconds = time.monotonic() - began
    draw = random.Random(20)
    kills = done = 0
    while kills < 20 or not done:
        process = begin(f"run{done}")
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
