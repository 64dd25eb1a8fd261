"""The command line as a user starts it: in this process, or in one of its own.

`polytrace` runs a command in this process: its exit code and what it prints are the same, and
PyTorch and Prefect are imported once for all tests. `run` and `start` are for what needs a process:
signals, terminals, a clean environment, and what is imported.
"""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from unittest import mock

from flows import cli
from support.paths import ROOT
from tests.flows.homes import HOMES

API = "PREFECT_API_URL"
FLOWS = ("build", "finetune-eval")


def polytrace(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in this process, from the folder `cwd`.

    With `PREFECT_API_URL` among `env`, flows run on that server.
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        on_server(env.get(API)),
        _as_it_was(),
        mock.patch.dict(os.environ, env),
        mock.patch.object(sys, "argv", ["polytrace", *args]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        os.chdir(cwd)
        code = _main()
    done = subprocess.CompletedProcess(args, code, out.getvalue(), err.getvalue())
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return done


def _main() -> int:
    try:
        cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


@contextmanager
def on_server(url: str | None) -> Iterator[None]:
    """Run flows on this Prefect server: the environment is read once, when Prefect is imported."""
    if url is None:
        yield
        return
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: url}):
        yield


@contextmanager
def _as_it_was() -> Iterator[None]:
    """The working directory and the handlers of signals are restored at the end."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    folder, handlers = Path.cwd(), [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        os.chdir(folder)
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)


def start(*args: str, cwd: Path, **env: str) -> subprocess.Popen[str]:
    """Start a command in a session of its own, as a terminal does."""
    more = {"PYTHONPATH": str(ROOT), **env}
    more.setdefault("PREFECT_HOME", str(cwd / ".prefect"))
    if args[0] in FLOWS and not {"PREFECT_HOME", API} & env.keys():
        HOMES.make(cwd / ".prefect")
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
    """Run a process to its end, with nothing of this machine in its environment."""
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *args],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def script(code: str, *args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code to its good end, in a process that has imported nothing of ours."""
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
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
