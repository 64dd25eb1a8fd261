"""Cost and memory of a build by the number of rows: 10,000, 100,000 and a million.

`python -m benchmarks.scale [ROWS …]`: the real samples of four models on GSM8K (../shared/data),
under problems of shuffled words, so that every row is another one. One command a size builds them
with everything that is no model: read, kept apart from the test problems of GSM8K and MATH-500,
checked for duplicates, graded, assembled, tokenised, filtered, released, put on a card and a page.
A watcher reads the command's resident memory, stage by stage.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from benchmarks.lines import NO_DATA, SHARED, SOLUTIONS, Line, absent, report
from benchmarks.memory import forget_peak, peak_mb
from schemas.manifest import RELEASE_FOLDER
from schemas.records import Stage
from support.paths import ROOT

SIZES = (10_000, 100_000, 1_000_000)
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
SHARD_ROWS = 1000
WATCH_SECONDS = 0.2
LIMIT_MB = 2048.0


@dataclass(slots=True)
class Cost:
    """What a build took: wall seconds and peak MB by phase, CPU seconds and bytes in all."""

    rows: int
    seconds: dict[str, float] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    run_bytes: int = 0
    release_bytes: int = 0


def main() -> None:
    """Build every size, smallest first, and print the ratios."""
    names = ("rss_1m_vs_10k", "cost_1m_vs_100k", "peak_mb_1m", "rows_per_s")
    if not SOLUTIONS.is_file():
        report("scale", *absent(names, NO_DATA, lower=names))
        return
    few, some, many = (int(size) for size in sys.argv[1:]) if sys.argv[1:] else SIZES
    with tempfile.TemporaryDirectory() as folder:
        costs = {rows: build(Path(folder), SOLUTIONS, rows) for rows in (few, some, many)}
    small, middle, large = costs[few], costs[some], costs[many]
    report(
        "scale",
        Line(
            name=names[0],
            value=round(max(large.peak.values()) / max(small.peak.values()), 2),
            unit=f"peak resident MB of {many:,} rows over {few:,}",
            better="lower",
            target=1.3,
            n=1,
        ),
        Line(
            name=names[1],
            value=round((large.cpu_seconds / many) / (middle.cpu_seconds / some), 2),
            unit=f"CPU seconds a row, {many:,} rows over {some:,}",
            better="lower",
            target=1.15,
            n=1,
        ),
        Line(
            name=names[2],
            value=round(max(large.peak.values())),
            unit="MB",
            better="lower",
            target=LIMIT_MB,
            n=1,
        ),
        Line(
            name=names[3],
            value=round(many / sum(large.seconds.values())),
            unit="rows/s, the whole command",
            better="higher",
            n=1,
        ),
        Line(
            name="run_kb_a_row",
            value=round(large.run_bytes / many / 1000, 2),
            unit="kB of the run directory",
            better="lower",
            n=1,
        ),
        Line(
            name="release_kb_a_row",
            value=round(large.release_bytes / many / 1000, 2),
            unit="kB of the release",
            better="lower",
            n=1,
        ),
        *(
            Line(
                name=f"{phase}_{cost.rows}",
                value=round(cost.seconds[phase], 1),
                unit=f"s; at most {cost.peak[phase]:.0f} MB",
                better="lower",
                n=1,
            )
            for cost in costs.values()
            for phase in cost.seconds
        ),
    )


def build(folder: Path, source: Path, rows: int) -> Cost:
    """Make the rows, build them, and watch."""
    data, run = folder / f"{rows}.jsonl", folder / f"run-{rows}"
    generate(source, data, rows)
    recipe = folder / f"{rows}.yaml"
    recipe.write_text(yaml.safe_dump(_recipe(data)))
    cost = Cost(rows)
    command = [sys.executable, "-m", "flows.cli", "build", str(recipe), "--out", str(run), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(folder / "prefect")}
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=said, cwd=folder
        )
        watch(process, run, cost)
        assert process.stdout is not None
        text = process.stdout.read()
    assert process.returncode == 0, (folder / "said").read_text()[-2000:]
    prompts = json.loads(text)["prompts"]
    assert prompts["in"] == rows == prompts["released"] + prompts["rejected"], prompts
    assert prompts["released"] > rows / 2, prompts
    data.unlink()
    cost.run_bytes, cost.release_bytes = _bytes(run), _bytes(run / RELEASE_FOLDER)
    return cost


def watch(process: subprocess.Popen[bytes], run: Path, cost: Cost) -> None:
    """Until it ends: which phase it is in, how long, and its peak there."""
    done = _phases(run)
    last = time.monotonic()
    while process.poll() is None:
        phase = next((name for name, is_over in done if not is_over()), RELEASE_FOLDER)
        peak = peak_mb(process.pid)
        forget_peak(process.pid)
        cost.peak[phase] = max(cost.peak.get(phase, 0.0), peak)
        cost.cpu_seconds = max(cost.cpu_seconds, _cpu_seconds(process.pid))
        time.sleep(WATCH_SECONDS)
        now = time.monotonic()
        cost.seconds[phase] = cost.seconds.get(phase, 0.0) + now - last
        last = now


def _bytes(folder: Path) -> int:
    """Of all files, one that has two names once."""
    found = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum({status.st_ino: status.st_size for status in found}.values())


def _phases(run: Path) -> tuple[tuple[str, Callable[[], bool]], ...]:
    """Each phase of a build, and whether it is over."""

    def begun(stage: Stage) -> bool:
        return next((run / stage).glob("*.parquet"), None) is not None

    return (
        ("start", lambda: run.exists()),
        (Stage.PROMPTS, lambda: (run / Stage.PROMPTS / "census.json").exists()),
        (Stage.TRACES, lambda: begun(Stage.GRADED)),
        ("shards", lambda: (run / "release.new").exists() or (run / RELEASE_FOLDER).exists()),
    )


def _cpu_seconds(pid: int) -> float:
    """Of a process and all that descend from it, those that ended included."""
    import psutil  # type: ignore[import-untyped]

    total = 0.0
    try:
        root = psutil.Process(pid)
        for one in (root, *root.children(recursive=True)):
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    except psutil.NoSuchProcess:
        pass
    return total


def generate(source: Path, path: Path, rows: int) -> None:
    """`rows` problems of shuffled words, each with the four real samples of one real problem."""
    known = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    chance = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            row = known[number % len(known)]
            words = row["question"].split()
            chance.shuffle(words)
            changed = {"question": " ".join([*words, f"#{number}"])}
            kept = {name: {"solution": row[name]["solution"]} for name in MODELS}
            file.write(json.dumps({**changed, "ground_truth": row["ground_truth"], **kept}) + "\n")


def _recipe(data: Path) -> dict[str, object]:
    evaluation = (
        {"kind": "gsm8k", "path": str(SHARED / "gsm8k/test.jsonl")},
        {"kind": "jsonl", "path": str(SHARED / "math500/test.jsonl"), "label": "math500"},
    )
    return {
        "name": "scale",
        "paths": 3,
        "shard_rows": SHARD_ROWS,
        "source": {
            "kind": "gsm8k",
            "path": str(data),
            "traces": {"columns": {name: f"{name}.solution" for name in MODELS}},
        },
        "decontaminate": list(evaluation),
        "teacher": {"kind": "recorded"},
        "groups": {"min_correct": 1},
        "canvas": {
            "slot_tokens": 330,
            "summary_tokens": 32,
            "tokenizer": str(ROOT / "tiny/teacher"),
        },
        "scorer": None,
        "filters": [  # each reads all; `count` holds a hash a canvas, and has a pass of its own
            {"kind": "correctness", "min_correct": 1},
            {"kind": "length", "min_path": 4},
            {"kind": "diversity", "max_similarity": 0.9},
            {"kind": "count", "most": 10**7},
        ],
    }


if __name__ == "__main__":
    main()
