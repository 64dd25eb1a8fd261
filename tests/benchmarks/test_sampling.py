"""What the figures of sampling are made of; the figures themselves are `make bench`."""

from pathlib import Path

import pytest

from benchmarks import peers, sampling
from benchmarks.clients import Work, bare, builds
from tests.servers.loopback import Behaviour, Loopback, Served


def served(seconds: float, arrived: float = 0.0) -> Served:
    return Served(
        arrived=arrived,
        ended=arrived + seconds,
        status=200,
        n=1,
        seed=None,
        prompt="",
        digest="",
        in_flight=1,
    )


def test_the_critical_path_is_the_list_schedule() -> None:
    requests = [served(seconds) for seconds in (3, 1, 1, 1, 2)]
    assert sampling.critical_path(requests, 1) == 8
    assert sampling.critical_path(requests, 2) == 5  # 3 + 2 beside 1 + 1 + 1
    assert sampling.critical_path(requests, 9) == 3
    assert sampling.critical_path([served(2, arrived=100)], 2) == 2


def test_both_clients_ask_for_all_samples_and_ours_keeps_them(tmp_path: Path) -> None:
    with Loopback(Behaviour(latency_s=0.01)) as server:
        for grouped in (True, False):
            work = Work(prompts=12, samples=3, in_flight=5, grouped=grouped)
            server.forget()
            bare(server.url, work)
            assert [one.n for one in server.served()] == [3 if grouped else 1] * work.requests
            assert max(one.in_flight for one in server.served()) <= 5
            (tmp_path / str(grouped)).mkdir()
            sample = builds(tmp_path / str(grouped), server.url, work, 1)
            server.forget()
            assert sample() == 36
            assert sum(one.n for one in server.served()) == 36
            assert max(one.in_flight for one in server.served()) <= 5


def test_a_run_that_ends_short_counts_what_it_kept(tmp_path: Path) -> None:
    with Loopback(Behaviour(refuse_substring="What is 3 + 3")) as server:
        work = Work(prompts=5, samples=2, in_flight=4)
        assert builds(tmp_path, server.url, work, 1)() == 8


def test_our_own_process_is_measured_as_the_peers_are() -> None:
    with Loopback(Behaviour(latency_s=0.01)) as server:
        work = Work(prompts=20, in_flight=5)
        found = peers.ours(server, work, watch=True)
        assert found.wall_s > 20 / 5 * 0.01 and 0 < found.requests_per_s < 500
        assert found.peak_mb is None or 50 < found.peak_mb < 1000
        with pytest.raises(peers.PeerError, match="No such file"):
            peers.measure(server, "/nowhere/python", "curator_run.py", work)
        with pytest.raises(peers.PeerError, match=r"curator_run\.py ended with"):
            peers.measure(server, "/bin/false", "curator_run.py", work)
