"""The real vLLM: its interpreter, and one server for all tests that can share it.

`make test-vllm` runs these (the marker `vllm`).
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.real_vllm import MISSING, RealVLLM, interpreter


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with servers of their own come first: an idle vLLM, the shared one, polls on all cores.

    The order of all other tests stays.
    """
    items.sort(key=lambda item: "vllm_server" in getattr(item, "fixturenames", ()))


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
