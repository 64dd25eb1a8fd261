"""A build whose teacher is a real language model behind a real vLLM server, and its scorer too."""

import json
from pathlib import Path

import pytest

from benchmarks.real_vllm import OPTIONS
from curation.pipeline import run_build
from curation.run_store import shards
from schemas import arrow
from schemas.recipe import Recipe
from schemas.records import Scores, Stage, Trace
from scorers.revision import directory_revision
from tools.real_model import FOLDER, MISSING, is_made

pytestmark = [pytest.mark.vllm, pytest.mark.skipif(not is_made(), reason=MISSING)]

PROBLEMS = [("What is 2 + 3?", "5"), ("What is 10 - 4?", "6"), ("How many days has a week?", "7")]


def test_a_real_model_writes_and_scores_a_corpus(vllm_python: Path, tmp_path: Path) -> None:
    rows = (json.dumps({"question": q, "answer": a}) + "\n" for q, a in PROBLEMS)
    (tmp_path / "problems.jsonl").write_text("".join(rows))
    recipe = Recipe.model_validate(
        {
            "name": "real_model",
            "paths": 2,
            "groups": {"min_correct": 0},
            "source": {
                "kind": "jsonl",
                "path": str(tmp_path / "problems.jsonl"),
                "columns": {"prompt": "question", "gold": "answer"},
                "license": "cc0-1.0",
            },
            "teacher": {"kind": "openai_server", "model": "smollm2", "max_tokens": 64, "top_up": 2},
            "serve": {"python": str(vllm_python), "model": str(FOLDER), "args": [*OPTIONS]},
            "canvas": {"slot_tokens": 80, "summary_tokens": 16, "tokenizer": str(FOLDER)},
            "scorer": {"path": str(FOLDER), "controls": 0},
        }
    )
    run_build(recipe, tmp_path / "run")
    traces = list(arrow.records(Trace, shards.read(tmp_path / "run", Stage.TRACES, 0)))
    assert len(traces) >= 2 * len(PROBLEMS) and all(one.text.strip() for one in traces)
    assert {one.teacher for one in traces} == {"smollm2"}
    scores = list(arrow.records(Scores, shards.read(tmp_path / "run", Stage.SCORED, 0)))
    assert scores, "none of the simple questions was answered twice"
    for one in scores:
        assert one.path is not None and one.path.nats is not None
        assert one.scorer_revision == directory_revision(FOLDER)
