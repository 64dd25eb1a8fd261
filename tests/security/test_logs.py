"""Files of a run that hold what a server said, raw, are their owner's alone from the first byte."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.sampling.journal import Journal
from tests.curation.test_journal import trace
from tests.curation.test_serve import Bench, bench

__all__ = ["bench"]


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    """Files are made with the mode that is asked for, and nothing is taken from it."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_log_of_a_server_and_its_folder(bench: Bench) -> None:
    servers = bench.servers()
    servers.start()
    try:
        (log,) = bench.logs.iterdir()
        assert mode(log) == 0o600 and mode(bench.logs) == 0o700
    finally:
        servers.close()


def test_the_journal_of_samples(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "traces" / "00000.jsonl")
    journal.append(trace(1))
    assert mode(journal.path) == 0o600
    journal.close()


@pytest.mark.slow
def test_the_traceback_of_a_fault(
    tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.runtime.session import prefect
    from support.errors import PolytraceError
    from tests.flows.commands import on_server

    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    with (
        on_server(prefect_api),
        pytest.raises(PolytraceError, match="internal fault"),
        prefect(tmp_path),
    ):
        raise RuntimeError("a server said this")
    assert mode(tmp_path / "polytrace.log") == 0o600
    assert "a server said this" in (tmp_path / "polytrace.log").read_text()
