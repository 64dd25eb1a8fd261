"""What a container may use, by the files of cgroup v1 and v2."""

import os
from pathlib import Path

import pytest

from flows.cli.doctor.capacity import cores, memory


def put(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    "files",
    [
        {"memory.max": "1048576\n", "cpu.max": "50000 100000\n"},
        {
            "memory/memory.limit_in_bytes": "1048576\n",
            "cpu/cpu.cfs_quota_us": "50000\n",
            "cpu/cpu.cfs_period_us": "100000\n",
        },
    ],
)
def test_the_limits_of_a_container_hold(files: dict[str, str], tmp_path: Path) -> None:
    assert memory(put(tmp_path, files)) == 1 << 20
    assert cores(tmp_path) == 1


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"memory.max": "max\n", "cpu.max": "max 100000\n"},
        {
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
            "cpu/cpu.cfs_quota_us": "-1\n",
            "cpu/cpu.cfs_period_us": "100000\n",
        },
    ],
)
def test_without_limits_it_is_the_machine(files: dict[str, str], tmp_path: Path) -> None:
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory(put(tmp_path, files)) == installed
    assert cores(tmp_path) == len(os.sched_getaffinity(0))
