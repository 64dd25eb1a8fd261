"""A training as a process does it: with its exit code, and its error in a sentence."""

import os
import resource
import sys
from pathlib import Path

from diffusion.settings import Settings
from diffusion.training.train import fine_tune
from support.errors import PolytraceError


def train(settings: Settings, out: Path, most_bytes: int | None = None) -> None:
    """Train; no file may grow beyond `most_bytes`."""
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    try:
        fine_tune(settings, out)
    except PolytraceError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


def train_as(rank: int, processes: int, port: int, settings: Settings, out: Path) -> None:
    """Train as one of several processes on the CPU, in the environment that a launcher sets."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port}
    counts = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    os.environ |= {name: str(value) for name, value in (numbers | counts).items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    train(settings, out)
