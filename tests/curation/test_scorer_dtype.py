"""`scorer.dtype`: a build computes in it as `polytrace score --dtype` does, and scores anew."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from curation.pipeline import run_build
from curation.seqdep_report.kept_scores import read_scores
from schemas.recipe import validate_recipe
from tests.flows.commands import polytrace

PROMPTS = 4


def build(run: Path, rows: Path, **scorer: object) -> dict[str, float]:
    """Nats a token at step level of every canvas, by its long-CoT form."""
    recipe = {
        "name": "small",
        "source": {"kind": "jsonl", "path": str(rows), "traces": {"column": "traces"}},
        "teacher": {"kind": "recorded"},
        "groups": {"similarity": 0.999},
        "scorer": {"path": "tiny/teacher", "controls": 0, **scorer},
        "release": {"validation": 0},
    }
    run_build(validate_recipe(recipe, "r.yaml"), run)
    (file,) = run.glob("release/data/*.parquet")
    released = pq.read_table(file).to_pylist()
    return {row["long_cot"]: row["seqdep_step_nats_per_token"] for row in released}


def test_a_build_computes_as_the_recipe_says(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    with rows.open("w") as file:
        for n in range(PROMPTS):
            ways = (f"{n} and 1.\nSo {n + 1}.", f"1 + {n} = {n + 1}.", f"Count on:\n{n}, {n + 1}.")
            traces = [f"{way}\nThe answer is {n + 1}" for way in ways]
            row = {"prompt": f"What is {n} + 1?", "gold": f"{n + 1}", "traces": traces}
            file.write(json.dumps(row) + "\n")
    run, out = tmp_path / "run", tmp_path / "scores.jsonl"
    single = build(run, rows)
    half = build(run, rows, dtype="bfloat16")  # the same run: it is scored anew
    assert len(half) == PROMPTS and half.keys() == single.keys()
    assert 1e-5 < max(abs(half[text] - single[text]) for text in half) < 0.05
    asked = ("--model", "tiny/teacher", "--dtype", "bfloat16", "--text-column", "long_cot")
    done = polytrace("score", *asked, "--input", str(run), "--out", str(out), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    scored = [row.step.nats_per_token for row in read_scores(out) if row.step]
    assert scored == list(half.values())
