"""Everything that is not a model: recorded traces to graded groups to canvases to shards.

`python -m benchmarks.corpus`: the real samples of four models on GSM8K (../shared/data). Groups a
second through the stages of a build, files included, by two processes (as `task_runner: dask` or
`ray` has them) and by two threads; and grading beside math-verify alone on the same pairs, in the
same run.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

from math_verify import parse
from math_verify import verify as verify_answers

from benchmarks.lines import (
    NO_DATA,
    SOLUTIONS,
    absent,
    interleaved,
    median_line,
    ratio_line,
    report,
)
from benchmarks.scale import generate
from curation.context import Job
from curation.graders import Submission
from curation.prompts import prompt_reader
from curation.prompts.decontaminate import build_index
from curation.stages import prompt_stage, release_stage, shard_stages, trace_stage
from curation.stages.prompt_stage import SourceIndex
from schemas.recipe import Recipe, load_recipe
from schemas.records import FinishReason, Prompt, Trace
from scorers.answers.grade import GradePool
from support.paths import ROOT

GROUPS, RUNS = 600, 5
CORPUS_ROWS, SHARD_ROWS, WORKERS = 6_000, 250, 2


def main() -> None:
    """Measure and print."""
    names = ("groups_per_s", "threads_groups_per_s", "released_rows_per_s")
    last = "grading_vs_math_verify"
    if not SOLUTIONS.is_file():
        report("corpus", *absent((*names, last), NO_DATA))
        return
    units = (
        "groups/s: traces, graded, canvases, each as files; two processes",
        "groups/s: the same; two threads",
        "rows/s: filters, release, card",
    )
    rates = [_rates(SOLUTIONS) for _ in range(RUNS)]
    seconds = _grading(SOLUTIONS)
    report(
        "corpus",
        *(
            median_line(name, some, unit, target=target)
            for name, unit, target, some in zip(
                names, units, (2500.0, None, None), zip(*rates, strict=True), strict=True
            )
        ),
        ratio_line(
            last,
            seconds["math_verify"],
            seconds["ours"],
            target=1.0,
            baseline="math-verify in process on the same pairs",
        ),
    )


def _rates(path: Path) -> tuple[float, float, float]:
    """Groups a second by processes and by threads; rows a second of the release."""
    rates = []
    context = get_context("spawn")  # as a cluster's workers are
    makers: tuple[Callable[[], Executor], ...] = (
        lambda: ProcessPoolExecutor(WORKERS, context),
        lambda: ThreadPoolExecutor(WORKERS),
    )
    for maker in makers:
        with tempfile.TemporaryDirectory() as folder, _job(Path(folder), path) as job:
            source_index = prompt_stage.read_prompts(job)
            release_stage.write_recipe(job)
            facts = job.recipe.model_dump_json(), str(job.run)
            with maker() as pool:
                list(pool.map(_warm, *zip(*[facts] * WORKERS, strict=True)))
                began = time.perf_counter()
                list(
                    pool.map(
                        _work,
                        *zip(*[facts] * source_index.shards, strict=True),
                        _indices(source_index),
                    )
                )
                rates.append(CORPUS_ROWS / (time.perf_counter() - began))
            for index in _indices(source_index):
                shard_stages.score(job, index)
            began = time.perf_counter()
            outcome = release_stage.make_release(job, source_index)
            released = CORPUS_ROWS / (time.perf_counter() - began)
            assert outcome.canvases > CORPUS_ROWS / 2, outcome
    return rates[0], rates[1], released


def _indices(source_index: SourceIndex) -> range:
    return range(source_index.shards)


@lru_cache(maxsize=1)
def _of(recipe: str, run: str) -> Job:
    """This process's own job, as in a worker of a build."""
    return Job(recipe=Recipe.model_validate_json(recipe), run=Path(run), limit=None)


def _warm(recipe: str, run: str) -> None:
    """The verifier is at work, and every worker has come."""
    prompt = Prompt(id="", text="", gold="(x - 1)(x + 1)", source="", row=1, license="")
    # A question that no plain rule decides: SymPy's imports take a second.
    unknown = dict.fromkeys(field.name for field in fields(Trace))
    given = {"index": 0, "key": "", "prompt_id": "", "teacher": "", "revision": ""}
    text = r"The answer is \boxed{x^2 - 1}"
    stop = FinishReason.STOP
    trace = Trace(**{**unknown, **given, "text": text, "finish_reason": stop})  # type: ignore[arg-type]
    _of(recipe, run).grader.grade([Submission(prompt, trace)])
    time.sleep(1)


def _work(recipe: str, run: str, index: int) -> None:
    trace_stage.take_recorded(_of(recipe, run), index)
    shard_stages.grade(_of(recipe, run), index)
    shard_stages.assemble(_of(recipe, run), index)


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
    recipe = load_recipe(ROOT / "flows/recipes/gsm8k_recorded.yaml", overrides)
    job = Job(recipe=recipe, run=folder / "run", limit=None)
    try:
        yield job
    finally:
        job.close()


def _grading(path: Path) -> dict[str, list[float]]:
    """Seconds of math-verify and of ours, on the same pairs."""
    recipe = load_recipe(ROOT / "flows/recipes/gsm8k_recorded.yaml", [f"source.path={path}"])
    job = Job(recipe=recipe, run=ROOT / "runs" / "bench")
    rows = prompt_reader.read_prompts(job.sources, build_index([]), traces=True, limit=GROUPS)
    pairs = [
        (one.text, row.outcome.gold)
        for row in rows
        if isinstance(row.outcome, Prompt)
        for one in row.outcome.recorded
    ]
    with GradePool() as graders:
        return interleaved(
            {
                "ours": lambda: graders.grade(pairs),
                "math_verify": lambda: [
                    verify_answers(parse(f"${gold}$"), parse(text)) for text, gold in pairs
                ],
            },
            RUNS,
        )


if __name__ == "__main__":
    main()
