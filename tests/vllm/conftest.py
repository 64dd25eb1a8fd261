"""The real vLLM: its interpreter, and one server for all tests that can share it.

`make test-vllm` runs these; any other run of pytest skips them, with the reason.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.real_vllm import MISSING, RealVLLM, interpreter


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "vllm" in config.option.markexpr:
        return
    skip = pytest.mark.skip(reason="real vLLM, minutes long: `make test-vllm` (or -m vllm) runs it")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(skip)


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
