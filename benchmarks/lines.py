"""The form of a benchmark's output: one JSON object a line, ratios of what was timed in one run.

In: two ways of doing the same work. Out: a line with the median ratio, its spread, the baseline.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure; `value` is None, with a `reason`, where it could not be measured here."""

    name: str
    value: float | None
    unit: str
    better: Literal["higher", "lower"]
    target: float | None = None
    baseline: str | None = None
    n: int = 0
    spread: tuple[float, float] | None = None
    reason: str | None = None


def report(subject: str, *lines: Line) -> None:
    """Print the lines and keep them in `results/<subject>.jsonl` with the machine's description."""
    text = "".join(json.dumps(asdict(line)) + "\n" for line in lines)
    print(text, end="", flush=True)
    machine = {
        "machine": f"{os.cpu_count()} cores of {_processor()}, Python {platform.python_version()}",
        "load": [round(load, 1) for load in os.getloadavg()],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{subject}.jsonl").write_text(json.dumps(machine) + "\n" + text)


def _processor() -> str:
    """The processor's own name, where the system tells it; else its architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({platform.machine()})" if names else platform.machine()


def interleaved(ways: dict[str, Callable[[], object]], runs: int) -> dict[str, list[float]]:
    """Wall-clock seconds of every way, `runs` times in turn, so that noise meets all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, work in ways.items():
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> tuple[float, tuple[float, float]]:
    """Median and range of slow/fast, pair by pair."""
    ratios = sorted(s / f for s, f in zip(slow, fast, strict=True))
    return round(statistics.median(ratios), 2), (round(ratios[0], 2), round(ratios[-1], 2))
