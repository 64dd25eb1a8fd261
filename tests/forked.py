"""Processes that begin where the imports end, for work that is killed or ends by itself.

Multiprocessing's fork server imports PyTorch, transformers and our packages once for each test
process, and every process is a copy of it: it starts in milliseconds instead of seconds. It is a
real process, with signals, limits and an exit code. Where imports, the environment or the command
line are the subject, `tests.flows.commands` starts a fresh one.
"""

import os
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PRELOADED = (
    *("curation.pipeline", "curation.sampling.service", "curation.stages.trace_stage"),
    *("curation.teachers.openai_server", "scorers.seqdep.loader", "scorers.seqdep.measurement"),
    *("diffusion.training.train", "tests.builds"),
)
_CONTEXT = get_context("forkserver")


def begin(work: Callable[..., object], *args: Any, output: Path | None = None) -> BaseProcess:
    """Start `work(*args)`, a function of a module; what it prints goes to the file `output`."""
    _CONTEXT.set_forkserver_preload([*PRELOADED])
    process = _CONTEXT.Process(target=_enter, args=(work, args, output), daemon=True)
    process.start()
    return process


def _enter(work: Callable[..., object], args: tuple[Any, ...], output: Path | None) -> None:
    with (output or Path(os.devnull)).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    work(*args)
