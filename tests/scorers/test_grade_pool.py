"""The worker processes: hostile texts, deaths, threads, and parents that are killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sympy import oo, pi
from sympy.core.random import rng

from schemas.records import Grade
from scorers.answers.grade import Answer, GradePool
from scorers.answers.verify import _math_verify_worker, math_verify_pool
from scorers.answers.verify.worker_pool import LOST, WorkerPool

ROOT = Path(__file__).resolve().parents[2]
TOWER = r"\boxed{9^{9^{9^9}}}"


def test_hostile_texts_harm_only_themselves() -> None:
    nested = "\\boxed{" + "{" * 10_000 + "5" + "}" * 10_000 + "}"
    items = [
        (r"\boxed{\sqrt{16}}", "4"),
        (TOWER, "5"),
        (nested, "5"),
        ("word " * 200_000 + "The answer is 7.", "7"),
        ("(" * 1_000_000, r"\sqrt{2}"),
        (r"\boxed{\sqrt{25}}", "5"),
    ]
    with GradePool(workers=2, timeout_seconds=1) as pool:
        grades = [answer.grade for answer in pool.grade(items)]
        again = [answer.grade for answer in pool.grade(items[:2] * 2)]
    assert grades[0] == grades[3] == grades[5] == Grade.CORRECT
    assert grades[1] is Grade.TIMEOUT
    assert {grades[2], grades[4]} <= {Grade.UNPARSED, Grade.TIMEOUT, Grade.WRONG}
    assert again == [Grade.CORRECT, Grade.TIMEOUT] * 2


def test_plain_items_start_no_process() -> None:
    with GradePool(workers=1) as pool:
        assert pool.grade([("A: 5", "5"), ("A: 6", "5")]) == [
            Answer(grade=Grade.CORRECT, answer="5", end=4),
            Answer(grade=Grade.WRONG, answer="6", end=4),
        ]
        assert pool.grade([]) == []
        assert pool._pool.workers._workers == []


def test_a_worker_that_dies_loses_nothing_and_any_thread_may_grade() -> None:
    items = [(TOWER, "5"), (r"\boxed{\sqrt{16}}", "4")]
    answers: list[Answer] = []
    with GradePool(workers=1, timeout_seconds=60) as pool:
        thread = threading.Thread(target=lambda: answers.extend(pool.grade(items)))
        thread.start()
        for _ in range(2):  # its question is asked once more
            worker = None
            while worker is None or worker.question != 0 or worker.process.poll() is not None:
                time.sleep(0.05)
                worker = next(iter(pool._pool.workers._workers), None)
            os.kill(worker.process.pid, signal.SIGKILL)
        thread.join(60)
    assert [answer.grade for answer in answers] == [Grade.TIMEOUT, Grade.CORRECT]


DIES = """
import os, signal, sys
from pathlib import Path
print('"ready"', flush=True)
for line in sys.stdin:
    died = Path(__file__).with_name("died")
    if "first" in line and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if "last" in line:
        with Path(__file__).with_name("asked").open("a") as file:
            file.write("once\\n")
        os._exit(1)
    print("[1]", flush=True)
"""


def test_a_question_whose_worker_another_one_kills_is_asked_once_more(tmp_path: Path) -> None:
    """As Linux does where memory runs out; one that ends its worker itself is lost."""
    script = tmp_path / "script.py"
    script.write_text(DIES)
    pool = WorkerPool(script, 1, 60)
    try:
        assert pool.ask(["first", "second", "last", "third"]) == [1, 1, LOST, 1]
    finally:
        pool.close()
    assert (tmp_path / "asked").read_text() == "once\n"


def test_workers_that_do_not_start_are_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(math_verify_pool, "WORKER", tmp_path / "missing.py")
    with (
        GradePool(workers=1) as pool,
        pytest.raises(RuntimeError, match="does not start"),
    ):
        pool.grade([(r"\boxed{\sqrt{16}}", "4")])
    with pytest.raises(ValueError, match="workers"):
        GradePool(workers=0)


SCRIPT = f"""
import sys, threading, time
sys.path.insert(0, {str(ROOT)!r})
from scorers.answers.grade import GradePool
pool = GradePool(workers=1, timeout_seconds=1)
print(pool.grade([("\\\\boxed{{\\\\sqrt{{16}}}}", "4")])[0].grade, flush=True)
print(pool._pool.workers._workers[0].process.pid, flush=True)
pool.grade([({TOWER!r}, "5")])
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent(ending: signal.Signals, tmp_path: Path) -> None:
    """The parent is a script from stdin in a foreign folder; it ends while its worker computes."""
    parent = subprocess.Popen(
        [sys.executable, "-"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdin is not None and parent.stdout is not None
    parent.stdin.write(SCRIPT)
    parent.stdin.close()
    assert parent.stdout.readline() == "correct\n"
    worker = int(parent.stdout.readline())
    time.sleep(0.3)
    parent.send_signal(ending)
    parent.wait(30)
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(worker)


def is_running(pid: int) -> bool:
    """Whether the process lives; a zombie that nobody reaps does not count."""
    stat = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(stat.stdout.strip()) and not stat.stdout.strip().startswith("Z")


def test_an_infinite_value_is_near_no_finite_one() -> None:
    assert not _math_verify_worker._is_near(2 * pi * oo, 2 * pi)
    assert _math_verify_worker._is_near(2 * pi * oo, oo)
    assert not _math_verify_worker._is_near(-oo, oo)


def test_each_question_finds_the_verifier_as_the_first_one_did() -> None:
    _math_verify_worker._forget_earlier_questions()
    first = rng.getstate()
    _math_verify_worker._check(r"$\sqrt{2}x+3$", r"$x\sqrt{2}+3$")
    rng.random()
    _math_verify_worker._forget_earlier_questions()
    assert rng.getstate() == first
