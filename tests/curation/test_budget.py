"""A budget ends sampling cleanly: nothing more is asked for, all is kept, and it goes on."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from curation.estimate import estimate_build
from curation.inspect.query import Query
from curation.inspect.rejections import find_rejections
from curation.pipeline import run_build
from curation.release.reader import ReleaseReader
from curation.release.statistics import read_stats
from curation.release.verify import find_problems
from curation.sampling import journal
from curation.sampling.spending import Allowance, Tokens, begin_anew, tokens_of_run
from schemas.budget import Budget
from schemas.manifest import MANIFEST_FILE, Manifest
from schemas.recipe import Recipe, validate_recipe
from schemas.records import Trace
from support.errors import ShortError, UserError
from tests.builds import contents
from tests.forked import begin
from tests.servers.batches import BatchServer
from tests.servers.loopback import Behaviour, Loopback

PROMPTS, PATHS, IN_FLIGHT = 40, 3, 8


@pytest.fixture(scope="module")
def loopback() -> Iterator[Loopback]:
    with Loopback() as server:
        yield server


@pytest.fixture
def server(loopback: Loopback) -> Loopback:
    """Some texts are cut off or equal, so that spare samples are asked for."""
    loopback.set(Behaviour(latency_s=0.004, length_share=0.15, duplicate_share=0.1))
    loopback.forget()
    return loopback


def recipe(
    server: Loopback | BatchServer,
    folder: Path,
    teacher: dict[str, Any] | None = None,
    **more: Any,
) -> Recipe:
    file = folder / "prompts.jsonl"
    rows = [{"prompt": f"What is {n} + {n * n}?", "gold": "17"} for n in range(PROMPTS)]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n")
    served = {
        "kind": "openai_server",
        "model": "loop",
        "endpoints": server.url,
        "prompt": "{problem} [gold 17]",
        "seeds": True,
        "in_flight": IN_FLIGHT,
        "patience_seconds": 5,
    }
    given = {
        "name": "paid",
        "paths": PATHS,
        "shard_rows": 9,
        "source": {"kind": "jsonl", "path": str(file), "license": "mit"},
        "teacher": served | (teacher or {}),
        "groups": {"min_correct": 0},
        "canvas": {"slot_tokens": 400, "summary_tokens": 60, "tokenizer": "tiny/teacher"},
        "scorer": None,
    }
    return validate_recipe({**given, **more}, "r.yaml")


def sampled(run: Path) -> list[Trace]:
    paths = [p for stage in ("traces", "summaries") for p in (run / stage).glob("*.jsonl*")]
    return [trace for path in paths for trace in journal.read(path).traces]


def written(trace: Trace) -> int:
    """Of a reply to several samples the server tells one sum: then it is the most there can be."""
    return trace.completion_tokens or trace.max_tokens or 0


def tokens(traces: list[Trace]) -> Tokens:
    return Tokens(sum(trace.prompt_tokens or 0 for trace in traces), sum(map(written, traces)))


def goes_on(server: Loopback, folder: Path, limits: list[dict[str, Any]], **more: Any) -> None:
    """Build with one budget after another, then with none: the same bytes as in one go."""
    price = {"prompt": 2.0, "completion": 8.0, "currency": "USD"}
    run_build(recipe(server, folder, **more), folder / "whole")
    server.forget()
    for limit in limits:
        before = tokens_of_run(folder / "run")
        built = recipe(server, folder, price=price, budget=limit, **more)
        try:
            run_build(built, folder / "run")
        except ShortError as error:
            said = str(error)
            assert "the budget is spent (budget." in said and "everything that came is kept" in said
            assert said.endswith("run the same command with a larger budget to go on")
        have = sampled(folder / "run")
        most = max(map(written, have), default=0)
        read = max((trace.prompt_tokens or 0 for trace in have), default=0)
        over = IN_FLIGHT + PATHS - 1  # samples: the last request may be for several
        spent = tokens_of_run(folder / "run")
        assert spent == tokens(have)
        if "tokens" in limit:
            assert spent.completion <= max(before.completion, limit["tokens"] + over * most)
        if "money" in limit:
            extra = (read * price["prompt"] + most * price["completion"]) / 1e6  # type: ignore[operator]
            assert built.price is not None
            paid, allowed = built.price.of(*spent), limit["money"] + over * extra
            assert paid <= max(built.price.of(*before), allowed)
    run_build(recipe(server, folder, **more), folder / "run")
    assert contents(folder / "run" / "release") == contents(folder / "whole" / "release")
    again = sorted(trace.key for trace in sampled(folder / "run"))
    assert again == sorted({*again}) == sorted(trace.key for trace in sampled(folder / "whole"))


SEEDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 6))]


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)  # tests/soak/test_sampling.py draws budgets at length
def test_a_larger_budget_goes_on_and_makes_the_same_bytes(
    server: Loopback, tmp_path: Path, seed: int
) -> None:
    draw = Random(seed)
    kinds: list[dict[str, Any]] = [
        {"tokens": draw.randrange(16_000)},
        {"money": draw.random() / 8},
        {"hours": draw.random() / 10_000},
    ]
    limits = [draw.choice(kinds), {"tokens": draw.randrange(16_000)}, *draw.sample(kinds, 2)]
    more: dict[str, Any] = {"teacher": {"requests": draw.choice(["single", "group"])}}
    if draw.random() < 0.5:
        more["summary"] = {"by": "teacher", "prompt": "{answer} {paths} [gold 17]"}
    goes_on(server, tmp_path, limits, **more)


@pytest.mark.slow
def test_a_budget_ends_a_local_teacher_between_two_batches(
    server: Loopback, tmp_path: Path
) -> None:
    local = {"kind": "transformers_local", "path": "tiny/teacher", "batch_prompts": 4}
    source = {"kind": "jsonl", "path": str(tmp_path / "prompts.jsonl"), "license": "mit"}
    more = {"source": source, "teacher": local | {"max_tokens": 24}}

    def built(**limits: Any) -> Recipe:
        served = recipe(server, tmp_path)
        return validate_recipe({**served.model_dump(), **more, **limits}, "r.yaml")

    run_build(built(), tmp_path / "whole")
    with pytest.raises(ShortError, match=r"budget\.tokens: \d+ of 500 tokens"):
        run_build(built(budget={"tokens": 500}), tmp_path / "run")
    assert 500 <= tokens_of_run(tmp_path / "run").completion <= 500 + 4 * PATHS * 24
    run_build(built(), tmp_path / "run")
    assert contents(tmp_path / "run" / "release") == contents(tmp_path / "whole" / "release")


@pytest.mark.slow
def test_kills_while_a_budget_is_spent_lose_nothing(server: Loopback, tmp_path: Path) -> None:
    run_build(recipe(server, tmp_path), tmp_path / "whole")
    paid = recipe(server, tmp_path, budget={"tokens": 9_000})
    draw = Random(1)
    for _ in range(4):
        process = begin(run_build, paid, tmp_path / "run")
        while process.is_alive() and not list((tmp_path / "run").glob("traces/*.jsonl")):
            time.sleep(0.01)
        time.sleep(draw.random() / 2)
        process.kill()
        process.join()
    with pytest.raises(ShortError, match="the budget is spent"):
        run_build(paid, tmp_path / "run")
    have = sampled(tmp_path / "run")
    assert tokens(have).completion <= 9_000 + IN_FLIGHT * max(map(written, have))
    run_build(recipe(server, tmp_path), tmp_path / "run")
    assert contents(tmp_path / "run" / "release") == contents(tmp_path / "whole" / "release")


def test_refused_summaries_are_counted_by_their_reasons(server: Loopback, tmp_path: Path) -> None:
    summary = {"by": "teacher", "attempts": 1, "prompt": "{answer} {paths} [gold 17]"}
    run = tmp_path / "run"
    run_build(recipe(server, tmp_path, summary=summary), run)
    manifest = Manifest.load(run / MANIFEST_FILE)
    refused = {one.reason: one.count for one in manifest.rejected if one.kind == "summary"}
    assert refused["summary_truncated"] > 0 and refused["summary_without_answer"] > 0
    stats = read_stats(run / "release" / "stats.json")
    assert sum(refused.values()) == stats.rows - stats.written_summaries
    assert find_problems(run) == []
    query = Query(reason="summary_truncated", limit=1)
    (shown,), found = find_rejections(ReleaseReader(run), query)
    assert found == refused["summary_truncated"]
    assert shown.prompt and shown.text is None and shown.rejection.detail.startswith("cut at ")


@pytest.mark.parametrize("limit", [{"tokens": 0}, {"hours": 0}, {"tokens": 10**9, "money": 0}])
def test_a_budget_of_nothing_asks_nothing_and_says_so(
    server: Loopback, tmp_path: Path, limit: dict[str, float]
) -> None:
    built = recipe(server, tmp_path, budget=limit, price={"prompt": 1, "completion": 2})
    with pytest.raises(ShortError, match="the budget is spent") as caught:
        run_build(built, tmp_path / "run")
    assert caught.value.exit_code == 3 and server.served() == []
    assert not list((tmp_path / "run" / "rejected").glob("*.parquet")), "nothing was rejected"


def test_the_hours_are_those_of_all_processes_of_a_build(tmp_path: Path) -> None:
    def process() -> Allowance:  # as each worker of a cluster makes its own
        one = Allowance(Budget(hours=1), None, Tokens(), run=tmp_path)
        one.look()
        return one

    assert not process().is_spent
    (record,) = (tmp_path / "traces").iterdir()
    hour_ago = record.stat().st_mtime - 3601
    os.utime(record, (hour_ago, hour_ago))
    late = process()
    assert late.is_spent and "1.00 of 1 hours" in late.sentence()
    begin_anew(tmp_path)  # the next command
    assert not process().is_spent


def test_samples_of_former_settings_were_paid_for(server: Loopback, tmp_path: Path) -> None:
    run_build(recipe(server, tmp_path), tmp_path / "run")
    paid = tokens_of_run(tmp_path / "run")
    server.forget()
    other = recipe(server, tmp_path, {"top_p": 0.5}, budget={"tokens": paid.completion})
    with pytest.raises(ShortError, match=rf"{paid.completion:,} of {paid.completion:,} tokens"):
        run_build(other, tmp_path / "run")
    assert server.served() == []


def test_a_spent_budget_finishes_what_lacks_nothing(server: Loopback, tmp_path: Path) -> None:
    run_build(recipe(server, tmp_path), tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    for path in (tmp_path / "run" / "traces").iterdir():
        if path.suffix == ".done":
            path.rename(path.with_suffix(""))
        else:
            path.unlink()  # as after a kill before any shard was closed
    server.forget()
    run_build(recipe(server, tmp_path, budget={"tokens": 1}), tmp_path / "run")
    assert server.served() == []
    assert contents(tmp_path / "run" / "release") == contents(tmp_path / "whole" / "release")


def test_mistakes_name_the_field(server: Loopback, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"budget\.money: needs price\.prompt"):
        recipe(server, tmp_path, budget={"money": 5})
    with pytest.raises(UserError, match=r"price\.prompt"):
        recipe(server, tmp_path, price={"completion": 5})
    with pytest.raises(UserError, match=r"budget\.tokens"):
        recipe(server, tmp_path, budget={"tokens": -1})


def test_price_and_budget_shape_no_byte(server: Loopback, tmp_path: Path) -> None:
    plain = recipe(server, tmp_path)
    limited = recipe(
        server, tmp_path, price={"prompt": 1, "completion": 2}, budget={"hours": 5, "money": 1}
    )
    assert limited.digest() == plain.digest() and limited.shaping() == plain.shaping()


@pytest.mark.slow
def test_the_estimate_and_the_build_agree_on_the_money(server: Loopback, tmp_path: Path) -> None:
    price = {"prompt": 1000, "completion": 3000, "currency": "EUR"}
    built = recipe(server, tmp_path, price=price, budget={"tokens": 8_000, "hours": 1})
    tried = estimate_build(built)
    money, out = tried.money, tried.teacher_tokens
    assert money is not None and money.low < money.value < money.high
    assert out.low < out.value < out.high
    assert tried.paid_prompts == int(PROMPTS * 8_000 / out.value)
    assert f"pays for about {tried.paid_prompts} of {PROMPTS} prompts" in tried.text()
    assert built.price is not None
    assert f"{built.price.amount(money.value)} (95 %: " in tried.text()
    said = json.loads(tried.json())
    assert said["currency"] == "EUR" and said["paid_prompts"] == tried.paid_prompts
    assert said["money_interval"] == [round(money.low, 6), round(money.high, 6)]
    spent = run_build(recipe(server, tmp_path, price=price), tmp_path / "run").spent
    assert spent is not None and spent.money is not None
    assert (spent.prompt_tokens, spent.completion_tokens) == tokens_of_run(tmp_path / "run")
    assert spent.money == (spent.prompt_tokens * 1000 + spent.completion_tokens * 3000) / 1e6
    assert abs(spent.money - money.value) < 0.2 * spent.money
    again = run_build(recipe(server, tmp_path, price=price), tmp_path / "run")
    assert again.reused and again.spent == spent
    assert run_build(recipe(server, tmp_path), tmp_path / "run").spent is None


def test_recorded_traces_cost_nothing(tmp_path: Path) -> None:
    texts = [f"First {n}, then {n} again. The answer is 2" for n in range(3)]
    row = {"prompt": "1 + 1?", "gold": "2", "generations": texts}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    given = {
        "name": "free",
        "source": {
            "kind": "jsonl",
            "path": str(tmp_path / "rows.jsonl"),
            "license": "mit",
            "traces": {"column": "generations"},
        },
        "teacher": {"kind": "recorded"},
        "canvas": {"slot_tokens": 99, "summary_tokens": 9, "tokenizer": "tiny/teacher"},
        "scorer": None,
        "price": {"prompt": 1, "completion": 1},
        "budget": {"tokens": 0},
    }
    made = run_build(validate_recipe(given, "r.yaml"), tmp_path / "run")
    assert made.traces.in_ == 3 and made.spent is not None and made.spent.money == 0
