"""Ways of doing the same work, each a process of its own, that take turns.

A way is a module run with the way's and the case's name. It reads lines on stdin, does one run for
each, and answers it by a line of JSON.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Self

THREADS = 2
ENVIRONMENT = {
    "OMP_NUM_THREADS": str(THREADS),
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0"),  # a Trainer takes all
}


def take_turns(module: str, case: str, ways: Sequence[str], runs: int) -> dict[str, list[Any]]:
    """The answers of every way, which take turns, and take turns in being first."""
    answers: dict[str, list[Any]] = {way: [] for way in ways}
    with ExitStack() as stack:
        all_ways = {way: stack.enter_context(_Way(module, way, case)) for way in ways}
        for number in range(runs):
            for way in reversed(ways) if number % 2 == 0 else ways:
                answers[way].append(all_ways[way].run())
    return answers


class _Way:
    """A process that rests between runs."""

    def __init__(self, module: str, way: str, case: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, way, case],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ENVIRONMENT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def run(self) -> Any:
        """The next run's answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())
