"""The cores and the bytes of memory that this process may use.

Both respect the limits of the container, if there is one (cgroup v1 and v2).
"""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cores(cgroup: Path = CGROUP) -> int:
    """Cores that this process may run on; a part of one counts as one."""
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota, period = _number(cgroup / "cpu.max"), _number(cgroup / "cpu.max", 1)
    if quota is None:
        quota = _number(cgroup / "cpu" / "cpu.cfs_quota_us")  # -1: without a limit
        period = _number(cgroup / "cpu" / "cpu.cfs_period_us")
    if quota is None or period is None or quota <= 0 or period <= 0:
        return allowed
    return min(allowed, math.ceil(quota / period))


def memory(cgroup: Path = CGROUP) -> int:
    """Bytes of memory that this process may have, with all others of its container."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (
        _number(cgroup / "memory.max"),
        _number(cgroup / "memory" / "memory.limit_in_bytes"),  # huge: without a limit
    )
    return min([installed, *(limit for limit in limits if limit)])


def _number(file: Path, place: int = 0) -> int | None:
    """A number of a file; None if there is no such file or number, as for "max"."""
    try:
        return int(file.read_text().split()[place])
    except (OSError, ValueError, IndexError):
        return None
