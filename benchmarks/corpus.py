"""Everything that is not a model: recorded traces to graded groups to canvases to shards.

`python -m benchmarks.corpus`: the real samples of four models on GSM8K (../shared/data). Groups a
second through the stages of a build, files included, two shards at a time; and grading beside
math-verify alone on the same pairs, in the same run.
"""

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from math_verify import parse
from math_verify import verify as verify_answers

from benchmarks.lines import SHARED, Line, interleaved, ratio, report
from benchmarks.scale import generate
from curation import finish, prompts, reading, stages, trace_stage
from curation.decontaminate import build_index
from curation.job import Job
from curation.teachers._part import take
from schemas.paths import ROOT
from schemas.recipe import load
from schemas.records import Prompt
from scorers.answer import GradePool

GROUPS, RUNS = 600, 3
CORPUS_ROWS, SHARD_ROWS, WORKERS = 6_000, 500, 2


def main() -> None:
    """Measure and print."""
    path = SHARED / "gsm8k" / "example_model_solutions.jsonl"
    names = ("groups_per_s", "released_groups_per_s", "grading_vs_math_verify")
    if not path.is_file():
        reason = "the real data folder ../shared/data is not here"
        empty = (Line(name=n, value=None, unit="", better="higher", reason=reason) for n in names)
        report("corpus", *empty)
        return
    rates = [_rates(path) for _ in range(RUNS)]
    value, spread = _grading(path)
    lines = [
        Line(
            name=name,
            value=round(max(some)),
            unit=unit,
            better="higher",
            target=target,
            n=RUNS,
            spread=(round(min(some)), round(max(some))),
        )
        for name, unit, target, some in zip(
            names[:2],
            ("groups/s: traces, graded, canvases, each as files", "groups/s: and the release"),
            (1500.0, None),
            zip(*rates, strict=True),
            strict=True,
        )
    ]
    report(
        "corpus",
        *lines,
        Line(
            name=names[2],
            value=value,
            unit="ratio of seconds",
            better="higher",
            target=1.0,
            baseline="math-verify in process on the same pairs",
            n=RUNS,
            spread=spread,
        ),
    )


def _rates(path: Path) -> tuple[float, float]:
    """Groups a second from recorded traces to shards of canvases, and to the release."""
    with tempfile.TemporaryDirectory() as folder, _job(Path(folder), path) as job:
        census = reading.read_prompts(job)
        finish.write_recipe(job)

        def work(index: int) -> None:
            stages.grade(job, index)
            stages.assemble(job, index)

        job.graders.grade([("The answer is \\boxed{\\frac12}", "0.5")])  # the verifier is at work
        began = time.perf_counter()
        trace_stage.sample_traces(job, census)
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(work, range(census.shards)))
        joined = time.perf_counter()
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda index: stages.score(job, index), range(census.shards)))
        outcome = finish.make(job, census)
        ended = time.perf_counter()
        assert outcome.canvases > CORPUS_ROWS / 2, outcome
    return CORPUS_ROWS / (joined - began), CORPUS_ROWS / (ended - began)


@contextmanager
def _job(folder: Path, path: Path) -> Iterator[Job]:
    """A build of many rows with the real samples."""
    generate(path, folder / "rows.jsonl", CORPUS_ROWS)
    overrides = (
        f"source.path={folder / 'rows.jsonl'}",
        "source.traces.correct=null",
        f"shard_rows={SHARD_ROWS}",
        "scorer=null",
    )
    recipe = load(ROOT / "flows/recipes/gsm8k_recorded.yaml", overrides)
    job = Job(recipe=recipe, run=folder / "run", limit=None)
    try:
        yield job
    finally:
        job.close()


def _grading(path: Path) -> tuple[float, tuple[float, float]]:
    """Seconds of math-verify over ours, on the same pairs."""
    recipe = load(ROOT / "flows/recipes/gsm8k_recorded.yaml", [f"source.path={path}"])
    job = Job(recipe=recipe, run=ROOT / "runs" / "bench")
    rows = prompts.read_prompts(job.sources, build_index([]), traces=True, limit=GROUPS)
    pairs = [
        (take(one.text, "full"), row.gold)
        for row in rows
        if isinstance(row, Prompt)
        for one in row.recorded
    ]
    with GradePool() as graders:
        seconds = interleaved(
            {
                "ours": lambda: graders.grade(pairs),
                "math_verify": lambda: [
                    verify_answers(parse(f"${gold}$"), parse(text)) for text, gold in pairs
                ],
            },
            RUNS,
        )
    return ratio(seconds["math_verify"], seconds["ours"])


if __name__ == "__main__":
    main()
