"""What a container may use, by the files of cgroup v1 and v2."""

import errno
import os
from pathlib import Path

import pyarrow as pa
import pytest
from safetensors import SafetensorError

from support.capacity import cores, free_memory, is_out_of_memory, keep_few_kernels, memory

GIB = 1 << 30


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


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"memory.max": str(8 * GIB), "memory.current": str(3 * GIB)}, 5 * GIB),
        (
            {
                "memory.max": str(8 * GIB),
                "memory.current": str(3 * GIB),
                "memory.stat": f"anon 1\ninactive_file {GIB}\n",
            },
            6 * GIB,
        ),
        (
            {
                "memory/memory.limit_in_bytes": str(8 * GIB),
                "memory/memory.usage_in_bytes": str(9 * GIB),
            },
            0,
        ),
        ({"memory.max": str(64 * GIB), "memory.current": "0"}, 7 * GIB),
    ],
)
def test_free_memory_is_the_less_of_container_and_machine(
    files: dict[str, str], free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1 << 24}.get)
    (tmp_path / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {7 << 20} kB\n")
    assert free_memory(put(tmp_path, files), tmp_path / "meminfo") == free
    if free != 7 * GIB:
        assert free_memory(tmp_path, tmp_path / "no such file") == free


def test_an_error_that_full_memory_has_caused_is_one() -> None:
    error = ValueError("An error occurred while generating the dataset")
    assert not is_out_of_memory(error)
    error.__cause__ = MemoryError()
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried …"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
        (Exception("out of memory"), True),  # of tokenizers
        (Exception("expected value at line 1 column 1"), False),
        (RuntimeError("can't start new thread"), True),
        (pa.ArrowMemoryError("malloc of size 64 failed"), True),
        (
            pa.ArrowException("Unknown error: Failed to launch worker thread: Resource busy"),
            True,
        ),
        (pa.ArrowInvalid("Parquet magic bytes not found in footer"), False),
        (SafetensorError("I/O error: Cannot allocate memory (os error 12)"), True),
        (SafetensorError("Error while deserializing header: header too large"), False),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.EIO, "Input/output error"), False),
    ],
)
def test_a_full_memory_is_told_from_other_errors(error: Exception, is_it: bool) -> None:
    assert is_out_of_memory(error) is is_it


KERNELS = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


@pytest.mark.parametrize(("said", "kept"), [(None, "64"), ("7", "7")])
def test_few_kernels_are_kept_unless_the_environment_says(
    said: str | None, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KERNELS, said or "")  # what the test leaves behind is undone
    if said is None:
        monkeypatch.delenv(KERNELS)
    keep_few_kernels()
    assert os.environ[KERNELS] == kept
