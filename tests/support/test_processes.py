"""Child processes: nothing of them outlives its owner, whoever is killed and by whatever signal."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.paths import ROOT
from support.processes import DEVNULL, PIPE, Child, TimeoutExpired, output

STUBBORN = """
import os, signal, subprocess, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) > 1:
    subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
Path(f"{os.getpid()}.pid").touch()
time.sleep(600)
"""
# A command that ignores SIGTERM, with a child of its own in another session that does, too.
FAMILY = [sys.executable, "-c", STUBBORN, STUBBORN]
PARENT = """
import os, sys, time
sys.path.insert(0, {root!r})
from support.processes import DEVNULL, Child
child = Child({family!r}, grace=60.0, stdin=DEVNULL)
if os.fork() == 0:
    time.sleep(20)
    os._exit(0)
time.sleep(600)
"""


def wait_for(is_so: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def family(folder: Path) -> list[int]:
    return [int(path.stem) for path in folder.glob("*.pid")]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("status", [0, 3, 130])
def test_it_ends_as_the_command_did(status: int) -> None:
    command = ["sh", "-c", f"read line; echo $line; exit {status}"]
    with Child[str](command, grace=1.0, stdin=PIPE, stdout=PIPE, text=True) as child:
        printed, _ = child.communicate("hello\n", timeout=30)
    assert (child.returncode, printed) == (status, "hello\n")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGPROF, signal.SIGABRT])
def test_a_signal_that_ended_the_command_is_seen(number: int) -> None:
    with Child[bytes](["sh", "-c", f"kill -{number} $$"], grace=1.0) as child:
        assert child.wait(30) == -number


def test_a_command_that_cannot_be_started_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    with Child[bytes](["/no/such/command"], grace=1.0) as child:
        assert child.wait(30) == 127
    assert "cannot start /no/such/command: No such file" in capfd.readouterr().err


def test_what_is_asked_ends_by_itself(tmp_path: Path) -> None:
    script = "trap 'sleep 0.3; echo saved; exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    with Child[str](["sh", "-c", script], grace=30.0, stdout=PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        child.terminate()
        assert child.communicate(timeout=30)[0] == "saved\n"
    assert child.returncode == 5


def test_what_does_not_listen_is_killed_with_all_it_has_started(tmp_path: Path) -> None:
    with Child[bytes](FAMILY, grace=0.3, cwd=tmp_path):
        wait_for(lambda: len(family(tmp_path)) == 2)
    assert not any(map(is_running, family(tmp_path)))


def test_a_command_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    child = Child[bytes](FAMILY, grace=0.3, cwd=tmp_path)
    wait_for(lambda: len(family(tmp_path)) == 2)
    os.kill(min(family(tmp_path)), signal.SIGKILL)
    assert child.wait(30) == -signal.SIGKILL
    assert not any(map(is_running, family(tmp_path)))


def test_a_killed_supervisor_leaves_nothing_once_the_child_was_ended(tmp_path: Path) -> None:
    child = Child[bytes](FAMILY, grace=0.3, cwd=tmp_path)
    wait_for(lambda: len(family(tmp_path)) == 2)
    os.kill(child.pid, signal.SIGKILL)
    child.end()
    wait_for(lambda: not any(map(is_running, family(tmp_path))))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_parent_that_is_killed_leaves_nothing(tmp_path: Path, number: int) -> None:
    """Within five seconds, whatever the grace; a process that it forked holds its files open."""
    code = PARENT.format(root=str(ROOT), family=FAMILY)
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=DEVNULL)
    wait_for(lambda: len(family(tmp_path)) == 2)
    parent.send_signal(number)
    parent.wait(30)
    wait_for(lambda: not any(map(is_running, family(tmp_path))), 5.0)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_child_that_nobody_holds_ends() -> None:
    child = Child[bytes](["sleep", "600"], grace=0.3)
    pid = child.pid
    del child
    wait_for(lambda: not is_running(pid))


def test_the_output_of_a_command() -> None:
    assert output(["sh", "-c", "echo $WORD; exit 4"], 30.0, {"WORD": "x"}) == (4, b"x\n")
    with pytest.raises(TimeoutExpired):
        output(["sleep", "60"], 0.2)
