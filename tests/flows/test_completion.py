"""Tab completion: what the command answers when a shell asks it."""

import subprocess
import sys

import pytest

from support.paths import ROOT


def completed(line: str, **env: str) -> list[str]:
    """What bash offers after `line`."""
    words = line.split(" ")
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), **env}
    code = "import sys; sys.argv = ['polytrace']; from flows.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "_POLYTRACE_COMPLETE": "complete_bash", **asked},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("polytrace pub", ["publish"]),
        ("polytrace build dem", ["demo"]),
        ("polytrace finetune-eval ti", ["tiny", "tiny_demo"]),
        ("polytrace train llada_", ["llada_long_cot", "llada_nap"]),
        ("polytrace build nothing-of-this-name", []),
    ],
)
def test_commands_and_bundled_recipes_are_completed(line: str, offered: list[str]) -> None:
    assert completed(line) == offered


def test_options_are_completed() -> None:
    assert completed("polytrace build demo --est") == ["--estimate"]
