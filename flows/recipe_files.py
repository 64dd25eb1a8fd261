"""Recipe files: find one by its path or bundled name, read its settings, and write them."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from support.errors import UserError
from support.paths import ROOT

if TYPE_CHECKING:
    from diffusion.evaluation.settings import Evaluation
    from diffusion.settings import Settings

RECIPES = ROOT / "flows" / "recipes"
TRAININGS = RECIPES / "train"
EVALUATIONS = RECIPES / "evaluate"
EXPERIMENTS = RECIPES / "experiments"


def find_recipe(name: str, bundled: Path) -> Path:
    """The recipe file with this path, or the one with this name in the folder `bundled`."""
    from support.plugins import hint

    path = Path(name)
    if os.path.isfile(path):  # also for a name that no file system takes
        return path
    file = bundled / f"{path.stem}.yaml"
    if os.path.isfile(file) and path.parent in (Path(), bundled.relative_to(ROOT)):
        return file
    raise UserError(
        f"{name[:200]}: no such recipe file, and no bundled recipe; "
        f"{hint(path.stem, names_of(bundled))}"
    )


def names_of(bundled: Path) -> tuple[str, ...]:
    """The names of the recipes in a folder of bundled ones."""
    return tuple(sorted(file.stem for file in bundled.glob("*.yaml")))


def completion(bundled: Path) -> Callable[[str], list[str]]:
    """What completes a recipe in a shell: the bundled names that begin as it does."""

    def names(incomplete: str) -> list[str]:
        return [name for name in names_of(bundled) if name.startswith(incomplete)]

    return names


def settings_of(recipe: str, overrides: Sequence[str]) -> "Settings":
    """The settings of a recipe file, or of a bundled recipe's name."""
    from diffusion.settings import Settings
    from support.yaml_file import load

    return load(find_recipe(recipe, TRAININGS), overrides, Settings)


def as_yaml(settings: "Settings | Evaluation") -> str:
    """The settings as the text of a recipe, with every default written out."""
    import dataclasses

    import yaml
    from pydantic import TypeAdapter

    plain = TypeAdapter(type(settings)).dump_python(settings, mode="json")
    assert set(plain) == {field.name for field in dataclasses.fields(settings)}
    own = [name for name in type(settings).__annotations__ if name in plain]  # inherited ones last
    plain = {name: plain[name] for name in (*own, *plain)}
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
