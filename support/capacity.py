"""What this process may use: cores, bytes of memory; and whether freed memory stays with it.

Cores and memory respect the limits of the container, if there is one (cgroup v1 and v2).
`keep_freed` is for glibc and does nothing on other systems.
"""

import ctypes
import errno
import math
import os
import resource
import sys
from pathlib import Path

from support.errors import UserError, first_line

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
FILES = 1024  # that a process may open where the hard limit lets it; most systems do
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt(3)
_FULL = (
    *("out of memory", "allocate memory", "enough memory"),
    "status_alloc_failed",  # cuBLAS's
    *("start new thread", "launch worker thread"),
)
_LIBRARIES = ("pyarrow", "safetensors")
_NEVER = 2**31 - 1  # the greatest C int: 2 GiB lie free at the heap's end before any is given back


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


def free_memory(cgroup: Path = CGROUP, meminfo: Path = MEMINFO) -> int:
    """Bytes of `memory` that nobody uses now; file caches count as free where Linux says so."""
    most = memory(cgroup)
    used = _number(cgroup / "memory.current")
    if used is None:
        used = _number(cgroup / "memory" / "memory.usage_in_bytes")
    left = most - (used or 0) + (_cached(cgroup) if used else 0)
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return max(0, left)
    known = [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")]
    return max(0, min([left, *known]))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of this machine or of a device is full.

    Without memory no thread can be started either. Arrow, safetensors and tokenizers say it with
    their most general errors, the last with `Exception` itself. A library may raise its own error
    because of one of these, as datasets does.
    """
    if isinstance(error, MemoryError):
        return True
    if error.__cause__ is not None and is_out_of_memory(error.__cause__):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    is_general = isinstance(error, RuntimeError) or type(error) is Exception
    is_known = is_general or type(error).__module__.startswith(_LIBRARIES)
    return is_known and any(said in str(error).lower() for said in _FULL)


def raise_if_out_of_memory(error: BaseException) -> None:
    """Raise the error again where memory ran out: what could not be read or loaded may be whole."""
    if is_out_of_memory(error):
        raise error


def memory_message(error: BaseException) -> str:
    """The sentence for an error that `is_out_of_memory`."""
    said = first_line(error)
    threads = " or more threads (ulimit -u, or the container's limit of processes)"
    return (
        f"memory ran out ({said}); what was made before is kept. Give it more memory"
        f"{threads if 'thread' in said else ''}, and run the same command again: it continues"
    )


def allow_files(wanted: int) -> int:
    """Let this process and its children open so many files, or as many as the hard limit lets.

    Returns how many they may open.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def require_files(least: int) -> None:
    """Let this process and its children open many files; UserError if not even so many."""
    wanted = max(FILES, least)
    if (files := allow_files(wanted)) < least:
        raise UserError(
            f"this shell lets a process open {files} files, and this command needs {least} or "
            f"more; run ulimit -n {wanted}, and the same command again"
        )


def keep_freed() -> None:
    """Keep the memory that is freed from now on in this process.

    A decoding step on a CPU asks for the same large buffers as the step before. By default glibc
    gives each back to the kernel, which clears every page of the next: measured with the tiny
    model, 1.1 million page faults and a quarter of the time of one batch (docs/adr/0015).
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)  # from the heap, which grows and is used again
        mallopt(_TRIM_THRESHOLD, _NEVER)


def keep_few_kernels() -> None:
    """Let oneDNN keep 64 kernels and not 1,024, unless the environment says a number.

    It makes a kernel for each new shape of a bfloat16 product on a CPU and keeps it with its
    memory; packed texts have hundreds of shapes. After 260 long documents a scorer of 135 M
    parameters held 10 GB so, and holds 1.7 GB now; the seconds are the same. oneDNN reads the
    number when it makes its first kernel.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


def release_unused() -> None:
    """Give unused memory of Arrow and of glibc back to the system; elsewhere that of Arrow alone.

    Arrow's pool and glibc's arenas, one a thread, keep the memory that a shard took, and a long run
    would grow by it: with 80,000 traces of 4 kB to 167 MB above that of the imports.
    """
    import pyarrow as pa  # not above: `polytrace doctor` also runs where it is broken

    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _cached(cgroup: Path) -> int:
    """Bytes of files that the container's memory holds, and that it gives up when asked."""
    for file in (cgroup / "memory.stat", cgroup / "memory" / "memory.stat"):
        try:
            lines = file.read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        pairs = dict(line.split(maxsplit=1) for line in lines if " " in line)
        return int(pairs.get("inactive_file", 0))
    return 0


def _number(file: Path, place: int = 0) -> int | None:
    """A number of a file; None if there is no such file or number, as for "max"."""
    try:
        return int(file.read_text().split()[place])
    except (OSError, ValueError, IndexError):
        return None
