"""A tool's run as a process that may end in any way. In: a command. Out: its end, what it said.

Its session is its own, so that all that belongs to it can be killed, as a machine's end kills it.
"""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import last_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The end of a process; `status` is None where it did not end in time and was killed."""

    status: int | None
    seconds: float
    said: Mapping[str, float]  # its last line of output; empty where that is no JSON object
    error: str  # the last line of its errors


class PeerProcess:
    """A process that runs from its making to `end`."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._began = time.monotonic()
        self._written = tempfile.TemporaryDirectory(prefix="process-")
        self._output, self._errors = (Path(self._written.name) / name for name in ("out", "err"))
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        """Whether it has not ended by itself."""
        return self._process.poll() is None

    def end(self, limit: float) -> Ended:
        """Wait for its end; SIGKILL to what is left then, or when it is `limit` seconds old."""
        left = limit - (time.monotonic() - self._began)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, left))
        seconds, status = time.monotonic() - self._began, self._process.returncode
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        said = _said(self._output.read_bytes())
        with self._errors.open("rb") as errors:
            error = last_line(errors)
        self._written.cleanup()
        return Ended(status=status, seconds=seconds, said=said, error=error)


def _said(output: bytes) -> Mapping[str, float]:
    try:
        said = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
