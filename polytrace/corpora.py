"""Corpora from Python: a recipe, a build of it, and what its run directory holds."""

import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from support.errors import NothingReleasedError, UserError

if TYPE_CHECKING:
    import polars
    import pyarrow
    from datasets import DatasetDict

    from schemas.recipe import Recipe
    from schemas.records import Canvas, Scores

Split = Literal["train", "validation"]


def load_recipe(recipe: str | Path, *overrides: str) -> "Recipe":
    """The recipe of a corpus.

    Args:
        recipe: A YAML file, or the name of a bundled recipe (`demo`, `own`, …).
        overrides: `key.sub=value`, as behind `--set` on the command line.

    Raises UserError for an unknown recipe, an unknown key or a value out of range.

    >>> recipe = load_recipe("demo", "groups.min_correct=2")
    >>> recipe.paths, recipe.groups.min_correct
    (3, 2)
    """
    from flows.recipe_files import RECIPES, find_recipe
    from schemas.recipe import load_recipe

    return load_recipe(find_recipe(str(recipe), RECIPES), overrides)


def build(
    recipe: "Recipe | str | Path",
    *overrides: str,
    out: str | Path | None = None,
    limit: int | None = None,
) -> "Run":
    """Build a corpus in this process, without Prefect; the same directory as `polytrace build`.

    The same call goes on where it stopped, and does nothing where nothing changed. Progress goes to
    standard error.

    Args:
        recipe: A recipe, a YAML file, or the name of a bundled recipe.
        overrides: `key.sub=value`, where `recipe` is a file or a name.
        out: The run directory (default: `runs/` and the recipe's name).
        limit: Read at most this many rows of the sources.

    Raises UserError for a mistake in the recipe, ShortError where samples lack (the same call goes
    on), NothingReleasedError where every prompt was rejected; all are PolytraceErrors.

    >>> run = build("demo", out="runs/demo", limit=24)
    >>> run.manifest.prompts.in_
    24
    """
    from curation.inspect.few_correct import nothing_released
    from curation.pipeline import run_build
    from flows import page

    if isinstance(recipe, str | Path):
        recipe = load_recipe(recipe, *overrides)
    elif overrides:
        raise UserError(f"{overrides[0]}: give overrides to load_recipe, which made the recipe")
    if recipe.handoff is not None or recipe.task_runner != "threads":
        raise UserError(
            "handoff, task_runner: only the command polytrace build starts an experiment or a "
            "cluster; load the recipe with handoff=null and task_runner=threads"
        )
    run = Path("runs") / recipe.name if out is None else Path(out)
    outcome = run_build(recipe, run, limit)
    if not page.is_fresh(run):
        page.write_report(run / page.REPORT, run)
    if not outcome.canvases:
        raise NothingReleasedError(nothing_released(run))
    return Run(run)


class Run:
    """A finished run of `build`, read from its directory; nothing here writes to it.

    Tables are whole, as polars DataFrames; `dataset` maps the files in place of loading them.

    Attributes:
        path: The run directory.
        manifest: All counts and facts of the run; every file with its sha256.

    Raises UserError where `path` is no finished run, DamagedError where a file was changed.

    >>> run = Run("runs/demo")
    >>> run.manifest.canvases == len(run.canvases())
    True
    """

    def __init__(self, path: str | Path) -> None:
        from schemas.manifest import MANIFEST_FILE, Manifest

        self.path = Path(path)
        self.manifest = Manifest.load(self.path / MANIFEST_FILE)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}): {self.manifest.canvases} canvases"

    @cached_property
    def recipe(self) -> "Recipe":
        """The recipe of the run, every default written out."""
        from schemas.manifest import RECIPE_FILE
        from schemas.recipe import load_recipe

        return load_recipe(self.path / RECIPE_FILE)

    @cached_property
    def stats(self) -> dict[str, Any]:
        """Distributions of lengths, similarities and SeqDep: `release/stats.json`."""
        import json

        from schemas.manifest import RELEASE_FOLDER

        stats: dict[str, Any] = json.loads((self.path / RELEASE_FOLDER / "stats.json").read_bytes())
        return stats

    def canvases(self, split: Split | None = None) -> "polars.DataFrame":
        """The released rows (of one split), a canvas each; columns as in docs/release.md.

        >>> row = Run("runs/demo").canvases("train").row(0, named=True)
        >>> len(row["paths"]), row["seqdep_step_nats_per_token"] > 0
        (3, True)
        """
        from curation.release.reader import ReleaseReader
        from curation.release.rows import readable
        from schemas.arrow import RELEASE

        if split not in ("train", "validation", None):
            raise UserError(f"split: {split!r} is none; take 'train' or 'validation'")
        tables = []
        for file in ReleaseReader(self.path).files:
            if split is None or file.name.startswith(f"{split}-"):
                with readable(file) as opened:
                    tables.append(opened.read())
        return _frame(tables or [RELEASE.empty_table()])

    def dataset(self) -> "DatasetDict":
        """The release as `datasets` loads it, by split; its cache is that of `datasets`.

        >>> run = Run("runs/demo")
        >>> run.dataset()["train"].num_rows == len(run.canvases("train"))
        True
        """
        from datasets import DatasetDict, load_dataset

        from schemas.manifest import RELEASE_FOLDER

        found = load_dataset(str(self.path / RELEASE_FOLDER))
        assert isinstance(found, DatasetDict)
        return found

    def prompts(self) -> "polars.DataFrame":
        """Every prompt that was kept on reading: id, text, gold, source, row, recorded traces."""
        return _frame(self._tables("prompts"))

    def traces(self) -> "polars.DataFrame":
        """Every trace as the teacher wrote it, with everything that shaped it."""
        return _frame(self._tables("traces"))

    def graded(self) -> "polars.DataFrame":
        """Every usable trace with its grade, its answer, and its text up to the answer's end.

        >>> sorted(set(Run("runs/demo").graded()["grade"]) - {"unparsed"})
        ['correct', 'wrong']
        """
        return _frame(self._tables("graded"))

    def scored(self) -> "Iterator[tuple[Canvas, Scores]]":
        """What filters are shown: every canvas with its scores, before any filter, in order.

        >>> canvas, scores = next(Run("runs/demo").scored())
        >>> len(canvas.paths), scores.prompt_id == canvas.prompt.id
        (3, True)
        """
        from curation.stages.fingerprints import canvas_stage
        from schemas.arrow import records
        from schemas.records import Canvas, Scores

        stages = self._tables(canvas_stage(self.recipe)), self._tables("scored")
        for canvases, scores in zip(*stages, strict=True):
            yield from zip(records(Canvas, canvases), records(Scores, scores), strict=True)

    def rejections(self, reason: str | None = None) -> "polars.DataFrame":
        """What was dropped, for one reason or all: stage, reason, detail, prompt, gold, and text.

        `index` is null where a whole prompt was dropped. UserError for a reason that nothing was
        dropped for; it lists those of the run.

        >>> dropped = Run("runs/demo").rejections()
        >>> {"reason", "detail", "prompt", "text"} <= set(dropped.columns)
        True
        """
        import pyarrow as pa

        from curation.inspect.query import Query
        from curation.inspect.rejections import find_rejections, reasons
        from curation.release.reader import ReleaseReader
        from schemas.arrow import schema_of
        from schemas.records import Rejection

        corpus = ReleaseReader(self.path)
        rows: list[dict[str, object]] = []
        for one in [reason] if reason is not None else reasons(self.manifest):
            dropped, _ = find_rejections(corpus, Query(reason=one, limit=sys.maxsize))
            rows += [found.fields() for found in dropped]
        texts = [pa.field(name, pa.string()) for name in ("prompt", "gold", "text")]
        schema = pa.schema([*schema_of(Rejection), *texts])
        return _frame([pa.Table.from_pylist(rows, schema=schema)])

    def verify(self) -> list[str]:
        """Check every file, sum and canvas again; one line a problem, none where it is sound.

        >>> Run("runs/demo").verify()
        []
        """
        from curation.release.verify import find_problems

        return find_problems(self.path)

    def _tables(self, stage: str) -> "Iterator[pyarrow.Table]":
        """The rows of a stage, shard by shard."""
        from curation.run_store.shards import read

        for one in self.manifest.shards:
            if one.stage == stage and not one.is_rejections:
                yield read(self.path, one.stage, one.index)


def _frame(tables: "Iterable[pyarrow.Table]") -> "polars.DataFrame":
    import polars as pl
    import pyarrow as pa

    frame = pl.from_arrow(pa.concat_tables(tables))
    assert isinstance(frame, pl.DataFrame)
    return frame
