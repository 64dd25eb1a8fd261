"""Builds that tests share, made in this process without Prefect, and what they leave."""

import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
from filelock import FileLock

from curation.context import Job
from curation.pipeline import run_build
from curation.stages import prompt_stage, trace_stage
from schemas.outcome import Outcome
from schemas.recipe import Recipe, load_recipe
from support.files import sha256
from support.paths import ROOT

RECIPES = ROOT / "flows" / "recipes"


def make(run: Path, recipe: str = "demo", *overrides: str, limit: int | None = None) -> Outcome:
    """A build in this process, without Prefect."""
    return run_build(load_recipe(RECIPES / f"{recipe}.yaml", overrides), run, limit)


def sample(recipe: Recipe, run: Path) -> None:
    """The first two stages of a build: prompts are read, and traces sampled."""
    job = Job(recipe=recipe, run=run)
    trace_stage.sample_traces(job, prompt_stage.read_prompts(job))


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
