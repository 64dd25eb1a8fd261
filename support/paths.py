"""Paths of the files that are bundled with the project, and the environment that finds them."""

import os
from pathlib import Path

from support.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
OF_CHECKOUTS = ("tiny/miniature", "tiny/tuned")  # left out of the wheel, which they would double


def locate(path: str) -> str:
    """`path` itself, or the path under the project's root where it exists only there.

    So recipes may name bundled files ("tiny/teacher") and work from any folder. A hub id, which is
    not a file, is returned unchanged. UserError for bundled weights that a wheel lacks.
    """
    bundled = ROOT / path
    try:
        is_here, is_bundled = Path(path).exists(), bundled.exists()
    except OSError as error:  # a name that no file system takes
        raise UserError(f"{path[:80]!r}…: no path: {error.strerror}") from None
    if not is_here and not is_bundled and path.startswith(OF_CHECKOUTS):
        raise UserError(
            f"{path}: an installed Polytrace leaves these weights out, to be small; run the same "
            "command in a clone of its repository, which holds them"
        )
    return str(bundled) if is_bundled and not is_here else path


def module_environment() -> dict[str, str]:
    """This process's environment, in which `python -m` does not look into the working directory.

    A folder named `schemas` or `flows` there would stand for our package.
    """
    environment = os.environ | {"PYTHONSAFEPATH": "1"}
    if (ROOT / "pyproject.toml").is_file():  # a checkout, which need not be installed
        path = os.environ.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([path] if path else [])])
    return environment
