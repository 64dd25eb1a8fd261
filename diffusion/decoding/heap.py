"""Freed memory that stays with the process. In: nothing. Out: glibc's allocator set for it.

A decoding step on a CPU asks for the same large buffers as the step before. By default glibc gives
each back to the kernel, which clears every page of the next: measured with the tiny model, 1.1
million page faults and a quarter of the time of one batch (docs/adr/0015).
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt(3)
_NEVER = 2**31 - 1  # the greatest C int: 2 GiB lie free at the heap's end before any is given back


def keep() -> None:
    """Keep what is freed from now on; does nothing where the C library is not glibc."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)  # from the heap, which grows and is used again
        mallopt(_TRIM_THRESHOLD, _NEVER)
