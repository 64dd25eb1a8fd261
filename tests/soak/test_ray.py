"""A build on a real Ray cluster: the same bytes as with threads, also where a worker is killed."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curation.release.verify import find_problems
from tests.builds import contents, make
from tests.flows.commands import check_all_end
from tests.flows.test_dask import environment

if importlib.util.find_spec("prefect_ray") is None:  # to import it takes seconds
    pytest.skip("prefect_ray is not installed", allow_module_level=True)

RAY = ("--set", "task_runner=ray", "--set", "shard_rows=6", "--limit", "36")


def workers() -> list[int]:
    """The processes of Ray that are at a shard."""
    asked = ["ps", "-ewwo", "pid,args"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True)
    rows = [line.split(None, 1) for line in said.stdout.splitlines()[1:]]
    return [int(pid) for pid, args in rows if args.startswith(("ray::grade", "ray::assemble"))]


@pytest.mark.soak
def test_a_cluster_whose_worker_is_killed_makes_the_same_bytes(tmp_path: Path) -> None:
    make(tmp_path / "plain", "demo", "shard_rows=6", limit=36)
    command = [sys.executable, "-m", "flows.cli", "build", "demo", "--out", "run", *RAY]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment(tmp_path), stderr=said)
    killed = 0
    while process.poll() is None:
        if not killed and (running_teacher := workers()):
            os.kill(running_teacher[-1], signal.SIGKILL)
            killed = len(running_teacher)
        time.sleep(0.02)
    shown = (tmp_path / "said").read_text()
    assert process.returncode == 0, shown
    assert killed, "no worker was ever seen at work"
    assert contents(tmp_path / "run" / "release") == contents(tmp_path / "plain" / "release")
    assert find_problems(tmp_path / "run") == []
    assert "scored" in shown, "progress of the shards is seen"
    assert "ray" not in shown.lower(), shown
    check_all_end(tmp_path / ".prefect", seconds=60)
