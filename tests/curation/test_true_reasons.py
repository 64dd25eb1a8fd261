"""What is said of a prompt is true: why it got no more samples, and why a run ended."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curation.canvases.rules import STOPS
from curation.estimate import estimate_build
from curation.pipeline import run_build
from curation.teachers.openai.batch import known
from schemas import arrow
from schemas.recipe import Recipe, validate_recipe
from schemas.records import Rejection, StopReason
from support.errors import ShortError, UserError
from tests.builds import contents
from tests.curation.test_budget import PATHS, PROMPTS, recipe, sampled
from tests.servers.batches import BatchServer
from tests.servers.loopback import Behaviour, Loopback

ROUNDS: dict[str, Any] = {"per_round": 2, "most": 8, "until": {"correct": [1, 2], "give_up": 4}}


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(Behaviour()) as started:
        yield started


def local(folder: Path, **more: Any) -> Recipe:
    """The bundled teacher, a few prompts in a batch."""
    columns = {"prompt": "question", "gold": "answer"}
    given = {
        "name": "local",
        "shard_rows": 4,
        "source": {"kind": "jsonl", "path": "tiny/prompts/demo.jsonl", "columns": columns},
        "teacher": {
            "kind": "transformers_local",
            "path": "tiny/teacher",
            "batch_prompts": 3,
            "max_tokens": 72,
        },
        "canvas": {"slot_tokens": 48, "summary_tokens": 12, "tokenizer": "tiny/teacher"},
        "scorer": None,
    }
    return validate_recipe(given | more, "r.yaml")


def recorded(folder: Path, groups: Sequence[int], **more: Any) -> Recipe:
    """A recipe of recorded traces; `groups` has how many each prompt has. One in two is right."""
    texts = [f"{n} and {n * n} make {n + 7}. The answer is {2 + n % 2}" for n in range(9)]
    rows = [
        {"prompt": f"{n} + 1?", "gold": "2", "traces": texts[:count]}
        for n, count in enumerate(groups)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    traces = {"column": "traces"}
    given = {
        "name": "recorded",
        "source": {"kind": "jsonl", "path": str(folder / "rows.jsonl"), "traces": traces},
        "teacher": {"kind": "recorded"},
        "canvas": {"slot_tokens": 400, "summary_tokens": 60, "tokenizer": "tiny/teacher"},
        "groups": {"similarity": 0.999},
        "scorer": None,
    }
    return validate_recipe(given | more, "r.yaml")


def topped_up(server: Loopback, **options: Any) -> dict[str, Any]:
    served = {"kind": "openai_server", "model": "loop", "endpoints": server.url, "seeds": True}
    return {"kind": "recorded", "top_up": served | options}


def rows(run: Path) -> list[dict[str, Any]]:
    files = sorted(run.glob("release/data/*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def rejected_prompts(run: Path) -> list[Rejection]:
    files = sorted(run.glob("rejected/*.parquet"))
    all_of_them = (one for file in files for one in arrow.records(Rejection, pq.read_table(file)))
    return [one for one in all_of_them if one.index is None]


def as_before_any_shard_was_closed(run: Path) -> None:
    for path in (run / "traces").iterdir():
        if path.suffix == ".done":
            path.rename(path.with_suffix(""))
        else:
            path.unlink()


def test_a_prompt_without_a_recorded_trace_was_not_graded_again(tmp_path: Path) -> None:
    built = recorded(tmp_path, [0, 1, 4], samples={"per_round": 1, "most": 6})
    run_build(built, tmp_path / "run")
    said = [one.detail for one in rejected_prompts(tmp_path / "run")]
    ends = {detail.rpartition("why no more: ")[2] for detail in said}
    assert len(said) == 2 and ends == {STOPS[StopReason.RECORDED]}
    assert [row["stop_reason"] for row in rows(tmp_path / "run")] == ["recorded"]


def test_a_refused_top_up_is_named(server: Loopback, tmp_path: Path) -> None:
    server.set(Behaviour(refuse_substring="1 + 1?"))
    samples = {"per_round": 2, "most": 8, "until": {"distinct": 5}}
    built = recorded(tmp_path, [4, 4], samples=samples, teacher=topped_up(server))
    run_build(built, tmp_path / "run")
    reasons = {row["prompt"]: row["stop_reason"] for row in rows(tmp_path / "run")}
    assert reasons == {"0 + 1?": "group_stands", "1 + 1?": "refused"}


def test_recorded_traces_of_the_same_model_are_no_answers_of_the_server(
    server: Loopback, tmp_path: Path
) -> None:
    """A server that takes no request shows a mistake in the recipe, whoever wrote the record."""
    server.set(Behaviour(refuse_substring="+ 1?"))
    built = recorded(tmp_path, [1, 1, 1], teacher=topped_up(server))
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    for line in lines:
        line["traces"] = [{"text": text, "model": "loop"} for text in line["traces"]]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = built.source[0].model_dump() | {
        "traces": {"column": "traces", "text": "text", "model": "model"}
    }
    built = validate_recipe(built.model_dump() | {"source": source}, "r.yaml")
    with pytest.raises(UserError, match="the server has taken no request"):
        run_build(built, tmp_path / "run")


@pytest.mark.slow
def test_a_spent_budget_finishes_a_local_run_in_rounds_that_lacks_nothing(tmp_path: Path) -> None:
    run_build(local(tmp_path, samples=ROUNDS), tmp_path / "run", 6)
    whole, samples = contents(tmp_path / "run" / "release"), len(sampled(tmp_path / "run"))
    as_before_any_shard_was_closed(tmp_path / "run")
    run_build(local(tmp_path, samples=ROUNDS, budget={"tokens": 1}), tmp_path / "run", 6)
    assert contents(tmp_path / "run" / "release") == whole
    assert len(sampled(tmp_path / "run")) == samples
    more = {**ROUNDS, "until": {"distinct": 5, "correct": [1, 2]}}
    with pytest.raises(ShortError, match="the budget is spent"):
        run_build(local(tmp_path, samples=more, budget={"tokens": 1}), tmp_path / "run", 6)
    assert len(sampled(tmp_path / "run")) == samples


def test_a_spent_budget_submits_no_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what waits for a batch nor what failed in one is sent."""
    monkeypatch.setattr(known, "POLL_SECONDS", (0.01, 0.02))
    (tmp_path / "server").mkdir()
    with BatchServer(tmp_path / "server") as batches:
        for number in range(4):
            batches.faults[f"What is {number} +"] = 1
        teacher = {"kind": "openai_batch", "in_flight": 16}
        with pytest.raises(ShortError, match="the budget is spent"):
            run_build(recipe(batches, tmp_path, teacher, budget={"tokens": 1}), tmp_path / "run")
        # Four batches of 4 samples, and the rest of the last prompt, were on the way at first.
        assert sum(batch.total for batch in batches.batches) == 18
        run_build(recipe(batches, tmp_path, teacher), tmp_path / "run")
    keys = [trace.key for trace in sampled(tmp_path / "run")]
    assert len(keys) == len({*keys}) == PATHS * PROMPTS


def test_the_record_needs_no_budget(server: Loopback, tmp_path: Path) -> None:
    """Recorded groups that lack nothing are released, though nothing may be bought."""
    built = recorded(tmp_path, [4, 5], teacher=topped_up(server), budget={"tokens": 0})
    run_build(built, tmp_path / "run")
    assert len(rows(tmp_path / "run")) == 2 and server.served() == []
    shutil.rmtree(tmp_path / "run")
    built = recorded(tmp_path, [4, 1], teacher=topped_up(server), budget={"tokens": 0})
    with pytest.raises(ShortError, match="the budget is spent"):
        run_build(built, tmp_path / "run")
    assert server.served() == []


def test_tokens_that_nobody_counted_are_said(server: Loopback, tmp_path: Path) -> None:
    """The server tells one sum for all samples of a request."""
    price = {"prompt": 1, "completion": 2}
    counted = run_build(recipe(server, tmp_path, price=price), tmp_path / "counted").spent
    teacher = {"requests": "group"}
    spent = run_build(recipe(server, tmp_path, teacher, price=price), tmp_path / "run").spent
    assert counted is not None and spent is not None
    assert (counted.uncounted, spent.uncounted) == (0, PATHS * PROMPTS)
    tried = estimate_build(recipe(server, tmp_path, teacher, price=price))
    assert tried.uncounted == PATHS * 20
    assert f"the server told none of {PATHS * 20} samples" in tried.text()
    assert "told none" not in estimate_build(recipe(server, tmp_path, price=price)).text()


def test_a_budget_that_ends_within_a_round_closes_no_prompt(
    server: Loopback, tmp_path: Path
) -> None:
    """Half of a round would be another number of samples than without a budget."""
    server.set(Behaviour(duplicate_share=0.4))
    samples = {"per_round": 2, "most": 8, "until": {"distinct": 3}}
    run_build(recipe(server, tmp_path, samples=samples), tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    as_before_any_shard_was_closed(tmp_path / "run")
    lost = 0
    for path in (tmp_path / "run" / "traces").glob("*.jsonl"):
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if b'"index":3' not in line]
        path.write_bytes(b"".join(kept))
        lost += len(lines) - len(kept)
    assert lost > 5
    with pytest.raises(ShortError, match="the budget is spent"):
        run_build(recipe(server, tmp_path, samples=samples, budget={"tokens": 1}), tmp_path / "run")
    run_build(recipe(server, tmp_path, samples=samples), tmp_path / "run")
    assert contents(tmp_path / "run" / "release") == contents(tmp_path / "whole" / "release")
