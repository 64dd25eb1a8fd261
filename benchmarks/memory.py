"""Resident memory of a process, in MB: now, and the most since the peak was forgotten."""

import resource
from contextlib import suppress
from pathlib import Path


def resident_mb() -> float:
    """Now."""
    return _status("VmRSS")


def peak_mb(pid: int | None = None) -> float:
    """The most so far; of this process, where none is named. 0 where it is gone."""
    return _status("VmHWM", pid)


def forget_peak(pid: int | None = None) -> None:
    """Count the peak from here on."""
    with suppress(OSError):
        Path(f"/proc/{pid or 'self'}/clear_refs").write_text("5")


def _status(name: str, pid: int | None = None) -> float:
    try:
        lines = Path(f"/proc/{pid or 'self'}/status").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0.0 if pid else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
