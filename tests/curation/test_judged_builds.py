"""Whole builds whose traces a judge grades: counts hold, and no verdict is paid for twice."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from curation import estimate
from curation.pipeline import run_build
from curation.release.token_usage import count_judge_usage
from curation.release.verify import find_problems
from curation.sampling import journal
from schemas.manifest import MANIFEST_FILE, Manifest
from schemas.recipe import Recipe, load_recipe
from schemas.records import Trace
from support.errors import ShortError, UserError
from support.paths import ROOT
from tests.builds import RECIPES, contents, rejected
from tests.forked import begin
from tests.servers.loopback import Behaviour, Loopback

KEY = "judge-key-77ad02c4"
SCRIPT = (
    ("(right)", "The same city.\nVERDICT: CORRECT"),
    ("(wrong)", "Another city.\nVERDICT: INCORRECT"),
    ("(vague)", "VERDICT: UNCLEAR"),
)
WAYS = (
    "I looked it up in an old atlas, page by page, and found it at last",
    "My grandmother lived there for years and told us every summer",
    "Rivers, hills and an iron tower leave only one place on the map",
)
PROMPTS, TRACES = 12, 36


@pytest.fixture(scope="module")
def loopback() -> Iterator[Loopback]:
    with Loopback() as started:
        yield started


@pytest.fixture
def server(loopback: Loopback) -> Loopback:
    if not loopback.is_alive:
        loopback.restart()
    loopback.set(Behaviour(script=SCRIPT))
    loopback.forget()
    return loopback


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve prompts with three traces each; the judge is sure of two thirds of the prompts."""
    path = tmp_path_factory.mktemp("rows") / "cities.jsonl"
    verdicts = (
        ("(right)", "(right)", "(vague)"),
        ("(right)", "(wrong)", "(wrong)"),
        ("(wrong)",) * 3,
    )
    with path.open("w") as file:
        for n in range(PROMPTS):
            traces = [
                f"{way}, so it is city {n}, surely {said}"
                for way, said in zip(WAYS, verdicts[n % 3], strict=True)
            ]
            row = {"problem": f"Which city has number {n}, and why?", "gold": f"city {n}"}
            file.write(json.dumps({**row, "traces": traces}) + "\n")
    return path


def chosen(rows: Path, server: Loopback, *overrides: str, **teacher: Any) -> Recipe:
    below = {"kind": "openai_server", "endpoints": server.url, "model": "loop", "in_flight": 8}
    grader = {"kind": "judge", "teacher": below | teacher}
    settings = (
        *("decontaminate=[]", "scorer=null", "canvas.slot_tokens=200", "source.columns=null"),
        *(f"source.path={rows}", "source.traces={column: traces}", "shard_rows=5"),
    )
    return load_recipe(
        RECIPES / "recorded_traces.yaml", (*settings, f"grader={json.dumps(grader)}", *overrides)
    )


def kept_traces(run: Path) -> list[Trace]:
    """The replies, without the sign that the server has answered."""
    files = sorted((run / "graded" / "replies").glob("*.jsonl"))
    return [t for file in files for t in journal.read(file).traces if t.prompt_id]


def replies(run: Path) -> list[str]:
    """Their keys."""
    return [reply.key for reply in kept_traces(run)]


def assert_judged(run: Path) -> Manifest:
    """Whether every count holds, and every verdict is the judge's."""
    assert find_problems(run) == []
    manifest = Manifest.load(run / MANIFEST_FILE)
    assert manifest.prompts.in_ == PROMPTS and manifest.traces.in_ == TRACES
    grades: Counter[str] = Counter()
    for path in (run / "graded").glob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            said = row["trace"]["text"].rpartition(" ")[2]
            assert (said, row["grade"]) in {
                *(("(right)", "correct"), ("(wrong)", "wrong"), ("(vague)", "unparsed"))
            }
            grades[row["grade"]] += 1
    assert grades == {"correct": 12, "wrong": 20, "unparsed": 4}
    assert manifest.prompts.released == 8
    assert rejected(run)["prompt", "too_few_correct"] == 4
    return manifest


def test_a_judged_corpus(server: Loopback, rows: Path, tmp_path: Path) -> None:
    outcome = run_build(chosen(rows, server), tmp_path / "run")
    assert_judged(tmp_path / "run")
    assert len(server.served()) == TRACES == len(replies(tmp_path / "run"))
    usage = count_judge_usage(tmp_path / "run")
    assert usage.replies == TRACES
    assert any(
        sentence.startswith(f"The judge (loop) has read {usage.read:,} tokens and written")
        for sentence in outcome.said
    )
    card = (tmp_path / "run" / "release" / "README.md").read_text()
    assert "asked (grader `judge`);" in card and "- **Judge**: loop," in card
    assert (
        "127.0.0.1" not in card and "math-verify" not in card.split("```")[0].split("## Limits")[0]
    )
    release = contents(tmp_path / "run" / "release")
    again = run_build(chosen(rows, server), tmp_path / "run")
    assert again.reused
    run_build(chosen(rows, server), tmp_path / "other")
    assert contents(tmp_path / "other" / "release") == release, "same replies, same bytes"
    assert len(server.served()) == 2 * TRACES


def test_rules_come_first_and_the_judge_gets_the_rest(
    server: Loopback, rows: Path, tmp_path: Path
) -> None:
    plain = [json.loads(line) for line in rows.read_text().splitlines()]
    for row in plain[::2]:
        n = row["gold"].split()[1]
        row |= {"gold": n, "traces": [f"{way}. The answer is {n}." for way in WAYS]}
    for row in plain[1::2]:  # no value that a rule could read
        row["traces"] = [f"{way} because\n(right)" for way in WAYS]
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text("".join(json.dumps(row) + "\n" for row in plain))
    recipe = chosen(mixed, server)
    both = {"kind": "first_of", "graders": [{"kind": "math"}, recipe.grader.model_dump()]}
    run_build(chosen(mixed, server, f"grader={json.dumps(both)}"), tmp_path / "run")
    manifest = Manifest.load(tmp_path / "run" / MANIFEST_FILE)
    assert manifest.check() == [] and manifest.traces.in_ == TRACES
    undecided = [t for row in plain[1::2] for t in row["traces"]]
    assert len(server.served()) == len(undecided) == 18
    card = (tmp_path / "run" / "release" / "README.md").read_text()
    assert "(grader `first_of`): `math`, `judge`;" in card


def test_a_judge_that_is_not_there_shows_before_any_work(
    server: Loopback, rows: Path, tmp_path: Path
) -> None:
    recipe = chosen(rows, server, patience_seconds=1)
    server.kill()
    with pytest.raises(ShortError, match=r"^grader\.teacher\.endpoints: .* cannot be reached"):
        run_build(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "prompts").exists()
    with pytest.raises(ShortError, match=r"^grader\.teacher\.endpoints: .* cannot be reached"):
        estimate.estimate_build(recipe)
    server.restart()
    run_build(recipe, tmp_path / "run")
    server.kill()
    (tmp_path / "run" / "graded" / "00000.json").unlink()
    assert run_build(recipe, tmp_path / "run").canvases == 8, "all replies are there"


def test_a_judge_that_dies_ends_short_and_the_same_build_goes_on(
    server: Loopback, rows: Path, tmp_path: Path
) -> None:
    recipe = chosen(rows, server, patience_seconds=0.5)
    server.set(
        Behaviour(
            script=SCRIPT,
            die_substring="told us every summer, so it is city 7",
        )
    )
    with pytest.raises(ShortError, match="everything that came is kept"):
        run_build(recipe, tmp_path / "run")
    kept = replies(tmp_path / "run")
    assert 15 <= len(kept) < TRACES
    answered = sum(one.status == 200 for one in server.served())
    server.restart(Behaviour(script=SCRIPT))
    server.forget()
    run_build(recipe, tmp_path / "run")
    assert_judged(tmp_path / "run")
    assert len(server.served()) == TRACES - len(kept) and len(kept) == answered


def test_a_build_that_is_killed_pays_for_no_kept_verdict_again(
    server: Loopback, rows: Path, tmp_path: Path
) -> None:
    run, recipe = tmp_path / "run", chosen(rows, server, in_flight=2)
    server.set(Behaviour(script=SCRIPT, latency_s=0.05))
    build = begin(run_build, recipe, run)
    while len(replies(run)) < 10 and build.is_alive():
        time.sleep(0.02)
    build.kill()
    build.join()
    kept = replies(run)
    assert 10 <= len(kept) < TRACES
    server.forget()
    server.set(Behaviour(script=SCRIPT))
    run_build(recipe, run)
    assert_judged(run)
    assert len(server.served()) == TRACES - len(kept)
    assert len(replies(run)) == len(set(replies(run))) == TRACES


def test_a_key_reaches_no_file_of_a_build(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JUDGE_KEY", f"{KEY}-wrong")
    with Loopback(Behaviour(script=SCRIPT), require_key=KEY) as server:
        recipe = chosen(rows, server, api_key_env="JUDGE_KEY")
        with pytest.raises(UserError, match=r"grader\.teacher\.api_key_env") as caught:
            run_build(recipe, tmp_path / "run")
        monkeypatch.setenv("JUDGE_KEY", KEY)
        run_build(recipe, tmp_path / "run")
    assert KEY not in f"{caught.value}{capfd.readouterr()}"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20 and not [p for p in files if KEY.encode() in p.read_bytes()]


def test_an_estimate_counts_the_judges_tokens(server: Loopback, rows: Path, tmp_path: Path) -> None:
    many = tmp_path / "many.jsonl"
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    with many.open("w") as file:
        for copy in range(4):
            for row in lines:
                traces = [f"Try {copy}. {text}" for text in row["traces"]]
                file.write(
                    json.dumps({**row, "problem": f"{copy}: {row['problem']}", "traces": traces})
                    + "\n"
                )
    prices = "price={prompt: 0, completion: 0, judge: {prompt: 2, completion: 500}}"
    recipe = chosen(many, server, prices)
    found = estimate.estimate_build(recipe)
    outcome = run_build(recipe, tmp_path / "run")
    assert outcome.spent is not None and outcome.spent.money is not None
    written = outcome.spent.judge_completion_tokens
    tokens, money = found.judge_tokens, found.money
    assert found.replies == 60 and tokens.low <= written <= tokens.high
    assert len(found.judged_T) == 20 and all(one.completion > 0 for one in found.judged_T)
    assert money is not None and money.low <= outcome.spent.money <= money.high
    assert f"judge tokens     {tokens.value:,.0f} (95 %: " in found.text()
    assert "for 144 replies of loop\n" in found.text()
    facts = json.loads(found.json())
    assert facts["judge_tokens"] == round(tokens.value)
    assert facts["money"] == round(money.value, 6) > 0
    unpriced = estimate.estimate_build(chosen(many, server, "price={prompt: 1, completion: 1}"))
    assert "not in the money, because price.judge is not set" in unpriced.text()


@pytest.mark.parametrize("limit", [{"tokens": 60}, {"money": 0.03}])
def test_a_budget_ends_a_judge_and_a_larger_one_goes_on(
    server: Loopback, rows: Path, tmp_path: Path, limit: dict[str, float]
) -> None:
    run, in_flight = tmp_path / "run", 4
    prices = "price={prompt: 1, completion: 1, judge: {prompt: 0, completion: 500}}"
    server.set(Behaviour(script=SCRIPT, latency_s=0.01))

    def with_budget(budget: dict[str, float]) -> Recipe:
        return chosen(rows, server, prices, f"budget={json.dumps(budget)}", in_flight=in_flight)

    (name,) = limit
    with pytest.raises(ShortError, match=rf"^the budget is spent \(budget\.{name}: "):
        run_build(with_budget(limit), run)
    kept = replies(run)
    written = [t.completion_tokens or 0 for t in kept_traces(run)]
    share = 1 if name == "tokens" else 2000
    spent = sum(written) / share
    assert limit[name] <= spent <= limit[name] + in_flight * max(written) / share
    assert 0 < len(kept) == sum(one.status == 200 for one in server.served()) < TRACES
    with pytest.raises(ShortError, match="the budget is spent"):
        run_build(with_budget(limit), run)
    assert replies(run) == kept, "what is spent is not spent again"
    outcome = run_build(with_budget({name: 1e9 if name == "money" else 10**9}), run)
    assert_judged(run)
    assert len(server.served()) == TRACES == len(replies(run))
    assert outcome.spent is not None
    assert outcome.spent.completion_tokens == 0, "recorded traces cost nothing"
    assert outcome.spent.judge_completion_tokens == count_judge_usage(run).written
    assert outcome.spent.money == pytest.approx(count_judge_usage(run).written * 500 / 1e6)


def test_a_budget_of_money_needs_the_price_of_the_judge(
    server: Loopback, rows: Path, tmp_path: Path
) -> None:
    recipe = chosen(rows, server, "price={prompt: 1, completion: 1}", "budget={money: 1}")
    with pytest.raises(UserError, match=r"price\.judge\.prompt and price\.judge\.completion"):
        run_build(recipe, tmp_path / "run")
    assert not server.served()


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def test_the_recipe_of_the_page_builds_and_its_judge_is_measured(
    server: Loopback,
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (ROOT / "docs" / "judge.md").read_text(encoding="utf-8")
    recipe, first_of = blocks(page, "yaml")
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "cities.jsonl").open("w") as file:
        for line in rows.read_text().splitlines()[:10]:
            row = json.loads(line)
            row["traces"] = [{"text": t, "correct": "(right)" in t} for t in row["traces"]]
            file.write(json.dumps(row) + "\n")
    here = (f"grader.teacher.endpoints={server.url}", "grader.teacher.model=loop")
    (tmp_path / "recipe.yaml").write_text(recipe)
    labelled = load_recipe(tmp_path / "recipe.yaml", (*here, "source.traces.correct=correct"))
    assert len(recipe.splitlines()) <= 10
    outcome = run_build(load_recipe(tmp_path / "recipe.yaml", here), tmp_path / "runs" / "plain")
    assert (outcome.prompts.in_, outcome.canvases) == (10, 7)
    run_build(labelled, tmp_path / "runs" / "cities")
    capsys.readouterr()
    (code,) = blocks(page, "python")
    exec(code, {})
    printed = [re.findall(r"\w+", line) for line in capsys.readouterr().out.splitlines()]
    assert [line for line in printed if line[:1] in (["false"], ["true"])] == [
        ["false", "unparsed", "4"],
        ["false", "wrong", "15"],
        ["true", "correct", "11"],
    ]
    second = yaml.safe_load(first_of)["grader"]["graders"][1]
    assert second == yaml.safe_load(recipe)["grader"]
