"""The house: package names are ours alone, and the command line starts light."""

import ast
import importlib
import importlib.metadata
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    *("curation", "data_cards", "diffusion", "flows", "polytrace", "schemas", "scorers"),
    "support",
)
MOST_MODULES = 12  # in a folder
MOST_LINES = 300  # of a module
LONG = {  # each is to be divided
    "curation/teachers/openai/scheduler.py",
    "scorers/seqdep/measurement.py",
}
NAMED_TWICE: dict[str, set[str]] = {}  # classes: each is to have a name of its own
PRIVATE_USED: list[str] = []
HEAVY = ("torch", "transformers", "prefect", "matplotlib", "pyarrow", "datasets", "polars")


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_resolve_here_and_belong_to_nobody_else(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).is_relative_to(ROOT)
    owners = importlib.metadata.packages_distributions().get(name, [])
    assert set(owners) <= {"polytrace"}


def test_no_module_is_named_after_a_dependency() -> None:
    installed = set(importlib.metadata.packages_distributions()) | set(sys.stdlib_module_names)
    ours = {path.stem for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    allowed = {"__init__", "__main__", *PACKAGES}
    top_level = {path.stem for path in ROOT.glob("*.py")}
    assert not top_level & installed
    assert not {"datasets", "prefect", "types", "torch", "transformers"} & (ours - allowed)


def test_help_is_light() -> None:
    code = (
        "import sys, json\n"
        "sys.argv = ['polytrace', '--help']\n"
        "from flows import cli\n"
        "try:\n    cli.main()\nexcept SystemExit as e:\n    assert e.code == 0, e.code\n"
        "print(json.dumps(sorted(set(m.split('.')[0] for m in sys.modules))))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    *help_text, modules = run.stdout.strip().splitlines()
    assert "build" in "\n".join(help_text)
    assert not set(HEAVY) & set(json.loads(modules))


def modules() -> Iterator[Path]:
    """The product's modules, from the root."""
    for package in PACKAGES:
        yield from (path.relative_to(ROOT) for path in sorted((ROOT / package).rglob("*.py")))


def parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def test_no_folder_holds_many_modules() -> None:
    inside = Counter(path.parent for path in modules() if not path.stem.startswith("__"))
    assert [str(folder) for folder, count in inside.items() if count > MOST_MODULES] == []


def test_no_module_is_long() -> None:
    lines = {str(path): len((ROOT / path).read_text().splitlines()) for path in modules()}
    assert {path for path, count in lines.items() if count > MOST_LINES} <= LONG


@pytest.mark.parametrize("package", PACKAGES)
def test_a_class_name_means_one_thing_in_a_package(package: str) -> None:
    names = Counter(
        node.name
        for path in modules()
        if path.parts[0] == package
        for node in parsed(path).body
        if isinstance(node, ast.ClassDef)
    )
    twice = {name for name, count in names.items() if count > 1}
    assert twice <= NAMED_TWICE.get(package, set())


def imported(tree: ast.Module) -> Iterator[str]:
    """Dotted names of everything that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{one.name}" for one in node.names)


def test_a_module_that_begins_with_an_underscore_is_used_in_its_folder_alone() -> None:
    private = {
        ".".join(path.with_suffix("").parts): path.parent
        for path in modules()
        if path.stem.startswith("_") and not path.stem.startswith("__")
    }
    assert [
        f"{path} imports {name}"
        for path in modules()
        for name in imported(parsed(path))
        for module, folder in private.items()
        if f"{name}.".startswith(f"{module}.") and not path.is_relative_to(folder)
    ] == PRIVATE_USED
