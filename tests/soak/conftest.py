"""Long tests of what may go wrong. `make soak` runs the long ones, `make test` the others."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "soak" in config.option.markexpr:
        return
    skip = pytest.mark.skip(reason="many minutes long: `make soak` (or -m soak) runs it")
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(skip)
