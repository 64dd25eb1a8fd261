"""A Prefect server of the user's own that accepts connections and never answers."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from flows.runtime.session import ANSWER_SECONDS
from tests.flows.commands import API, start

PATIENCE = 900.0
BUILD = ("build", "demo", "--limit", "24", "--out", "run")


@pytest.mark.soak
def test_a_silent_server_is_told_in_one_sentence_before_any_work(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        process = start(*BUILD, cwd=tmp_path, **{API: api})
        with silent.accept()[0]:
            began = time.monotonic()
            out, err = process.communicate(timeout=PATIENCE)
            seconds = time.monotonic() - began
        print(f"told after {seconds:.1f} s")
        assert process.returncode == 2 and out == "", err
        assert "Traceback" not in err
        assert f"no Prefect server answers at {api}" in err.splitlines()[-1]
        assert ANSWER_SECONDS - 1 < seconds < 180  # Prefect alone asks for seven minutes
        process = start(*BUILD, cwd=tmp_path, **{API: api})
        with silent.accept()[0]:
            began = time.monotonic()
            os.killpg(process.pid, signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE)
            seconds = time.monotonic() - began
        print(f"ended by Ctrl-C after {seconds:.1f} s")
        assert process.returncode == 128 + signal.SIGINT and "Traceback" not in err, err
        assert seconds < 10
