"""The tutorial: its commands run in order, as they stand there, and print what it says.

Commands are the bash blocks; what they print is the block of text behind each, in which `…` stands
for anything within a line, and a line `…` for any lines. Times and digits that another processor
may round otherwise are written as `…`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT
from tests.flows.homes import HOMES

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(bash|text)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
POLYTRACE = f'#!/bin/sh\nexec "{sys.executable}" -m flows.cli "$@"\n'


def pattern(expected: str) -> re.Pattern[str]:
    """What finds the expected lines, one directly behind the other, in an output."""
    lines = []
    for line in expected.splitlines():
        if line == "…":
            lines.append(r"(?:[^\n]*\n)*?")
        else:
            lines.append(".*".join(re.escape(piece) for piece in line.split("…")) + r"[ ]*\n")
    return re.compile("^" + "".join(lines), re.MULTILINE)


def test_every_command_of_the_tutorial_is_followed_by_what_it_prints() -> None:
    kinds = [kind for kind, _ in BLOCKS]
    assert kinds.count("bash") > 8 and kinds[0] == "bash"
    for (kind, body), following in zip(BLOCKS, [*kinds[1:], ""], strict=True):
        if kind == "bash" and not body.startswith("cat >"):
            assert following == "text", body


@pytest.mark.slow
def test_the_tutorial_runs_from_its_first_command_to_its_last(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "polytrace").write_text(POLYTRACE, encoding="utf-8")
    (programs / "polytrace").chmod(0o755)
    (work := tmp_path / "work").mkdir()
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PREFECT_HOME": str(HOMES.make(tmp_path / "prefect")),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600",
        "COLUMNS": "80",
    }
    said = ""
    for kind, body in BLOCKS:
        if kind == "text":
            assert pattern(body).search(said), f"{body}\n--- is not in ---\n{said}"
            continue
        done = subprocess.run(
            ["bash", "-euc", body],
            cwd=work,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3_000,
            check=False,
        )
        said = done.stdout
        assert done.returncode == 0, f"{body}\n{said}"
    named = re.findall(r"`(runs/[\w./-]+)`", PAGE)
    assert len(named) > 5 and [path for path in named if not (work / path).exists()] == []
