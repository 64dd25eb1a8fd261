"""Fixtures shared by all tests: real data, finished builds, a Prefect server.

Tests run side by side in several processes (`make test` starts them with pytest-xdist), a module
always in one of them. A test may rely on no other test having run before it.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.builds import BuiltRuns
from tests.flows.homes import HOMES

# Machines are shared and slow at times: what counts is the outcome, not how long one example took.
settings.register_profile("polytrace", deadline=None)
settings.load_profile("polytrace")

# Read by PyTorch and Prefect when they are imported; what a test starts inherits it. One thread a
# process: the processes share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
os.environ.setdefault("DO_NOT_TRACK", "1")

ROOT = Path(__file__).resolve().parents[1]
LONGEST = (
    *("test_deployed", "test_journey", "test_finetune_eval", "test_dask", "test_build"),
    *("test_train", "test_hub", "test_cli", "test_growing"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest modules first: no process is left with one of them at the end."""
    last = len(LONGEST)
    items.sort(
        key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else last
    )


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; tests that need it skip where it is missing."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data folder ../shared/data is not here")
    return folder


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """Small inputs that were got wrong, beside the real data; skips where they are missing."""
    folder = ROOT.parent / "shared" / "cases"
    if not folder.is_dir():
        pytest.skip("the folder of cases ../shared/cases is not here")
    return folder


@pytest.fixture(scope="session")
def tiny_teacher() -> Path:
    """The committed model directory of the tiny teacher."""
    return ROOT / "tiny" / "teacher"


@pytest.fixture(scope="session", autouse=True)
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all test processes share."""
    folder = tmp_path_factory.getbasetemp()
    HOMES.folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    return HOMES.folder


@pytest.fixture(scope="session")
def built_runs(shared_folder: Path) -> BuiltRuns:
    """Finished builds that all test processes share."""
    (shared := shared_folder / "built-runs").mkdir(exist_ok=True)
    return BuiltRuns(shared)


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prefect server, one for all tests of this process."""
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_HOME, temporary_settings

    server = SubprocessASGIServer()
    home = HOMES.make(tmp_path_factory.mktemp("prefect"))
    with temporary_settings({PREFECT_HOME: home}):
        server.start(timeout=120)
    yield server.api_url
    server.stop()
