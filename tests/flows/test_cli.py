"""The command line: exit codes, one-line errors, signals, and what must never be printed."""

import json
import os
import signal
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from support.files import lock
from tests.flows.commands import alive, check_all_end, polytrace, start


def run(*args: str, cwd: Path, **env: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command in this process."""
    done = polytrace(*args, cwd=cwd, **env)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("build", "demo", "--limit", "0"),
        ("build", "demo", "--limit", "x"),
        ("build", "demo", "--bogus"),
        ("build",),
        ("bild",),
        ("inspect", "nowhere"),
        ("verify", "nowhere"),
        ("build", "demmo"),
        ("build", "x" * 5000),
        ("build", "demo", "--set", "release.notice=2024-13-45"),
        ("build", "demo", "--set", "seed=!!int x"),
        ("build", "demo", "--set", "filters.²=1"),
        ("build", "demo", "--set", "teacher.temperature=.inf"),
        (
            *("build", "demo", "--set", "scorer=null"),
            *("--set", "filters=[{kind: seqdep, max: 0.4}]"),
        ),
        ("build", "demo", "--set", 'release.notice="\\ud800"'),
        ("build", "demo", "--set", "source.path=" + "y" * 5000),
        ("build", "demo", "--set", "decontaminate=[{kind: gsm8k, path: a/x}, {kind: jsonl}]"),
    ],
    ids=lambda args: " ".join(args)[:40],
)
def test_a_users_mistake_ends_with_2_and_no_traceback(
    args: tuple[str, ...], tmp_path: Path
) -> None:
    code, out, err = run(*args, cwd=tmp_path)
    assert code == 2, err
    assert out == ""
    assert err.strip()


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    done = polytrace("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{version('polytrace')}\n")


def test_help_without_arguments(tmp_path: Path) -> None:
    code, out, err = run(cwd=tmp_path)
    assert code == 2
    assert "build" in out + err


def test_aliases_that_multiply_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40))]
    (tmp_path / "r.yaml").write_text("\n".join(lines))
    code, _, err = run("build", "r.yaml", cwd=tmp_path)
    assert code == 2
    assert "values" in err


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@host/x.jsonl",
        "s3://b/x?X-Amz-Signature=hunter2",
        "https://h/?token=hunter2",
        "https://h/x.jsonl?private_token=hunter2",
        "http://h/x.jsonl?a=1&api_key=hunter2",
        "http://h/x.jsonl?Authorization=hunter2",
    ],
)
def test_credentials_are_refused_and_never_printed(tmp_path: Path, url: str) -> None:
    code, out, err = run("build", "demo", "--set", f"source.path={url}", cwd=tmp_path)
    assert code == 2
    assert "source.path" in err
    assert "hunter2" not in out + err
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and b"hunter2" in p.read_bytes()]


def test_a_key_in_an_endpoint_is_not_printed(tmp_path: Path) -> None:
    teacher = "teacher={kind: openai_server, model: m, endpoints: 'http://h/v1?k=hunter2'}"
    code, _, err = run("build", "demo", "--set", teacher, cwd=tmp_path)
    assert code == 2 and "is no address" in err and "hunter2" not in err


def test_foreign_text_moves_no_cursor(tmp_path: Path) -> None:
    code, _, err = run("build", "demo", "--set", 'paths="\\e[2J\\a"', cwd=tmp_path)
    assert code == 2 and "\x1b" not in err and "\a" not in err
    code, _, err = run("build", "no \x1b[2J recipe", cwd=tmp_path)
    assert code == 2 and "\x1b" not in err and "no ␛[2J recipe" in err


def test_a_path_that_is_no_text_is_refused(tmp_path: Path) -> None:
    code, _, err = run("build", "demo", "--out", "r_\udcff", cwd=tmp_path)
    assert code == 2 and "--out" in err and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_terminal_of_another_encoding_ends_no_command(tmp_path: Path) -> None:
    process = start("doctor", cwd=tmp_path, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert process.wait(timeout=120) == 0, process.communicate()
    process = start("build", "no ½ recipe", cwd=tmp_path, PYTHONIOENCODING="ascii")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2 and "no \\xbd recipe" in err


def test_an_estimate_that_is_ended_clears_away(tmp_path: Path) -> None:
    (trial := tmp_path / "trial").mkdir()
    process = start("build", "demo", "--estimate", cwd=tmp_path, TMPDIR=str(trial))
    while not list(trial.glob("*/prompts")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.terminate()
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert list(trial.iterdir()) == []


@pytest.mark.slow
def test_the_estimate_is_one_object(tmp_path: Path) -> None:
    args = ("build", "demo", "--estimate", "--json", "--set", "filters=[]")
    code, out, _ = run(*args, "--limit", "300", cwd=tmp_path)
    assert code == 0
    said = json.loads(out)
    assert said["tried"] == 20
    assert 0 < said["canvases"] <= said["prompts"] == 300


@pytest.mark.slow
@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 2), (signal.SIGTERM, 1)])
def test_interrupted_it_ends_at_once_and_leaves_no_process(
    tmp_path: Path, number: int, times: int
) -> None:
    process = _begun(tmp_path)
    for _ in range(times):  # an impatient user
        os.killpg(process.pid, number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "the same command goes on" in err
    assert "Traceback" not in err
    check_all_end(tmp_path / ".prefect", seconds=10)


@pytest.mark.slow
def test_a_build_whose_shards_are_worked_on_waits_for_no_shard(tmp_path: Path) -> None:
    """SIGTERM to the command alone: Prefect's handler would wait for the scorer."""
    args = ("--limit", "24", "--set", "shard_rows=12", "--out", "run")
    process = start("build", "demo", *args, cwd=tmp_path)
    while not (tmp_path / "run/canvases/00000.json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.terminate()
    began = time.monotonic()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert time.monotonic() - began < 8
    assert err.count("the same command goes on") == 1
    check_all_end(tmp_path / ".prefect", seconds=10)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.2, 0.6])
def test_killed_just_after_its_server_has_started_it_leaves_no_process(
    tmp_path: Path, seconds: float
) -> None:
    process = start("build", "demo", "--out", "run", cwd=tmp_path)
    while not any("uvicorn" in command for command in alive(tmp_path / ".prefect")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    time.sleep(seconds)
    process.kill()
    process.wait()
    check_all_end(tmp_path / ".prefect")
    process.communicate(timeout=30)


@pytest.mark.slow
def test_killed_it_leaves_no_process(tmp_path: Path) -> None:
    """As the kernel does when memory is short: the command alone, and it can end nothing."""
    process = _begun(tmp_path)
    process.kill()
    process.wait()
    check_all_end(tmp_path / ".prefect")
    process.communicate(timeout=30)


@pytest.mark.slow
def test_a_second_command_on_one_directory_is_refused(tmp_path: Path, prefect_api: str) -> None:
    args = ("build", "demo", "--limit", "5", "--out", "run")
    with lock(tmp_path / "run"):
        code, out, err = run(*args, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert "run: another command is at work there" in err.splitlines()[-1]
    assert run(*args, cwd=tmp_path, PREFECT_API_URL=prefect_api)[0] == 0


def _begun(cwd: Path) -> subprocess.Popen[str]:
    """A build whose first shard has its traces."""
    process = start("build", "demo", "--out", "run", "--set", "shard_rows=20", cwd=cwd)
    deadline = time.monotonic() + 120
    while not (cwd / "run/traces/00000.json").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    return process
