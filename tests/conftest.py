"""Fixtures shared by all tests."""

from pathlib import Path

import pytest
from hypothesis import settings

# Machines are shared and slow at times: what counts is the outcome, not how long one example took.
settings.register_profile("polytrace", deadline=None)
settings.load_profile("polytrace")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; tests that need it skip where it is missing."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data folder ../shared/data is not here")
    return folder


@pytest.fixture(scope="session")
def tiny_teacher() -> Path:
    """The committed model directory of the tiny teacher."""
    return ROOT / "tiny" / "teacher"
