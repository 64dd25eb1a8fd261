"""The console script as a user starts it."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from schemas.paths import ROOT


def start(*args: str, cwd: Path, **env: str) -> subprocess.Popen[str]:
    """In a session of its own, as a terminal starts it."""
    more = {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(cwd / ".prefect"), **env}
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *args],
        cwd=cwd,
        env={**os.environ, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run to its end, with nothing of this machine in its environment."""
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *args],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def alive(home: Path) -> list[str]:
    """The command lines of the processes, anywhere, whose Prefect lives in `home`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"PREFECT_HOME={home}\0".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text().replace("\0", " "))
    return found


def check_all_end(home: Path, seconds: float = 20) -> None:
    """All of them end, of themselves; a zombie's environment cannot be read."""
    deadline = time.monotonic() + seconds
    while left := alive(home):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
