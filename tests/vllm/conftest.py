"""The real vLLM: its interpreter, and one server for all tests that can share it.

`make test-vllm` runs these (the marker `vllm`).
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.real_vllm import MISSING, RealVLLM, interpreter


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    """An interpreter that is named and missing is an error; one that nobody named is skipped."""
    found = interpreter()
    if found is None:
        pytest.skip(MISSING)
    return found


@pytest.fixture(scope="session")
def vllm_server(vllm_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealVLLM]:
    with RealVLLM(vllm_python, tmp_path_factory.mktemp("vllm") / "server.log") as server:
        yield server
