"""Ctrl-C in a process of its own: one sentence, its status, and no wait when pressed again."""

import signal
import subprocess
import sys
import time

import pytest

from support.paths import ROOT

WAITING = """
import sys, time
from support.signals import ended_by_ctrl_c, stop_at_once
def save(): print("saving", flush=True); time.sleep({seconds}); print("saved", flush=True)
with ended_by_ctrl_c():
    if {seconds}: stop_at_once(save)
    print("ready", flush=True)
    time.sleep(600)
"""


def begun(seconds: int) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING.format(seconds=seconds)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("seconds", [0, 1])
def test_it_is_a_sentence_and_a_status(seconds: int) -> None:
    process = begun(seconds)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT
    assert err == "\npolytrace: interrupted; the same command goes on\n"
    assert ("saved" in out) == bool(seconds)


def test_pressed_again_it_waits_for_nothing() -> None:
    process = begun(500)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None and process.stdout.readline() == "saving\n"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT and "saved" not in out
    assert err.count("the same command goes on") == 1
    assert time.monotonic() - began < 120
