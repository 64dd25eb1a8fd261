"""Freed memory stays with the process: the next buffer of its size costs no page faults."""

import subprocess
import sys

import pytest

CHILD = """
import resource, sys
import torch
from support.capacity import keep_freed

if sys.argv[1] == "keep":
    keep_freed()

def work():
    first, second = torch.ones(12 << 20), torch.ones(5 << 20)  # 48 MiB, over any threshold, and 20
    del first, second

for _ in range(8):  # until every buffer has its place
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_memory_is_used_again() -> None:
    faults = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", CHILD, how], check=True, capture_output=True, text=True
            ).stdout
        )
        for how in ("keep", "leave")
    }
    assert faults["keep"] < 200
    assert faults["leave"] > 10 * faults["keep"] + 200, "nothing to mend: keep_freed can go"
