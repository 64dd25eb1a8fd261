"""A build that grades programs, hostile ones among them."""

import json
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from curation.release.verify import find_problems
from curation.run_store import shards
from schemas import arrow
from schemas.records import Grade, GradedTrace, Stage
from support.errors import UserError
from support.paths import ROOT
from support.sandbox import Isolation, SandboxError, isolation
from tests.builds import make

HOSTILE = {
    "forks": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "disk": "for k in range(10 ** 9): open(str(k), 'w').write('x' * 10 ** 7)",
    "socket": "import socket\nsocket.create_connection(('127.0.0.1', 80), 1)",
    "loop": "while True: pass",
    "memory": "x = bytearray(10 << 30)",
    "environment": "print(open('/proc/1/environ').read())",
    "parent": "import os\nos.kill(os.getppid(), 9)\nos.kill(0, 9)",
    "print": "while True: print('x' * 10 ** 7)",
    "exit": "import sys\nsys.exit(0)",
    "forged": "import os\nfor fd in range(64):\n    try: os.write(fd, b'passed')\n"
    "    except OSError: pass\nos._exit(0)",
    "daemon": "import os, time\nif not os.fork():\n    os.setsid()\n"
    "    if not os.fork(): time.sleep(99)\n    os._exit(0)",
    "segfault": "import ctypes\nctypes.string_at(0)",
    "recursion": "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(n): return f(n + 1) + 1\nf(0)",
}
RIGHT = ("return a + b", "return sum((a, b))", "total = a\n    total += b\n    return total")


@pytest.mark.slow
def test_hostile_programs_are_not_right_and_the_build_goes_on(tmp_path: Path) -> None:
    try:
        isolation.find(allow_weak=False)
    except SandboxError as error:
        pytest.skip(f"no sandbox: {error}")
    texts = [f"def add(a, b):\n    {body}" for body in RIGHT]
    # What is hostile when it is loaded, and what is hostile when it is called.
    texts += list(HOSTILE.values())
    texts += [
        "def add(a, b):\n" + "\n".join(f"    {line}" for line in text.splitlines())
        for text in HOSTILE.values()
    ]
    row = {
        "problem": "Write add(a, b).",
        "tests": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"],
        "traces": [f"```python\n{text}\n```" for text in texts],
    }
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps(row) + "\n")
    before = set(psutil.Process().children(recursive=True))
    run = tmp_path / "run"
    make(
        run,
        "code_recorded",
        f"source.path={rows}",
        "source.columns={prompt: problem, tests: tests}",
        "source.traces={column: traces}",
        "grader.timeout_seconds=1",
        "groups.similarity=1",
    )
    assert not list(find_problems(run))
    graded = list(arrow.records(GradedTrace, shards.read(run, Stage.GRADED, 0)))
    assert len(graded) == len(texts)
    right = {one.answer for one in graded if one.grade is Grade.CORRECT}
    assert right == set(texts[:3])
    left = set(psutil.Process().children(recursive=True)) - before
    assert not [one for one in left if "sandbox" in " ".join(_command(one))]


def test_a_recipe_that_allows_a_weak_sandbox_builds_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Isolation("user namespaces", ("/bin/false",))
    monkeypatch.setattr(isolation, "candidates", lambda: iter([broken]))
    rows = ROOT / "docs" / "graders" / "code.jsonl"
    settings = (
        f"source.path={rows}",
        "source.columns={prompt: problem, gold: program, tests: tests}",
        "source.traces={column: traces}",
        "paths=2",
    )
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"grader\.kind: code needs .*allow_weak_sandbox=true"):
        make(run, "code_recorded", *settings, limit=2)
    assert not run.exists(), "it is refused before any work"
    outcome = make(run, "code_recorded", *settings, "grader.allow_weak_sandbox=true", limit=2)
    assert any("weak sandbox" in note and "files of this user" in note for note in outcome.said)
    assert not list(find_problems(run))
    graded = list(arrow.records(GradedTrace, shards.read(run, Stage.GRADED, 0)))
    verdicts = [Grade.CORRECT, Grade.CORRECT, Grade.WRONG]
    assert [one.grade for one in graded] == 2 * verdicts
    assert outcome.canvases == 2


def _command(process: psutil.Process) -> list[str]:
    """Its words; none where it has ended."""
    try:
        words: list[str] = process.cmdline()
    except psutil.Error:
        words = []
    return words
