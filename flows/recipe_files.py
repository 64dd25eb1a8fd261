"""Find a recipe: a file, or the name of a bundled one."""

import os
from pathlib import Path

from schemas.errors import UserError
from schemas.paths import ROOT


def find_recipe(name: str, bundled: Path) -> Path:
    """A recipe file by its path, or one of the folder `bundled` by its name."""
    from schemas.parts import hint

    path = Path(name)
    if os.path.isfile(path):  # also for a name that no file system takes
        return path
    file = bundled / f"{path.stem}.yaml"
    if os.path.isfile(file) and path.parent in (Path(), bundled.relative_to(ROOT)):
        return file
    names = tuple(sorted(file.stem for file in bundled.glob("*.yaml")))
    raise UserError(
        f"{name[:200]}: no such recipe file, and no bundled recipe; {hint(path.stem, names)}"
    )
