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
from collections import Counter
from pathlib import Path

import pytest

from curation.release.verify import find_problems
from tests.builds import contents, make
from tests.curation.served_runs import by_server
from tests.flows.commands import start
from tests.forked import begin
from tests.servers.loopback import Behaviour, Loopback
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
        at = draw.randrange(changes)
        assert ending(recipe, run, at) == -signal.SIGKILL, said.read_text()
        # The last change comes after the manifest: the recipe's copy of an unfinished build goes.
        assert bool(find_problems(run)) is (at < changes - 1)
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


@pytest.mark.soak
def test_what_a_kill_costs_of_a_thousand_answered_samples(tmp_path: Path) -> None:
    """Five kills at 64 in flight; the server counts what it is asked for twice.

    What it had answered before the signal may still be on its way: of a thousand, two on a quiet
    machine, and five where the process has to wait for a core. What it answers to a process that is
    being taken down was in flight, and is printed.
    """
    answered = lost = late = 0
    with Loopback(Behaviour(latency_s=0.2, jitter_s=0.2)) as server:
        draw = random.Random(5)
        for number in range(5):
            server.forget()
            run, said = tmp_path / str(number), tmp_path / "errors"
            most = 1000 + draw.randrange(100)
            process = begin(by_server, server.url, run, 64, 224, output=said)
            while sum(one.status == 200 for one in server.served()) < most:
                assert process.is_alive(), said.read_text()
                time.sleep(0.05)
            killed = time.monotonic()
            process.kill()
            process.join()
            before = {one.digest for one in server.served() if (one.ended or killed) < killed}
            process = begin(by_server, server.url, run, 64, 224, output=said)
            process.join()
            assert process.exitcode == 0, said.read_text()
            times = Counter(one.digest for one in server.served() if one.status == 200)
            assert len(times) == 1344
            twice = {digest for digest, count in times.items() if count > 1}
            answered, lost, late = (
                answered + len(before),
                lost + len(twice & before),
                late + len(twice - before),
            )
            print(f"{len(before)} answered, {len(twice & before)} lost, {len(twice - before)} late")
    assert lost <= 0.005 * answered, f"{lost} of {answered} were asked for twice, and {late} late"
