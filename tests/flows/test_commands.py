"""A command in a process of its own: what ended it is said."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from flows.runtime import commands
from flows.runtime.commands import run_command
from support.errors import StoppedError, UserError


def test_a_missing_accelerate_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: no such accelerate config file"):
        run_command(["train", "tiny_nap"], str(tmp_path / "none.yaml"))


def test_a_folder_of_our_packages_names_is_no_package_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("flows", "schemas"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('of a foreign folder')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no_such_recipe"):
        run_command(["train", "no_such_recipe"])


def test_a_command_that_was_killed_is_said_to_be(tmp_path: Path) -> None:
    def kill() -> None:
        while not commands._RUNNING:
            time.sleep(0.05)
        for process in commands._RUNNING:
            os.kill(process.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(StoppedError, match="train was ended by SIGKILL, as Linux does where mem"):
        run_command(["train", "tiny_nap", "--set", f"corpus={tmp_path}", "--out", str(tmp_path)])
    killer.join()
    assert not commands._RUNNING
