"""Paths of the files that are bundled with the project, and the environment that finds them."""

import os
from pathlib import Path

from support.errors import UserError

ROOT = Path(__file__).resolve().parent.parent


def locate(path: str) -> str:
    """`path` itself, or the path under the project's root where it exists only there.

    So recipes may name bundled files ("tiny/teacher") and work from any folder. A hub id, which is
    not a file, is returned unchanged.
    """
    bundled = ROOT / path
    try:
        return str(bundled) if not Path(path).exists() and bundled.exists() else path
    except OSError as error:  # a name that no file system takes
        raise UserError(f"{path[:80]!r}…: no path: {error.strerror}") from None


def module_environment() -> dict[str, str]:
    """This process's environment, in which `python -m` does not look into the working directory.

    A folder named `schemas` or `flows` there would stand for our package.
    """
    environment = os.environ | {"PYTHONSAFEPATH": "1"}
    if (ROOT / "pyproject.toml").is_file():  # a checkout, which need not be installed
        path = os.environ.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([path] if path else [])])
    return environment
