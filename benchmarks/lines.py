"""The form of a benchmark's output: one JSON object a line, ratios of what was timed in one run.

In: two ways of doing the same work. Out: a line with the median ratio, its spread, the baseline.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SOLUTIONS = SHARED / "gsm8k" / "example_model_solutions.jsonl"
RESULTS = Path(__file__).parent / "results"
NO_DATA = "the real data folder ../shared/data is not here"
NO_GPU = "no GPU on this machine"

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure; `value` is None, with a `reason`, where it could not be measured here."""

    name: str
    value: float | None
    unit: str
    better: Better
    target: float | None = None
    baseline: str | None = None
    n: int = 0
    spread: tuple[float, float] | None = None
    reason: str | None = None


def ratio_line(
    name: str,
    above: Sequence[float],
    below: Sequence[float],
    *,
    baseline: str | None,
    unit: str = "ratio of seconds",
    better: Better = "higher",
    target: float | None = None,
    reason: str | None = None,
) -> Line:
    """`above` over `below`, pair by pair; no value where there are none."""
    value, spread = ratio(above, below) if below else (None, None)
    return Line(
        name=name,
        value=value,
        unit=unit,
        better=better,
        target=target,
        baseline=baseline,
        n=len(below),
        spread=spread,
        reason=reason,
    )


def median_line(
    name: str,
    found: Sequence[float],
    unit: str,
    *,
    better: Better = "higher",
    digits: int | None = None,
    target: float | None = None,
    baseline: str | None = None,
    reason: str | None = None,
) -> Line:
    """The median and range of what was found; no value, but `reason`, where nothing was."""
    return Line(
        name=name,
        value=round(statistics.median(found), digits) if found else None,
        unit=unit,
        better=better,
        target=target,
        baseline=baseline,
        n=len(found),
        spread=(round(min(found), digits), round(max(found), digits)) if found else None,
        reason=None if found else reason,
    )


def absent(names: Sequence[str], reason: str, *, lower: Collection[str] = ()) -> Iterator[Line]:
    """Lines without a value; those of `lower` are better when they are low."""
    for name in names:
        better: Better = "lower" if name in lower else "higher"
        yield Line(name=name, value=None, unit="", better=better, reason=reason)


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


def ratio(slow: Sequence[float], fast: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Median and range of slow/fast, pair by pair."""
    ratios = sorted(s / f for s, f in zip(slow, fast, strict=True))
    return round(statistics.median(ratios), 2), (round(ratios[0], 2), round(ratios[-1], 2))
