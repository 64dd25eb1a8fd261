"""Sampling from a served teacher: against a bare HTTP loop, faults, memory, the peers.

`python -m benchmarks.sampling [LINE …]`: all lines, or those named (which are only printed). One
loopback server (`tests/servers/loopback`) serves whatever is compared, in the same run. What a
request is: one prompt with n = 4, unless it says otherwise. Needs no GPU; about seven minutes.
"""

import heapq
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

from benchmarks import peers
from benchmarks.clients import VERDICT, Work, bare, builds
from benchmarks.lines import Line, interleaved, median_line, ratio_line, report
from benchmarks.peers.compare import compare
from tests.servers.loopback import Behaviour, Loopback, Served

LATENCY = Behaviour(latency_s=0.05)
RUNS = 5


def main() -> None:
    """Measure and print."""
    names = sys.argv[1:]
    unknown = sorted(set(names) - set(LINES))
    if unknown:
        sys.exit(f"no line {', '.join(unknown)}; there are {', '.join(LINES)}")
    lines: list[Line] = []
    for measure in dict.fromkeys(LINES[name] for name in names or LINES):
        with Loopback(LATENCY) as server, tempfile.TemporaryDirectory(prefix="bench-") as folder:
            made = measure(server, Path(folder))
        lines += made
        for line in made if names else ():
            print(json.dumps(asdict(line)), flush=True)
    if not names:
        report("sampling", *lines)


def durable(server: Loopback, folder: Path) -> list[Line]:
    """50 ms, 50 in flight, 500 prompts x 4."""
    work = Work(prompts=500)
    seconds = _both(server, folder, work, RUNS)
    rates = [work.requests / one for one in seconds["ours"]]
    return [
        _durable_line("durable_vs_raw_http", work, seconds, target=0.65),
        median_line("durable_requests_per_s", rates, "requests/s of 4 samples"),
    ]


def durable_in_rounds(server: Loopback, folder: Path) -> list[Line]:
    """As `durable`, with grading while sampling runs; every group stands after its first round."""
    work = Work(prompts=500, in_rounds=True)
    seconds = _both(server, folder, work, RUNS)
    return [_durable_line("durable_vs_raw_http_in_rounds", work, seconds, target=0.9)]


def judged(server: Loopback, folder: Path) -> list[Line]:
    """As `durable_in_rounds`, graded by a judge on the same server: four requests a prompt more."""
    server.set(replace(LATENCY, script=(VERDICT,)))
    work = Work(prompts=200, in_rounds=True, judged=True)
    seconds = _both(server, folder, work, RUNS)
    asked = [work.requests * (1 + work.judgements) / one for one in seconds["ours"]]
    return [
        _durable_line("judged_vs_raw_http", work, seconds, target=None),
        median_line("judged_requests_per_s", asked, "requests/s of teacher and judge"),
    ]


def _durable_line(
    name: str, work: Work, seconds: dict[str, list[float]], *, target: float | None
) -> Line:
    requests = work.requests * (1 + work.judgements)
    return ratio_line(
        name,
        seconds["bare"],
        seconds["ours"],
        unit="ratio of requests/s",
        target=target,
        baseline=f"bare aiohttp, {requests / median(seconds['bare']):.0f} requests/s",
    )


def high_latency(server: Loopback, folder: Path) -> list[Line]:
    """2 s, 512 in flight, 2,000 requests."""
    work = Work(prompts=2_000, in_flight=512)
    return [_high_latency_line("high_latency_vs_raw_http", server, folder, work, target=1.05)]


def high_latency_in_rounds(server: Loopback, folder: Path) -> list[Line]:
    """As `high_latency`, with grading while sampling runs."""
    name = "high_latency_vs_raw_http_in_rounds"
    work = Work(prompts=2_000, in_flight=512, in_rounds=True)
    return [_high_latency_line(name, server, folder, work, target=1.03)]


def _high_latency_line(
    name: str, server: Loopback, folder: Path, work: Work, *, target: float
) -> Line:
    server.set(Behaviour(latency_s=2.0))
    seconds = _both(server, folder, work, RUNS)
    return ratio_line(
        name,
        seconds["ours"],
        seconds["bare"],
        better="lower",
        target=target,
        baseline=f"bare aiohttp, {median(seconds['bare']):.2f} s; ideal 8 s",
    )


def heavy_tail(server: Loopback, folder: Path) -> list[Line]:
    """50 ms, and 2 % of requests take 5 s longer; 50 in flight, 500 prompts x 4."""
    server.set(Behaviour(latency_s=0.05, tail_share=0.02, tail_s=5.0))
    work, runs = Work(prompts=500), 3
    sample = builds(folder, server.url, work, runs)
    ratios = []
    for _ in range(runs):
        server.forget()
        began = time.perf_counter()
        sample()
        took = time.perf_counter() - began
        path = critical_path(server.served(), work.in_flight)
        ratios.append(took / path)
    return [
        median_line(
            "heavy_tail_vs_critical_path",
            ratios,
            "ratio of seconds",
            better="lower",
            digits=3,
            target=1.05,
            baseline=f"list schedule of the server's service times, {path:.2f} s",
        )
    ]


def critical_path(served: Sequence[Served], workers: int) -> float:
    """Seconds of the list schedule: each request, in order, on the worker that is free first."""
    free = [0.0] * workers
    for one in served:
        if one.ended is not None:
            heapq.heappush(free, heapq.heappop(free) + one.ended - one.arrived)
    return max(free)


def outage(server: Loopback, folder: Path) -> list[Line]:
    """2,000 prompts x 4; one second into the second run the server says 503 for a minute."""
    work = Work(prompts=2_000)
    sample = builds(folder, server.url, work, 2)
    dark = Behaviour(latency_s=0.05, outage_s=60.0)
    took, lost = [], 0
    for behaviour in (LATENCY, dark):
        timer = threading.Timer(1.0, server.set, (behaviour,))
        timer.start()
        began = time.perf_counter()
        lost = work.prompts * work.samples - sample()
        took.append(time.perf_counter() - began)
        timer.join()
    return [
        Line(
            name="outage_lost",
            value=lost,
            unit=f"samples of {work.prompts * work.samples}",
            better="lower",
            target=0,
            n=1,
        ),
        Line(
            name="outage_added_s",
            value=round(took[1] - took[0], 1),
            unit="seconds",
            better="lower",
            target=70,
            baseline=f"the same run without the outage, {took[0]:.1f} s",
            n=1,
        ),
    ]


def memory(server: Loopback, folder: Path) -> list[Line]:
    """20,000 prompts x 4 of 4 kB, and 5,000: the process's peak less what its imports take."""
    server.set(Behaviour(latency_s=0.05, text_bytes=4_000))
    above = []
    for prompts in (20_000, 5_000):
        said = peers.ours(server, Work(prompts=prompts, slot_tokens=4_096)).said
        peak, imported = said["peak_mb"], said["import_mb"]
        above.append(None if peak is None or imported is None else peak - imported)
    large, small = above
    reason = "memory is read from /proc, which is not here" if large is None else None
    return [
        Line(
            name="peak_rss_above_import_mb",
            value=large and round(large),
            unit="MB",
            better="lower",
            target=150,
            n=1,
            reason=reason,
        ),
        Line(
            name="peak_rss_20k_vs_5k",
            value=round(large / small, 2) if large and small else None,
            unit="ratio of MB above import",
            better="lower",
            target=1.1,
            baseline=f"5,000 prompts, {small:.0f} MB" if small else None,
            n=1,
            reason=reason,
        ),
    ]


def distilabel(server: Loopback, folder: Path) -> list[Line]:
    """500 prompts x 4 with n = 4, as many in flight as distilabel sends: all 500."""
    work = Work(prompts=500, in_flight=500)
    return compare(server, work, "distilabel")


def curator(server: Loopback, folder: Path) -> list[Line]:
    """2,000 requests for one sample each: curator keeps one choice of an answer."""
    work = Work(prompts=500, in_flight=200, grouped=False)
    return compare(server, work, "curator")


def _both(server: Loopback, folder: Path, work: Work, runs: int) -> dict[str, list[float]]:
    """Seconds of the bare loop and of ours, in turn; a first turn only loads what they import."""
    ways: dict[str, Callable[[], object]] = {
        "bare": lambda: bare(server.url, work),
        "ours": builds(folder, server.url, work, runs + 1),
    }
    seconds = interleaved(ways, runs + 1)
    return {name: found[1:] for name, found in seconds.items()}


LINES: dict[str, Callable[[Loopback, Path], list[Line]]] = {
    "durable_vs_raw_http": durable,
    "durable_requests_per_s": durable,
    "high_latency_vs_raw_http": high_latency,
    "durable_vs_raw_http_in_rounds": durable_in_rounds,
    "high_latency_vs_raw_http_in_rounds": high_latency_in_rounds,
    "judged_vs_raw_http": judged,
    "judged_requests_per_s": judged,
    "heavy_tail_vs_critical_path": heavy_tail,
    "outage_lost": outage,
    "outage_added_s": outage,
    "peak_rss_above_import_mb": memory,
    "peak_rss_20k_vs_5k": memory,
    "vs_distilabel": distilabel,
    "vs_curator": curator,
}


if __name__ == "__main__":
    main()
