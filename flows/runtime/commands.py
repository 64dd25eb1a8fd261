"""Run a command of Polytrace in its own process, for the tasks of a flow.

In: arguments. Out: the command's files, or the error that it ended with. The process has its own
accelerators and memory, and can be started through `accelerate launch`.
"""

import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from support.errors import PolytraceError, StoppedError, UserError
from support.paths import module_environment
from support.processes import DEVNULL, PIPE, Child, TimeoutExpired

PATIENCE = 120.0  # seconds that a command has to save its work
# OpenMP's threads then wait without using a core. By default they spin, which slows a training down
# by minutes if other work shares the cores; the results are the same.
_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
_RUNNING: set[Child[str]] = set()
_ERRORS: dict[int, type[PolytraceError]] = {2: UserError, 3: StoppedError}


def run_command(arguments: Sequence[str], accelerate_config: str | None = None) -> None:
    """Run `polytrace ARGUMENTS`; it and its standard error are shown, its error is raised here."""
    start = [sys.executable, "-m"]
    if accelerate_config is not None:
        if not Path(accelerate_config).is_file():
            raise UserError(f"{accelerate_config}: no such accelerate config file")
        start += ["accelerate.commands.launch", "--config_file", accelerate_config, "-m"]
    print(f"> polytrace {shlex.join(arguments)}", file=sys.stderr, flush=True)
    ours, last = "", ""  # a launcher adds a page of its own after our sentence
    with Child[str](
        [*start, "flows.cli", *arguments],
        grace=PATIENCE,
        env=_THREADS | module_environment(),
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
        text=True,
        errors="replace",
    ) as process:
        _RUNNING.add(process)
        assert process.stderr is not None
        try:
            for line in process.stderr:
                sys.stderr.write(line)
                last = line.rstrip()
                ours = last if last.startswith("polytrace: ") else ours
        except BaseException:
            process.terminate()  # it saves its work; its output is read until it ends
            for line in process.stderr:
                sys.stderr.write(line)
            raise
        finally:
            _RUNNING.discard(process)
        process.wait()
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        if name == "SIGKILL":
            raise StoppedError(
                f"{arguments[0]} was ended by SIGKILL, as Linux does where memory runs out; the "
                "same command goes on, with more memory"
            )
        raise PolytraceError(f"{arguments[0]} was ended by {name}; the same command goes on")
    if process.returncode:
        why = ours.removeprefix("polytrace: ") or last
        error = _ERRORS.get(process.returncode, PolytraceError)
        raise error(why or f"{arguments[0]} ended with status {process.returncode}")


def stop_commands() -> None:
    """Ask every running command to save its work, and wait until it has ended."""
    running = tuple(_RUNNING)
    for process in running:
        process.terminate()
    for process in running:
        with suppress(TimeoutExpired):
            process.wait(PATIENCE)
