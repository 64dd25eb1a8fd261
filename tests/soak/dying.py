"""A build that kills itself with SIGKILL at the n-th change that it makes to its folder."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.builds import make


def build(recipe: Path, run: Path, changes: int, counted: Path) -> None:
    """Build, and die at change number `changes`; at the end, `counted` holds how many it made."""
    made = 0

    def count(event: str, args: tuple[Any, ...]) -> None:
        nonlocal made
        moves = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
        writes = (
            event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if (moves or writes) and str(args[0]).startswith(str(run)):
            made += 1
            if made > changes:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    make(run, str(recipe.with_suffix("")), "shard_rows=20")
    counted.write_text(str(made))
