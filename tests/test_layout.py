"""The house: package names are ours alone, and the command line starts light."""

import importlib
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    *("curation", "data_cards", "diffusion", "flows", "polytrace", "schemas", "scorers"),
    *("support", "tiny"),
)
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


def test_imports_go_down_only() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
