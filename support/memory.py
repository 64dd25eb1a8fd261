"""Whether freed memory stays with the process or goes back to the system.

`keep_freed` is for glibc and does nothing on other systems.
"""

import ctypes
import sys

import pyarrow as pa

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt(3)
_NEVER = 2**31 - 1  # the greatest C int: 2 GiB lie free at the heap's end before any is given back


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


def release_unused() -> None:
    """Give unused memory of Arrow and of glibc back to the system; elsewhere that of Arrow alone.

    Arrow's pool and glibc's arenas, one a thread, keep the memory that a shard took, and a long run
    would grow by it: with 80,000 traces of 4 kB to 167 MB above that of the imports.
    """
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
