"""How `benchmarks.peer_faults` tells faults apart; the figures themselves are `make bench`."""

import sys
from pathlib import Path

import pytest

from benchmarks import peer_faults
from benchmarks.clients import Work
from benchmarks.peers import PeerError
from benchmarks.peers.process import PeerProcess
from tests.servers.loopback import Loopback, Served

OURS = peer_faults.TOOLS[0]
WORK = Work(prompts=60, in_flight=20, grouped=False)


def served(prompt: str, n: int = 1, status: int | None = 200) -> Served:
    return Served(
        arrived=0,
        ended=1,
        status=status,
        n=n,
        seed=None,
        prompt=prompt,
        digest="",
        in_flight=1,
    )


def test_what_is_sent_again_is_what_was_answered_before() -> None:
    before = [served("a", 4), served("b"), served("b"), served("c", status=None), served("")]
    assert peer_faults.sent_again(before, [], 4) == 0
    rest = [served("b"), served("b"), *[served("c")] * 4, served("")]
    assert peer_faults.sent_again(before, rest, 4) == 0
    assert peer_faults.sent_again(before, [*rest, served("b")], 4) == 1
    assert peer_faults.sent_again(before, [*rest, served("a", 4)], 4) == 4


def test_a_tool_that_is_not_here_has_lines_without_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLYTRACE_CURATOR_PYTHON", raising=False)
    tool = next(tool for tool in peer_faults.TOOLS if tool.name == "curator")
    lines = list(peer_faults.measure(tool))
    assert len(lines) == sum(map(len, peer_faults.FIGURES.values()))
    assert {line.value for line in lines} == {None}
    assert all("pip install bespokelabs-curator" in str(line.reason) for line in lines)


@pytest.mark.slow
def test_ours_loses_nothing_in_any_fault(tmp_path: Path) -> None:
    with Loopback(peer_faults.STEADY) as server:
        for fault in ("outage", "killed", "cut"):
            folder = tmp_path / fault
            folder.mkdir()
            server.forget()
            server.set(peer_faults.STEADY)
            trial = peer_faults.Trial(tool=OURS, server=server, folder=folder, work=WORK)
            if fault == "outage":
                found = peer_faults.outage(trial, seconds=2.0)
                assert (found["exit"], found["missing"], found["missing_unsaid"]) == (0, 0, 0)
            elif fault == "killed":
                found = peer_faults.killed(trial)
                assert (found["exit"], found["missing"]) == (0, 0)
                assert found["answered"] and found["sent_again"] is not None
                assert 0 <= found["sent_again"] <= found["answered"]  # all, within a second
            else:
                found = peer_faults.cut(trial)
                assert found["handed_over"] and found["unmarked"] == 0


def test_a_process_that_ends_early_or_never(tmp_path: Path) -> None:
    failing = (sys.executable, "-c", "import sys; print('no object'); sys.exit('why')")
    end = PeerProcess(failing, tmp_path).end(30)
    assert (end.status, end.said, end.error) == (1, {}, "why")
    asleep = (sys.executable, "-c", "import time; time.sleep(60)")
    assert PeerProcess(asleep, tmp_path).end(0.5).status is None
    with Loopback() as server:
        trial = peer_faults.Trial(tool=OURS, server=server, folder=tmp_path, work=WORK)
        with pytest.raises(PeerError, match=r"^ended with 1 before the fault: why"):
            trial.answered(PeerProcess(failing, tmp_path), 1)
