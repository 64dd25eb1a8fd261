"""`polytrace evaluate` from its recipe to its files, and what it says of mistakes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from diffusion.evaluation import Evaluation
from flows.evaluating import RECIPES
from schemas.errors import UserError
from schemas.yaml_file import load

ROOT = Path(__file__).resolve().parents[2]


def run(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", "evaluate", *args],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_bundled_model_is_evaluated(tmp_path: Path) -> None:
    done = run("tiny_base", "--set", "limit=4", "--set", "steps=[39]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "results  runs/tiny_base/results.json" in done.stdout
    assert "5 cells x 4 problems" in done.stderr
    results = json.loads((tmp_path / "runs/tiny_base/results.json").read_text())
    by_name = {one["system"]: one for one in results}
    assert by_name["AR order"]["arness"] == 1.0
    assert by_name["Random"]["arness"] < 0.5
    assert by_name["Fast-dLLM"]["steps"] is None
    assert all(one["count"] == 4 for one in results)


def test_mistakes_end_with_2_and_no_traceback(tmp_path: Path) -> None:
    for change, says in (
        ("systems.0.rule.kind=ar_ordre", "did you mean 'ar_order'"),
        ("systems.3.rule.blok=4", "unknown option of 'blockwise'"),
        ("systems.0.model.path=nowhere", "nowhere"),
        ("benchmark.kind=gsm9k", "choices: gpqa, gsm8k, math500, tiny"),
        ("benchmark.path=none.jsonl", "no such file"),
    ):
        done = run("tiny_base", "--set", "limit=2", "--set", change, cwd=tmp_path)
        assert done.returncode == 2, (change, done.stderr)
        assert says in done.stderr
        assert "Traceback" not in done.stderr


def test_an_unknown_field_of_a_system_is_named() -> None:
    with pytest.raises(UserError, match=r"systems\.1\.ruel: unknown field; did you mean 'rule'"):
        load(RECIPES / "tiny_base.yaml", ["systems.1.ruel=x"], Evaluation)
