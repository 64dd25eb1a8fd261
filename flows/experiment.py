"""An experiment: which trainings and which evaluation are run on a corpus.

In: the experiment's recipe. Out: checked settings of every step. The recipe names recipes of
`polytrace train` and one of `polytrace evaluate`. If the model of an evaluated system is
`runs/NAME/model`, and NAME is one of the experiment's trainings, the system uses the model that the
experiment has trained. So the same recipes can be used by hand and in an experiment.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from diffusion.data.layout import Form
from diffusion.evaluation.settings import BENCHMARKS, Evaluation, System, Training, part
from diffusion.settings import STRICT, Settings, check_name
from flows.recipe_files import EVALUATIONS, EXPERIMENTS, find_recipe, settings_of
from support import plugins
from support.errors import UserError
from support.paths import locate
from support.yaml_file import load


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeReference:
    """A recipe, by its file or bundled name, with `KEY=VALUE` overrides."""

    __pydantic_config__: ClassVar[Any] = STRICT

    recipe: str
    set: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SeqDep:
    """Figures 3 and 7 of the corpus: the scorer, and ordinary text to compare with, if any."""

    __pydantic_config__: ClassVar[Any] = STRICT

    model: str
    limit: int = 400
    web: str | None = None
    long_cot: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.limit < 2:
            raise ValueError(f"seqdep.limit: {self.limit}; a slope needs at least 2 rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Trainings on one corpus, one evaluation of the trained models, and the corpus's SeqDep.

    `short_for` names the full experiment of which this is a short form.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    name: str
    train: tuple[RecipeReference, ...]
    evaluate: RecipeReference
    seqdep: SeqDep | None = None
    short_for: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.train:
            raise ValueError("train: empty; name at least one training")


def find_experiment(name: str, overrides: tuple[str, ...] = ()) -> Experiment:
    """An experiment by its file or bundled name; UserError says what is wrong."""
    experiment = load(find_recipe(name, EXPERIMENTS), overrides, Experiment)
    if experiment.short_for is not None:
        find_recipe(experiment.short_for, EXPERIMENTS)  # raises UserError if there is none
    return experiment


def trainings(experiment: Experiment, corpus: str) -> list[Settings]:
    """The trainings in order, all on `corpus`.

    UserError if two have the same name, or for bundled weights that a wheel lacks.
    """
    trained = [
        dataclasses.replace(settings_of(use.recipe, use.set), corpus=corpus)
        for use in experiment.train
    ]
    for settings in trained:
        locate(settings.model.path)
    names = [settings.name for settings in trained]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(
            f"{experiment.name}: two trainings are named {twice[0]!r}; give one of "
            "them a different name by set: [name=…]"
        )
    return trained


def evaluation(experiment: Experiment, settings: list[Settings], out: Path) -> Evaluation:
    """The evaluation, with the models that the trainings leave under `out`; checked."""
    use = experiment.evaluate
    read = load(find_recipe(use.recipe, EVALUATIONS), use.set, Evaluation)
    # These three raise UserError for a benchmark or a rule that cannot be used.
    plugins.options(BENCHMARKS, str(read.benchmark.get("kind")), "benchmark")
    if read.benchmark.get("path") is not None:
        part(BENCHMARKS, read.benchmark, "benchmark")
    read.cells()
    trained = {
        f"runs/{one.name}/{kind}": one
        for one in settings
        for kind in (("model", "adapter") if one.lora is not None else ("model",))
    }
    _check(experiment.name, read, trained)
    systems = []
    for system in read.systems:
        model = system.model
        if (training := trained.get(model.path)) is not None:
            path = str(out / folder_of(training) / Path(model.path).name)
            model = dataclasses.replace(model, path=path)
        systems.append(dataclasses.replace(system, base=system.base_name, model=model))
    return dataclasses.replace(read, systems=tuple(systems))


def _check(name: str, read: Evaluation, trained: dict[str, Settings]) -> None:
    """Raise UserError for mistakes that would otherwise show only after hours of training."""
    # Systems by their cell of the tables and the seed of their training.
    places: dict[tuple[object, ...], dict[int | None, System]] = {}
    for system in read.systems:
        settings, path = trained.get(system.model.path), locate(system.model.path)
        if settings is None and system.training is not Training.BASE:
            raise UserError(
                f"{name}: the evaluation's system {system.name!r} is tuned, and no training of "
                f"this experiment makes its model {system.model.path}; add one, or leave the "
                "system out"
            )
        if settings is not None and (masks := _masks(settings)) != read.masks:
            raise UserError(
                f"{name}: the evaluation's masks are {read.masks}, and {settings.name} is trained "
                f"on {masks}; make them the same"
            )
        if settings is None and path.count("/") > 1 and not Path(path).is_dir():
            raise UserError(f"{name}: {system.name}: {path}: no such model directory")
        if system.path_hints and not system.variant:
            continue  # it has no place but a line of its own
        cell = (
            *(system.base_name, system.training, system.made_rule().order, system.form),
            *(_paths(system), system.cache, system.variant, system.fill or read.fill),
        )
        seeds = places.setdefault(cell, {})
        if seeds:
            other = seeds.get(system.training_seed, next(iter(seeds.values())))
            is_same_seed = other.training_seed == system.training_seed
            if is_same_seed or None in (system.training_seed, *seeds) or _unlike(other, system):
                raise UserError(
                    f"{name}: {other.name!r} and {system.name!r} are one cell of the tables; give "
                    "one of them a different base, or evaluate it by a recipe of its own "
                    "(trainings that differ in their seed alone: give each its training_seed)"
                )
        seeds[system.training_seed] = system


def _paths(system: System) -> tuple[int, ...]:
    """The paths by which the tables tell systems apart."""
    if system.form is not Form.CANVAS:
        return ()
    tuned = system.tuned_paths or system.paths
    return (system.paths, tuned) if system.training is Training.NAP else (system.paths,)


def _unlike(one: System, other: System) -> bool:
    """Whether two systems of a cell differ in more than the seed of their training."""
    names = ("rule", "path_hints", "tuned_paths", "paths")
    return any(getattr(one, name) != getattr(other, name) for name in names)


def _masks(settings: Settings) -> int:
    return settings.paths * settings.slot_tokens + settings.summary_tokens


def checked(name: str, corpus: Path) -> Experiment:
    """The experiment `name`; UserError if it could not start on the corpus."""
    experiment = find_experiment(name)
    evaluation(experiment, trainings(experiment, str(corpus)), Path("runs") / experiment.name)
    return experiment


def folder_of(settings: Settings) -> str:
    """A training's folder; a changed recipe has another, so that it continues no old training."""
    return f"{settings.name}-{settings.digest()[:8]}"


def default_out(experiment: Experiment, build: str) -> Path:
    """The default directory of an experiment: one for each build of a corpus."""
    return Path("runs") / f"{experiment.name}-{build}"
