"""Builds that tests share: all stages in this process, without Prefect, and what they leave."""

import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
from filelock import FileLock

from curation.context import Job
from curation.stages import read_prompts, release, sample_traces, shard_stages, write_summaries
from schemas.outcome import Outcome
from schemas.recipe import load
from support.files import sha256
from support.paths import ROOT

RECIPES = ROOT / "flows" / "recipes"


def make(run: Path, recipe: str = "demo", *overrides: str, limit: int | None = None) -> Outcome:
    """All stages in this process, without Prefect."""
    job = Job(recipe=load(RECIPES / f"{recipe}.yaml", overrides), run=run, limit=limit)
    try:
        release.check_former(job)
        census = read_prompts.read_prompts(job)
        release.write_recipe(job)
        sample_traces.sample_traces(job, census)
        for index in range(census.shards):
            shard_stages.grade(job, index)
            shard_stages.assemble(job, index)
        write_summaries.write_summaries(job, census)
        for index in range(census.shards):
            shard_stages.score(job, index)
        return release.make(job, census)
    finally:
        job.close()


def contents(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rejected(run: Path) -> Counter[tuple[str, str]]:
    """(kind, reason) of every rejection on disk."""
    found: Counter[tuple[str, str]] = Counter()
    for path in (run / "rejected").glob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            found["prompt" if row["index"] is None else "trace", row["reason"]] += 1
    return found


class BuiltRuns:
    """Finished builds in a folder that all test processes of a session share.

    The first test that asks for a build makes it; the others wait for it and read the same files.
    Nobody writes to them: a test that changes a run changes a copy.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, recipe: str, *overrides: str, limit: int | None = None) -> Path:
        """The run directory of a build, made if nobody has made it yet."""
        name = "-".join((recipe, *overrides, str(limit))).replace("/", "_").replace(" ", "")
        run = self._folder / name
        with FileLock(self._folder / f"{name}.lock"):
            if not (run / "manifest.json").exists():
                make(run, recipe, *overrides, limit=limit)
        return run

    def copy(self, to: Path, recipe: str, *overrides: str, limit: int | None = None) -> Path:
        """A copy of a build, with the files' times kept."""
        return Path(shutil.copytree(self.path(recipe, *overrides, limit=limit), to))
