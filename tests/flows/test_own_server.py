"""Where the command's own Prefect server listens, and what is said if it is not reached."""

import os
import socket
from contextlib import nullcontext
from pathlib import Path

import pytest

from flows.runtime import server, session
from flows.runtime.cluster import DASK, RAY, own_host
from support.errors import UserError


def test_it_leaves_loopback_only_for_the_cluster_of_its_task_runner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        place = f"127.0.0.1:{head.getsockname()[1]}"
        monkeypatch.setenv(DASK, f"tcp://{place}")
        monkeypatch.delenv(RAY, raising=False)
        assert own_host("dask") == "127.0.0.1"
        assert own_host("threads") is None and own_host("ray") is None
        monkeypatch.setenv(RAY, place)
        monkeypatch.setenv(DASK, "no address")
        assert own_host("ray") == "127.0.0.1" and own_host("dask") is None


@pytest.mark.parametrize(
    ("given", "then"),
    [
        ({}, {"NO_PROXY": "192.0.2.9"}),
        ({"no_proxy": "a"}, {"no_proxy": "a,192.0.2.9"}),
        ({"NO_PROXY": ""}, {"NO_PROXY": "192.0.2.9"}),
        (
            {"no_proxy": "a", "NO_PROXY": "b"},
            {"no_proxy": "a,192.0.2.9", "NO_PROXY": "b,192.0.2.9"},
        ),
    ],
)
def test_no_proxy_is_asked_for_it(
    given: dict[str, str], then: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")  # is as it was afterwards
        monkeypatch.delenv(name)
    os.environ.update(given)
    server._ask_no_proxy("192.0.2.9")
    assert {
        name: os.environ[name] for name in ("no_proxy", "NO_PROXY") if name in os.environ
    } == then


def test_workers_that_do_not_reach_it_are_told_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "own_server", lambda _: nullcontext())
    monkeypatch.setattr(session, "_address", lambda: "")
    with pytest.raises(UserError, match="is not reached at http") as raised:  # noqa: SIM117
        with session.prefect(tmp_path, "dask"):
            raise RuntimeError("Failed to reach API at http://192.0.2.9:20001/api/")
    assert "NO_PROXY" in str(raised.value) and "http://192.0.2.9:20001/api/" in str(raised.value)
