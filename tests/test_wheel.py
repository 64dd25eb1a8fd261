"""The wheel holds every module and what the demo needs, and works outside a checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.paths import OF_CHECKOUTS

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    *("curation", "data_cards", "diffusion", "flows", "polytrace", "schemas", "scorers"),
    *("support", "tiny"),
)
LARGEST = 30_000_000  # bytes


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def tracked(*arguments: str) -> set[str]:
    command = ["git", "ls-files", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_the_wheel_holds_all_files_of_the_packages(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {name for name in tracked(*PACKAGES) if not name.startswith(OF_CHECKOUTS)}
    assert len(wanted) > 300
    assert wanted <= inside, sorted(wanted - inside)
    assert not {name for name in inside if name.startswith(OF_CHECKOUTS)}
    assert wheel.stat().st_size < LARGEST


def test_git_ignores_no_file_that_it_tracks() -> None:
    """A wheel leaves out what git ignores, and new files of such a folder would not be added."""
    assert tracked("--cached", "--ignored", "--exclude-standard") == set()


def test_an_installed_command_works_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    installed, work = tmp_path / "installed", tmp_path / "work"
    zipfile.ZipFile(wheel).extractall(installed)
    work.mkdir()
    where = os.environ | {"PYTHONPATH": str(installed)}
    for arguments in (["doctor"], ["finetune-eval", "--help"], ["train", "--help"]):
        run = subprocess.run(
            [sys.executable, "-P", "-m", "flows.cli", *arguments],
            cwd=work,
            env=where,
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stdout + run.stderr
    code = "import diffusion.models.network.denoiser as one; print(one.__file__)"
    found = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=work, env=where, capture_output=True, text=True
    )
    assert found.stdout.startswith(str(installed)), found.stdout + found.stderr
