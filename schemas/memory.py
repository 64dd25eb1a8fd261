"""Give memory that was freed back to the system, so that a process is no larger than it must be.

Arrow's pool and glibc's heap keep what they once held. A long build would grow by what its shards
took (on 80,000 traces of 4 kB to 167 MB above imports); a training on a CPU, whose every batch has
a shape of its own, would be twice as large as its largest batch.
"""

import ctypes
from typing import Any

import pyarrow as pa

_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE = 1 << 20  # bytes


def give_back() -> None:
    """Release what Arrow and the C library hold unused; on other systems Arrow's share alone."""
    pa.default_memory_pool().release_unused()
    if (trim := _function("malloc_trim")) is not None:
        trim(0)


def keep_no_large_blocks() -> None:
    """From now on glibc gives blocks of a megabyte or more back as soon as they are freed.

    Left alone it raises that bound to 32 MB at the first such block; other C libraries do as they
    always do.
    """
    if (mallopt := _function("mallopt")) is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)


def _function(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None)
