"""Other tools on the same server, each as a process in an environment of its own.

In: a script of this folder, the interpreter that has the tool. Out: wall seconds from start to end
and requests a second within the run, or the peak memory of all its processes.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.clients import Work
from tests.servers.loopback import Loopback

MB = 1e6
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A finished process.

    `requests_per_s` counts from the moment the first request reached the server to the moment the
    tool handed over its data set: start-up is left out, all its work on answers is in.
    """

    wall_s: float
    requests_per_s: float
    peak_mb: float | None  # None where nobody watched or the system does not tell
    said: Mapping[str, float | None]  # the process's last line


class PeerError(RuntimeError):
    """A peer that does not run here, and what it said last."""


def measure(
    server: Loopback, python: str, script: str, work: Work, *more: str, watch: bool = False
) -> Measured:
    """Run a script of this folder against the server; PeerError where it fails.

    To `watch` its memory costs time, so that speed is measured in runs that nobody watches.
    """
    server.forget()
    numbers = (str(work.prompts), str(work.samples))
    with tempfile.TemporaryDirectory(prefix="peer-") as folder, tempfile.TemporaryFile() as errors:
        path = Path(__file__).parent / script
        began = time.monotonic()
        try:
            process = subprocess.Popen(
                [python, str(path), server.url, *numbers, folder, *more],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # so that all its processes are known by their session
            )
        except OSError as error:
            raise PeerError(f"no interpreter that can be started ({error.strerror})") from None
        watcher = _Watch(process.pid) if watch else None
        output, _ = process.communicate()
        wall = time.monotonic() - began
        peak = watcher.end() if watcher else 0
        if process.returncode:
            raise PeerError(f"{script} ended with {process.returncode}: {last_line(errors)}")
    said: dict[str, float] = json.loads(output.splitlines()[-1])
    if said["samples"] != work.prompts * work.samples:
        raise PeerError(f"{script}: {said['samples']} samples of {work.prompts * work.samples}")
    # curator asks for its rate limits with an empty message first
    served = [one for one in server.served() if one.prompt]
    return Measured(
        wall_s=wall,
        requests_per_s=len(served) / (said["returned"] - served[0].arrived),
        peak_mb=peak / MB if peak else None,
        said=said,
    )


def ours(server: Loopback, work: Work, *, watch: bool = False) -> Measured:
    """Our own stage in a process of its own."""
    more = (str(work.in_flight), "group" if work.grouped else "single", str(work.slot_tokens))
    return measure(server, sys.executable, "polytrace_run.py", work, *more, watch=watch)


def last_line(errors: IO[bytes]) -> str:
    """What a process wrote last, without the frames that some draw around it."""
    errors.seek(0)
    lines = errors.read().decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip(" ╰╯─│")), "")[:300]


class _Watch:
    """The most memory that the processes of a session held together, in bytes.

    Proportional set size: a page that processes share is counted once. Linux only; elsewhere 0.
    """

    def __init__(self, session: int) -> None:
        self._peak = 0
        self._session = session
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> int:
        """Stop looking; the peak."""
        self._over.set()
        self._thread.join()
        return self._peak

    def _look(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            self._peak = max(self._peak, sum(map(_pss, _members(self._session))))


def _members(session: int) -> list[Path]:
    """The folders in /proc of a session's processes."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except (OSError, UnicodeDecodeError):
            continue  # it has just ended
        if int(after_name[3]) == session:
            found.append(stat.parent)
    return found


def _pss(process: Path) -> int:
    try:
        for line in (process / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # it has just ended
    return 0
