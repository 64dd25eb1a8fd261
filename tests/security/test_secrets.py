"""Tracebacks and what is hidden in them."""

import subprocess
import sys
from pathlib import Path

from schemas.paths import ROOT
from schemas.secrets import hidden, of_environment
from tests.security.test_journey import KEY, TOKEN, leaks

FAULTY = """
import sys, flows.cli, schemas.recipe
from flows.conducting import prefect
from pathlib import Path
def fail(*arguments):
    raise RuntimeError("refused: Bearer " + __import__("os").environ["LOOP_KEY"])
schemas.recipe.load = fail
sys.argv = ["polytrace", "build", "demo"]
try:
    with prefect(Path(".")):
        fail()
except Exception as error:
    assert "internal fault" in str(error)
flows.cli.main()
"""


def test_a_traceback_holds_no_secret(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTY],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "LOOP_KEY": KEY, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    (tmp_path / "said").write_text(done.stdout + done.stderr)
    (log,) = tmp_path.glob("polytrace-*.log")
    for file in (log, tmp_path / "polytrace.log"):
        assert "refused: Bearer ***" in file.read_text()
    assert leaks(tmp_path, KEY) == []


def test_what_counts_as_a_secret() -> None:
    variables = {
        "HF_TOKEN": TOKEN,
        "OPENAI_API_KEY": KEY,
        "KEY": "EMPTY",
        "TOKENIZERS_PARALLELISM": "false-false",
        "DB_PASSWORD": " hunter2hunter2\n",
        "PATH": "/usr/bin:/bin",
    }
    assert of_environment(variables) == (TOKEN, KEY, "hunter2hunter2")
    assert hidden("nothing", [None, ""]) == "nothing"
    assert hidden(f"a {KEY}b", [KEY]) == "a ***b"
