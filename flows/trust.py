"""Check recipes that are not trusted, before anything that they name is touched.

On the command line that is `--untrusted`; in deployments it is what whoever starts a run has
written: recipes given inline, overrides, and files outside the working directory. `schemas/trust`
says what is refused. A recipe that an experiment names, or a handoff, is checked as well.
"""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.recipe_files import EVALUATIONS, find_recipe, settings_of
from schemas.trust.addresses import SETTING, Allowed
from schemas.trust.check import refuse_untrusted
from schemas.trust.places import place_fault
from support.errors import UserError

if TYPE_CHECKING:
    from diffusion.evaluation.settings import Evaluation
    from diffusion.settings import Settings
    from flows.experiment import Experiment
    from schemas.recipe import Recipe

TRUST_INLINE = "POLYTRACE_TRUST_INLINE"
Untrusted = Annotated[
    bool,
    typer.Option(
        "--untrusted",
        help="Refuse a recipe that starts programs, runs code of a model, or names a foreign "
        "address, variable or folder (see SECURITY.md).",
    ),
]
AllowAddress = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-address",
        metavar="HOST[:PORT]",
        help=f"With --untrusted: a server that the recipe may name; repeatable. Also in {SETTING}.",
    ),
]


@dataclass(frozen=True, slots=True)
class Untrusting:
    """Checks recipes; `otherwise` says how a trusted one is run."""

    allowed: Allowed
    otherwise: str

    def recipe(self, recipe: "Recipe", where: str) -> None:
        """Check the recipe of a corpus, and the experiment that it hands over to."""
        self._refuse(recipe.model_dump(), where)
        if recipe.handoff is not None:
            from flows.experiment import find_experiment

            self.experiment(find_experiment(recipe.handoff), f"{where}: handoff {recipe.handoff}")

    def settings(self, settings: "Settings | Evaluation", where: str) -> None:
        """Check the recipe of a training or of an evaluation."""
        self._refuse(dataclasses.asdict(settings), where)

    def experiment(self, experiment: "Experiment", where: str) -> None:
        """Check an experiment, and the recipes that it names, with their overrides."""
        from diffusion.evaluation.settings import Evaluation
        from support.yaml_file import load

        self._refuse(dataclasses.asdict(experiment), where)
        for use in experiment.train:
            self.settings(settings_of(use.recipe, use.set), f"{where}: {use.recipe}")
        use = experiment.evaluate
        file = find_recipe(use.recipe, EVALUATIONS)
        self.settings(load(file, use.set, Evaluation), f"{where}: {use.recipe}")

    def _refuse(self, data: dict[str, Any], where: str) -> None:
        refuse_untrusted(data, where, self.allowed, self.otherwise)


def on_command_line(untrusted: bool, addresses: Sequence[str] | None) -> Untrusting | None:
    """The checks that the options ask for; UserError for addresses without --untrusted."""
    if not untrusted:
        if addresses:
            raise UserError("--allow-address: a trusted recipe may name any; add --untrusted")
        return None
    return Untrusting(Allowed.with_setting(addresses or ()), "leave --untrusted out")


def in_deployment(recipe: str | None, overrides: Sequence[str] | None) -> Untrusting | None:
    """The checks for a deployed flow; None if a recipe of the worker is used as it is.

    `recipe` is a path or a bundled name, None for a recipe that is itself a parameter.

    Where the worker's environment has POLYTRACE_TRUST_INLINE=1, nothing is checked: it is set for a
    deployment, and not by whoever starts a run of it.
    """
    if os.environ.get(TRUST_INLINE) == "1":
        return None
    if recipe is not None and not overrides and _is_ours(recipe):
        return None
    return Untrusting(
        Allowed.with_setting(),
        f"put it into a file of the worker's directory, or set {TRUST_INLINE}=1 for the deployment",
    )


def of_parameter() -> Untrusting | None:
    """The checks for a flow whose parameter is a recipe; None if no deployment started it."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    run = context and context.flow_run
    return in_deployment(None, None) if run and run.deployment_id else None


def _is_ours(recipe: str) -> bool:
    """Whether it is a file below the worker's directory, or the name of a bundled recipe."""
    return not os.path.exists(recipe) or place_fault(recipe) is None
