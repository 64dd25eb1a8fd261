"""Rounds, a budget and a judge in one recipe: nothing is paid twice, and the bytes stay."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curation.pipeline import run_build
from curation.release.verify import find_problems
from curation.sampling import journal
from schemas.manifest import MANIFEST_FILE, Manifest
from schemas.recipe import Recipe
from support.errors import ShortError
from tests.builds import contents
from tests.curation.test_budget import PROMPTS, recipe, sampled
from tests.forked import begin
from tests.servers.batches import BatchServer
from tests.servers.loopback import Behaviour, Loopback

ROUNDS: dict[str, Any] = {"per_round": 2, "most": 8, "until": {"correct": [2, None], "give_up": 4}}
BATCHES = {"kind": "openai_batch", "in_flight": 2000}
SCRIPT = (("is 17", "VERDICT: CORRECT"), ("TRACE", "VERDICT: INCORRECT"))
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def teacher() -> Iterator[Loopback]:
    behaviour = Behaviour(latency_s=0.004, jitter_s=0.01, length_share=0.15, duplicate_share=0.1)
    with Loopback(behaviour) as server:
        yield server


@pytest.fixture(scope="module")
def judge() -> Iterator[Loopback]:
    with Loopback(Behaviour(script=SCRIPT, latency_s=0.002)) as server:
        yield server


@pytest.fixture(params=["math", "judge"])
def grader(request: pytest.FixtureRequest, judge: Loopback) -> dict[str, Any]:
    if request.param == "math":
        return {"kind": "math"}
    served = {"kind": "openai_server", "model": "loop", "endpoints": judge.url, "in_flight": 8}
    template = "[{trace}] TRACE {gold}\nEnd in VERDICT: CORRECT or VERDICT: INCORRECT."
    return {"kind": "judge", "teacher": served, "prompt": template}


def in_rounds(
    server: Loopback | BatchServer, folder: Path, grader: dict[str, Any], **more: Any
) -> Recipe:
    groups = {"min_correct": 2}
    return recipe(server, folder, samples=ROUNDS, groups=groups, grader=grader, **more)


def replies(run: Path) -> list[str]:
    files = sorted((run / "graded" / "replies").glob("*.jsonl"))
    return [t.key for file in files for t in journal.read(file).traces if t.prompt_id]


def assert_same(run: Path, whole: Path) -> None:
    """The same corpus; no sample and no verdict was asked for twice; the columns are true."""
    assert find_problems(run) == []
    assert contents(run / "release") == contents(whole / "release")
    keys = [trace.key for trace in sampled(run)]
    assert sorted(keys) == sorted({*keys}) == sorted(trace.key for trace in sampled(whole))
    assert len(replies(run)) == len({*replies(run)}) == len(replies(whole))
    manifest = Manifest.load(run / MANIFEST_FILE)
    assert manifest.prompts.in_ == PROMPTS
    assert manifest.prompts.released + manifest.prompts.rejected == PROMPTS
    assert manifest.traces.in_ == len(keys)
    drawn: Counter[str] = Counter(trace.prompt_id for trace in sampled(run))
    rows = [
        row
        for path in run.glob("release/data/*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    assert rows
    for row in rows:
        assert row["samples_drawn"] == drawn[row["id"]] <= ROUNDS["most"]
        assert row["first_round_drawn"] == 2
        assert row["stop_reason"] in ("group_stands", "most_reached", "given_up")
        assert row["samples_correct"] >= row["correct_paths"] >= 2
        assert row["pass_rate"] == pytest.approx(row["samples_correct"] / row["samples_drawn"])


def test_budget_after_budget(teacher: Loopback, grader: dict[str, Any], tmp_path: Path) -> None:
    run_build(in_rounds(teacher, tmp_path, grader), tmp_path / "whole")
    for tokens in (0, 2_000, 9_000):
        limited = in_rounds(teacher, tmp_path, grader, budget={"tokens": tokens})
        with pytest.raises(ShortError, match="the budget is spent"):
            run_build(limited, tmp_path / "run")
    run_build(in_rounds(teacher, tmp_path, grader), tmp_path / "run")
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_kill_after_kill(teacher: Loopback, grader: dict[str, Any], tmp_path: Path) -> None:
    chosen = in_rounds(teacher, tmp_path, grader)
    run_build(chosen, tmp_path / "whole")
    run = tmp_path / "run"
    for count in (5, 40, 90):
        child = begin(run_build, chosen, run)
        while child.is_alive() and len(sampled(run)) < count:
            time.sleep(0.02)
        child.kill()
        child.join()
    run_build(chosen, run)
    assert find_problems(run) == []
    assert contents(run / "release") == contents(tmp_path / "whole" / "release")
    journaled = [trace.key for trace in sampled(run)]
    assert len(journaled) == len({*journaled})


def test_rounds_are_batches(tmp_path: Path) -> None:
    """Each round of all prompts is a batch of its own, and none is sent twice."""
    (folder := tmp_path / "server").mkdir()
    with BatchServer(folder) as server:
        chosen = in_rounds(server, tmp_path, {"kind": "math"}, teacher=BATCHES)
        run_build(chosen, tmp_path / "run")
        sizes = [batch.total for batch in server.batches]
    keys = [trace.key for trace in sampled(tmp_path / "run")]
    assert sum(sizes) == len(keys) == len({*keys})
    assert sizes[0] == 2 * PROMPTS and len(sizes) <= 4
    assert find_problems(tmp_path / "run") == []
