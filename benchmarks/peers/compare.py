"""A peer beside ours on one server: the same requests, as many in flight, in turn, in processes.

In: a peer's name; an environment variable holds its interpreter. Out: lines for both and the ratio;
where the peer is not here or fails, its lines have no value and say why.
"""

import os
from collections.abc import Iterator, Sequence

from benchmarks import peers
from benchmarks.clients import Work
from benchmarks.lines import Better, Line, median_line, ratio_line
from benchmarks.peers import Measured, PeerError
from tests.servers.loopback import Loopback

RUNS = 3  # for speed, and one more for memory
_PACKAGES = {
    "distilabel": "'distilabel[openai]==1.5.3' requests",
    "curator": "bespokelabs-curator==0.1.31",
    "datatrove": "datatrove==0.10.1 aiofiles aiosqlite httpx orjson xxhash",
}


def variable(name: str) -> str:
    """The environment variable that names a peer's interpreter."""
    return f"POLYTRACE_{name.upper()}_PYTHON"


def missing(name: str) -> str:
    """Why a peer is not measured where no interpreter is named, and how to get one."""
    return (
        f"{variable(name)} names no interpreter; make one: python3.11 -m venv {name} && "
        f"{name}/bin/pip install {_PACKAGES[name]}"
    )


def compare(server: Loopback, work: Work, name: str) -> list[Line]:
    """The lines of a peer, of ours beside it, and of the ratio."""
    python = os.environ.get(variable(name))
    theirs: list[Measured] = []
    ours: list[Measured] = []
    reason = None
    for run in range(RUNS + 1):
        is_last = run == RUNS  # for memory
        try:
            if python and not reason:
                theirs.append(peers.measure(server, python, f"{name}_run.py", work, watch=is_last))
        except PeerError as error:
            reason = f"{variable(name)}: {error}"
        ours.append(peers.ours(server, work, watch=is_last))
    if not python:
        reason = missing(name)
    both = ([], []) if reason else (ours[:-1], theirs[:-1])
    speeds = [[one.requests_per_s for one in runs] for runs in both]
    return [
        *_figures(name, [] if reason else theirs, reason),
        *_figures(f"polytrace_beside_{name}", ours, None),
        ratio_line(
            f"vs_{name}",
            *speeds,
            unit="ratio of requests/s",
            target=1.0,
            baseline=f"{name}; from the first request to the data set in hand",
            reason=reason,
        ),
    ]


def _figures(who: str, runs: Sequence[Measured], reason: str | None) -> Iterator[Line]:
    """Speed over all runs but the last, memory of the last."""
    rates, walls = [r.requests_per_s for r in runs[:-1]], [r.wall_s for r in runs[:-1]]
    peaks = [r.peak_mb for r in runs[-1:] if r.peak_mb is not None]
    unknown = reason or "memory is read from /proc, which is not here"
    figures: tuple[tuple[str, str, Better, list[float], str | None], ...] = (
        ("requests_per_s", "requests/s", "higher", rates, reason),
        ("wall_s", "seconds with start-up", "lower", walls, reason),
        ("peak_mb", "MB of all processes (PSS)", "lower", peaks, unknown),
    )
    for name, unit, better, found, why in figures:
        yield median_line(f"{who}_{name}", found, unit, better=better, digits=1, reason=why)
