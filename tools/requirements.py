"""Prints the dependencies of a pyproject.toml, with those of some extras, one on each line.

The Dockerfile installs them before the code is copied, so that a change of the code leaves the
layer of the dependencies as it is: `python requirements.py pyproject.toml s3,lora`.
"""

import sys
import tomllib
from pathlib import Path


def requirements(text: str, extras: list[str]) -> list[str]:
    """The dependencies of a project and of some of its extras, each once and in their order.

    Args:
        text: The content of a pyproject.toml.
        extras: Names of extras; one that the project lacks is a KeyError.
    """
    project = tomllib.loads(text)["project"]
    known = project["optional-dependencies"]
    found = [*project["dependencies"], *(one for extra in extras for one in known[extra])]
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    chosen = [one.strip() for one in sys.argv[2].split(",") if one.strip()]
    print("\n".join(requirements(Path(sys.argv[1]).read_text(encoding="utf-8"), chosen)))
