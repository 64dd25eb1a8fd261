"""Resident memory of this process, in MB: now, and the most since the peak was forgotten."""

import resource
from pathlib import Path


def resident_mb() -> float:
    """Now."""
    return _status("VmRSS")


def peak_mb() -> float:
    """The most so far."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Count the peak from here on."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
