"""A Slurm of this machine alone: `sbatch`, `srun` and `scontrol` that run job steps as processes.

`Slurm` writes the programs into a folder for the PATH. An array's tasks run one after another.
A task that SIGKILL ended counts as one whose node was lost, and is queued again if its script says
`--requeue`. As in Slurm, a job runs a copy of its script, and nothing of a job outlives it.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

STATE = "FAKE_SLURM"
LONG = {"--parsable", "--requeue", "--exclusive", "--no-kill", "--overlap"}  # take no value


class Slurm:
    """The programs in a folder, and what a test does to jobs and nodes."""

    def __init__(self, folder: Path) -> None:
        self.state, self.bin = folder / "state", folder / "bin"
        for one in ("nodes", "lost"):
            (self.state / one).mkdir(parents=True)
        self.bin.mkdir()
        for name in ("sbatch", "srun", "scontrol"):
            self.program(name, f"{shlex.quote(sys.executable)} {__file__} {name}")

    def program(self, name: str, command: str) -> None:
        """A program on the PATH of all jobs."""
        file = self.bin / name
        file.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        file.chmod(0o755)

    def running(self, task: str) -> int | None:
        """The process of a task's script, which leads its group."""
        with suppress(OSError, ValueError):
            return int((self.state / "tasks" / task).read_text())
        return None

    def lose_task(self, task: str) -> None:
        """The node of a task of one node is lost."""
        pid = self.running(task)
        assert pid is not None, f"{task} is not running"
        os.killpg(pid, signal.SIGKILL)

    def lose_node(self, node: str) -> int:
        """All steps on the node end, and it starts no other; how many there were."""
        (self.state / "lost" / node).touch()
        return _kill_steps(self.state, node)

    def ended(self, job: str) -> dict[str, list[int]] | None:
        """The exit codes of every attempt of every task, once all have ended."""
        with suppress(OSError, ValueError):
            codes: dict[str, list[int]] = json.loads((self.state / f"{job}.ended").read_text())
            return codes
        return None

    def cancel(self) -> None:
        """End everything."""
        for file in (self.state / "runners").glob("*"):
            with suppress(OSError):
                os.killpg(int(file.name), signal.SIGKILL)
        for file in (self.state / "tasks").glob("*"):
            with suppress(OSError, ValueError):
                os.killpg(int(file.read_text()), signal.SIGKILL)
        _kill_steps(self.state, "*")


def _kill_steps(state: Path, node: str) -> int:
    count = 0
    for file in (state / "nodes").glob(f"{node}-*"):
        with suppress(OSError):
            os.killpg(int(file.name.rpartition("-")[2]), signal.SIGKILL)
            count += 1
    return count


def _split(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The options, and what follows them."""
    options: dict[str, str] = {}
    for n, word in enumerate(words):
        if not word.startswith("--"):
            return options, list(words[n:])
        name, _, value = word.partition("=")
        assert value or name in LONG, f"{word}: this Slurm wants --name=value"
        options[name] = value
    return options, []


def _sbatch(state: Path, words: Sequence[str]) -> None:
    given, (script, *args) = _split(words)
    job = str(1 + len(list(state.glob("*.sh"))))
    text = Path(script).read_text(encoding="utf-8")
    own = [line.split()[1] for line in text.splitlines() if line.startswith("#SBATCH ")]
    options = _split(own)[0] | given
    shutil.copy(script, state / f"{job}.sh")
    command = [sys.executable, __file__, "run", job, json.dumps(options), *args]
    runner = subprocess.Popen(
        command,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    (state / "runners").mkdir(exist_ok=True)
    (state / "runners" / str(runner.pid)).touch()
    sys.stdout.write(f"{job}\n")


def _run(state: Path, words: Sequence[str]) -> None:
    job, given, *args = words
    options: dict[str, str] = json.loads(given)
    if awaited := options.get("--dependency", "").removeprefix("afterok:"):
        while not (file := state / f"{awaited}.ended").exists():
            time.sleep(0.05)
        if any(codes[-1] for codes in json.loads(file.read_text()).values()):
            (state / f"{job}.ended").write_text(json.dumps({job: [1]}))
            return
    first, _, last = options.get("--array", "").partition("-")
    numbers = range(int(first), int(last) + 1) if first else range(1)
    tasks = deque(f"{job}_{n}" if first else job for n in numbers)
    codes: dict[str, list[int]] = {task: [] for task in tasks}
    while tasks:
        task = tasks.popleft()
        more = {"SLURM_RESTART_COUNT": str(len(codes[task]))} if codes[task] else {}
        if first:
            more["SLURM_ARRAY_TASK_ID"] = task.partition("_")[2]
            more |= {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_MAX": last}
        codes[task].append(_attempt(state, task, options, more, args))
        asked = state / f"{task}.requeue"
        if asked.exists() or (codes[task][-1] == -signal.SIGKILL and "--requeue" in options):
            asked.unlink(missing_ok=True)
            tasks.append(task)
    part = state / f"{job}.part"
    part.write_text(json.dumps(codes))
    part.rename(state / f"{job}.ended")


def _attempt(
    state: Path, task: str, options: dict[str, str], more: dict[str, str], args: Sequence[str]
) -> int:
    nodes = [f"node{n}" for n in range(1, 1 + int(options.get("--nodes", "1")))]
    env = os.environ | {
        "SLURM_JOB_ID": task,
        "SLURM_SUBMIT_DIR": str(Path.cwd()),
        "SLURM_JOB_NODELIST": ",".join(nodes),
        "SLURM_JOB_NUM_NODES": str(len(nodes)),
        "SLURM_GPUS_ON_NODE": "1",
        "SLURMD_NODENAME": "localhost",
        **more,
    }
    script = str(state / f"{task.partition('_')[0]}.sh")
    (state / "tasks").mkdir(exist_ok=True)
    with (state / f"{task}.log").open("a") as log:
        process = subprocess.Popen(
            ["bash", script, *args], env=env, stdout=log, stderr=log, start_new_session=True
        )
        (state / "tasks" / task).write_text(str(process.pid))
        code = process.wait()
    (state / "tasks" / task).unlink()
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    _kill_steps(state, "*")
    return code


def _srun(state: Path, words: Sequence[str]) -> None:
    options, command = _split(words)
    all_nodes = os.environ["SLURM_JOB_NODELIST"].split(",")
    nodes = options.get("--nodelist", ",".join(all_nodes)).split(",")
    steps = []
    for node in nodes:
        if (state / "lost" / node).exists():
            sys.exit(f"srun: error: {node} is not responding")
        more = {"SLURMD_NODENAME": node, "SLURM_NODEID": str(all_nodes.index(node))}
        step = subprocess.Popen(command, env=os.environ | more, start_new_session=True)
        (state / "nodes" / f"{node}-{step.pid}").touch()
        steps.append(step)
    sys.exit(max(abs(step.wait()) for step in steps))


def _scontrol(state: Path, words: Sequence[str]) -> None:
    if words[:2] == ["show", "hostnames"]:
        sys.stdout.write(words[2].replace(",", "\n") + "\n")
    else:
        verb, task = words
        assert verb == "requeue", words
        (state / f"{task}.requeue").touch()


if __name__ == "__main__":
    programs = {"sbatch": _sbatch, "run": _run, "srun": _srun, "scontrol": _scontrol}
    programs[sys.argv[1]](Path(os.environ[STATE]), sys.argv[2:])
