"""One build: the recipe, the run directory and the parts that the recipe names, made when needed.

Stages take a `Job`. It is made again in every process from three plain values (recipe JSON, run
directory, limit), so that a stage can run anywhere.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from curation.filters import Filter
from curation.groups import Rules
from curation.sources import Source
from curation.teachers import Teacher
from curation.tokens import TokenCounter
from schemas import parts
from schemas.errors import UserError
from schemas.recipe import Part, Recipe, locate
from schemas.records import Stage
from scorers.answer import GradePool

if TYPE_CHECKING:  # torch is loaded only by the process that scores
    from scorers.ar import Scorer

UNITS = {
    Stage.PROMPTS: "row",
    Stage.TRACES: "trace",
    Stage.GRADED: "trace",
    Stage.CANVASES: "prompt",
    Stage.SCORED: "canvas",
    Stage.RELEASE: "canvas",
}


@dataclass(frozen=True)
class Job:
    """A recipe that is being built in a directory; `limit` caps the rows that are read."""

    recipe: Recipe
    run: Path
    limit: int | None = None

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """The recipe's prompt sources, in order."""
        specs = self.recipe.source
        names = ["source"] if len(specs) == 1 else [f"source.{i}" for i in range(len(specs))]
        made: tuple[Source, ...] = tuple(
            _part("sources", spec, name) for spec, name in zip(specs, names, strict=True)
        )
        _distinct_labels(made, names)
        return made

    @cached_property
    def evaluation(self) -> tuple[Source, ...]:
        """The evaluation sets that the corpus must not contain."""
        names = [f"decontaminate.{i}" for i in range(len(self.recipe.decontaminate))]
        made: tuple[Source, ...] = tuple(
            _part("sources", spec, name)
            for spec, name in zip(self.recipe.decontaminate, names, strict=True)
        )
        _distinct_labels(made, names)
        return made

    @cached_property
    def teacher(self) -> Teacher:
        """The recipe's teacher; its seed is the recipe's unless it has one of its own."""
        spec = self.recipe.teacher
        if "seed" in parts.options("teachers", spec.kind, "teacher") and "seed" not in spec.options:
            spec = spec.model_copy(update={"seed": self.recipe.seed})
        teacher: Teacher = _part("teachers", spec, "teacher")
        return teacher

    @cached_property
    def counter(self) -> TokenCounter:
        """Token counts under the recipe's tokenizers."""
        return TokenCounter([locate(path) for path in self.recipe.canvas.tokenizer])

    @cached_property
    def rules(self) -> Rules:
        """What makes a group."""
        return Rules.of(self.recipe)

    @cached_property
    def filters(self) -> tuple[Filter, ...]:
        """The recipe's filters, in order; made anew for every release, because they learn."""
        specs = enumerate(self.recipe.filters)
        return tuple(_part("filters", spec, f"filters.{i}") for i, spec in specs)

    @cached_property
    def scorer(self) -> "Scorer | None":
        """The autoregressive scorer, if the recipe has one."""
        from scorers import ar

        spec = self.recipe.scorer
        if spec is None:
            return None
        return ar.load(locate(spec.path), trust_remote_code=spec.trust_remote_code)

    @cached_property
    def bars(self) -> "Bars":
        """Progress of the stages."""
        return Bars()

    @cached_property
    def graders(self) -> GradePool:
        """The verifier's processes; started when the first answer needs them."""
        return GradePool()

    def close(self) -> None:
        """Stop the verifier's processes and the progress bars."""
        self.bars.end(*Stage)
        if "graders" in self.__dict__:
            self.graders.close()

    def check(self) -> None:
        """Make every part once, so that a mistake in the recipe shows before any work."""
        _ = (self.sources, self.evaluation, self.teacher, self.counter, self.rules, self.filters)
        for number, spec in enumerate(self.recipe.filters):
            if spec.kind != "seqdep":
                continue
            if self.recipe.scorer is None:
                raise UserError(
                    f"filters.{number}: seqdep needs a scorer; set scorer.path or take it out"
                )
            if self.recipe.paths == 1 and spec.options.get("level", "path") == "path":
                raise UserError(
                    f"filters.{number}: one path has no SeqDep at path level; set level=step"
                )
        _ = self.scorer


def _distinct_labels(sources: Sequence[Source], names: Sequence[str]) -> None:
    """Counts are kept by label, so two sources must not share one."""
    for number, one in enumerate(sources):
        if one.label in {other.label for other in sources[:number]}:
            raise UserError(
                f"{names[number]}.label: {one.label!r} is the label of another source; "
                f"give each a label of its own"
            )


def _part(family: str, spec: Part, where: str) -> Any:
    options = dict(spec.options)
    if isinstance(options.get("path"), str):
        options["path"] = locate(str(options["path"]))
    return parts.build(family, spec.kind, options, where)


class Bars:
    """One progress bar a stage on standard error, shared by the threads of a build."""

    def __init__(self) -> None:
        self._bars: dict[Stage, tqdm[None]] = {}
        self._lock = Lock()

    def add(self, stage: Stage, done: int = 0, *, more: int = 0, note: str = "") -> None:
        """Move a stage's bar by `done`; `more` lengthens it, `note` stands behind it."""
        with self._lock:
            bar = self._bars[stage] if stage in self._bars else self._open(stage)
            if more:
                bar.total = (bar.total or 0) + more
            if note:
                bar.set_postfix_str(note, refresh=False)
            bar.update(done)

    def end(self, *stages: Stage) -> None:
        """Leave the bars of `stages` on the screen as they are."""
        with self._lock:
            for stage in stages:
                if stage in self._bars:
                    self._bars.pop(stage).close()

    def _open(self, stage: Stage) -> "tqdm[None]":
        """A new bar; without a terminal it writes a line now and then and moves no cursor."""
        shown = sys.stderr.isatty()
        self._bars[stage] = tqdm(
            desc=f"{stage:>9}",
            unit=UNITS[stage],
            mininterval=0.1 if shown else 15.0,
            file=sys.stderr,
            position=None if shown else 0,
        )
        return self._bars[stage]
