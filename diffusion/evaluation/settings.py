"""The settings of an evaluation, as frozen dataclasses like those of `diffusion/settings.py`.

A cell is one system decoded with one number of steps; a system is a model with a rule and a form.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from diffusion.data.layout import Form
from diffusion.data.path_hints import check_hints
from diffusion.decoding import Rule
from diffusion.decoding.kv_cache import CacheSettings
from diffusion.decoding.sampling import LATER, Fill, Sampling, SamplingFields
from diffusion.settings import STRICT, ModelReference, Precision, check_name, digest_of
from support import plugins
from support.errors import UserError

Part = Mapping[str, str | int | float | bool | None]  # `kind`, and the options of that kind

RULES, BENCHMARKS = "diffusion.decoding.rules", "diffusion.evaluation.benchmarks"
MOST_ROWS = 64  # decoded together
AUTO = "auto"  # as many rows as fit into the memory


class Training(StrEnum):
    """What a base model was tuned on."""

    BASE = "base"  # nothing
    LONG_COT = "long_cot"
    NAP = "nap"  # canvases


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A row of the tables: a model, how it decodes, and in which form.

    `form: canvas` decodes `paths` slots and a summary, of which the summary is scored; `long_cot`
    one slot of as many masks, scored by the last answer before its first fill or end of turn.
    `path_hints`: beginnings of paths, of which the header of every path shows another one. `steps`
    and `fill` where they are not the evaluation's; `cache` decodes faster, and not exactly. For the
    tables: `base` names the base model (default: the model's folder), `training` what it was tuned
    on, and `tuned_paths` on how many paths, where not on as many as are decoded. `training_seed`:
    the seed of its training, if others of its kind have other seeds. `variant` names what was
    different in its training, such as "shuffled paths".
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    name: str
    model: ModelReference
    rule: dict[str, str | int | float | bool | None]
    form: Form = Form.CANVAS
    paths: int = 3
    path_hints: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()
    fill: Fill | None = None
    cache: CacheSettings | None = None
    base: str = ""
    training: Training = Training.BASE
    tuned_paths: int | None = None
    training_seed: int | None = None
    variant: str = ""

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("name: empty; a system needs one for its row")
        if self.paths < 1:
            raise ValueError(f"paths: {self.paths} is not at least 1")
        check_hints(self.path_hints)
        if self.path_hints and self.form is not Form.CANVAS:
            raise ValueError(
                f"path_hints: form {self.form} has one text without paths; take form=canvas"
            )
        if 0 < len(self.path_hints) < self.paths:
            raise ValueError(
                f"path_hints: {len(self.path_hints)} hints for {self.paths} paths, which get one "
                "each; give more hints, or fewer paths"
            )
        if self.steps and min(self.steps) < 1:
            raise ValueError(f"steps: {list(self.steps)}; each at least 1")
        if self.training_seed is not None and self.training_seed < 0:
            raise ValueError(f"training_seed: {self.training_seed} is not at least 0")
        if self.training is Training.BASE:
            for name in ("training_seed", "variant"):
                if getattr(self, name) not in (None, ""):
                    raise ValueError(
                        f"{name}: {self.name!r} is a base model, which has none; its training is "
                        "nap or long_cot"
                    )

    @property
    def base_name(self) -> str:
        """The base model's name in tables."""
        return self.base or Path(self.model.path).name

    def made_rule(self) -> Rule:
        """The rule; UserError if it does not exist or does not take its options."""
        rule: Rule = part(RULES, self.rule, f"systems.{self.name}.rule")
        if self.cache is not None:
            try:
                self.cache.check(rule)
            except ValueError as error:
                raise UserError(f"systems.{self.name}.{error}") from None
        return rule


class Cell(NamedTuple):
    """A system at a number of steps (0: its rule has none)."""

    system: System
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(SamplingFields):
    """Systems x steps on one benchmark, fully described.

    `masks` is the budget M of every system, `summary_tokens` the summary's part of it on a canvas;
    each of a canvas's paths has an even share of the rest (Table 5's fixed budget). `limit` takes
    the first problems only. `batch` decodes so many consecutive problems at once, or as many as fit
    into the memory (`auto`). `strict` decodes every row by itself, so that no digit of it depends
    on its neighbours. `processes` share the problems: by default one for each GPU, else one; the
    rows are the same.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    name: str
    benchmark: dict[str, str | int | float | bool | None]
    systems: tuple[System, ...]
    steps: tuple[int, ...]
    masks: int = 1022
    summary_tokens: int = 32
    limit: int | None = None
    batch: int | str = 32
    strict: bool = False
    processes: int | None = None
    precision: Precision = Precision.BFLOAT16

    def __post_init__(self) -> None:
        """Check the ranges: ValueError names the field and the range."""
        check_name(self.name)
        if not self.systems:
            raise ValueError("systems: empty; name at least one")
        names = [system.name for system in self.systems]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"systems: {twice[0]!r} stands there twice; rows need names of their own"
            )
        if not self.steps or min(self.steps) < 1:
            raise ValueError(f"steps: {list(self.steps)}; give at least one, each at least 1")
        if isinstance(self.batch, int) and not 1 <= self.batch <= MOST_ROWS:
            raise ValueError(f"batch: {self.batch} is not within 1 to {MOST_ROWS}")
        if isinstance(self.batch, str) and self.batch != AUTO:
            raise ValueError(f"batch: {self.batch!r} is neither a number nor {AUTO}")
        if self.processes is not None and self.processes < 1:
            raise ValueError(f"processes: {self.processes} is not at least 1")
        if self.limit is not None and self.limit < 1:
            raise ValueError("limit: at least 1")
        for system in self.systems:
            if system.form is Form.CANVAS:
                if self.summary_tokens < 1:
                    raise ValueError(f"summary_tokens: {self.summary_tokens} is not at least 1")
                path_tokens(self.masks, self.summary_tokens, system.paths)
        for system in self.systems:
            self.sampling.check(is_cached=system.cache is not None)

    def sampling_of(self, system: System) -> Sampling:
        """How a system takes tokens from logits: its own `fill`, if it has one."""
        return dataclasses.replace(self.sampling, fill=system.fill or self.fill)

    @property
    def rows_at_once(self) -> int | None:
        """The most rows that are decoded together; None if the memory decides."""
        if self.strict:
            return 1
        return self.batch if isinstance(self.batch, int) else None

    def cells(self) -> list[Cell]:
        """All cells in order; a system whose rule has no number of steps has one."""
        return [
            Cell(system, steps)
            for system in self.systems
            for steps in ((system.steps or self.steps) if system.made_rule().has_steps else (0,))
        ]

    def digest(self, cell: Cell, facts: Sequence[object]) -> str:
        """16 hex digits over everything that shapes a cell.

        `facts`, which are written as JSON, are those of the model, the problems and the machine.
        """
        shaping = dataclasses.asdict(self)
        # Rows at once are in `facts`; processes shape no row.
        for name in ("name", "systems", "steps", "batch", "strict", "processes"):
            shaping.pop(name)
        for name in {*LATER} - {*self.sampling.unusual()}:
            shaping.pop(name)
        shaping |= {"system": dataclasses.asdict(cell.system), "steps": cell.steps, "facts": facts}
        for name in _OF_TABLES:
            shaping["system"].pop(name)
        shaping["fill"] = shaping["system"].pop("fill") or self.fill
        for name in ("cache", "path_hints"):
            if not getattr(cell.system, name):
                shaping["system"].pop(name)
        for name in ("path", "base_model"):  # their revisions are in `facts`
            shaping["system"]["model"].pop(name)
        return digest_of(shaping)


# Fields of a system that shape no row, and its steps, which its cells have.
_OF_TABLES = ("name", "steps", "base", "training", "tuned_paths", "training_seed", "variant")


def path_tokens(masks: int, summary_tokens: int, paths: int) -> int:
    """A path's even share of the masks beside a summary; ValueError if it is not at least 1."""
    share = (masks - summary_tokens) // paths
    if share < 1:
        raise ValueError(
            f"masks: {masks} leave nothing for {paths} paths beside a summary of {summary_tokens}"
        )
    return share


def part(package: str, spec: Part, where: str) -> Any:
    """The rule or benchmark that a recipe names in `spec`; needs pydantic."""
    options = {name: value for name, value in spec.items() if name != "kind"}
    return plugins.build(package, str(spec.get("kind")), options, where)
