"""Builds with a served teacher: what the command says and returns, and kill -9 at any instant."""

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curation.release.verify import find_problems
from curation.sampling import journal
from schemas.recipe import load_recipe
from support.files import sha256
from tests.builds import sample
from tests.flows.commands import polytrace
from tests.forked import begin
from tests.servers.loopback import Behaviour, Loopback

RECIPE = """
name: served
paths: 3
shard_rows: 40
source: {{kind: jsonl, path: {prompts}, columns: {{prompt: question, gold: answer}}, license: mit}}
teacher:
  kind: openai_server
  model: loop
  endpoints: {url}
  prompt: "{{problem}} [gold 17]"
  seeds: true
  in_flight: 16
  patience_seconds: 3
groups: {{min_correct: 0}}
canvas: {{slot_tokens: 400, summary_tokens: 400}}
scorer: null
"""


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as server:
        yield server


def write_recipe(folder: Path, url: str, prompts: int = 60, more: str = "") -> Path:
    rows = [{"question": f"What is {n} + {n * n}?", "answer": "17"} for n in range(prompts)]
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    path = folder / "served.yaml"
    path.write_text(RECIPE.format(prompts=folder / "prompts.jsonl", url=url) + more)
    return path


def test_a_build_that_loses_its_server_ends_short_and_the_same_command_goes_on(
    tmp_path: Path, server: Loopback, prefect_api: str
) -> None:
    summary = 'summary: {by: teacher, prompt: "{answer} {paths} [gold 17]"}\n'
    recipe = write_recipe(tmp_path, server.url, more=summary)
    args = ("build", str(recipe), "--out", "run", "--json")
    server.set(Behaviour(die_substring="What is 50 +", latency_s=0.02))
    short = polytrace(*args, cwd=tmp_path, PREFECT_API_URL=prefect_api)
    assert short.returncode == 3 and short.stdout == ""
    assert "is gone after 3 s" in short.stderr and "run the same command again" in short.stderr
    kept = journal_keys(tmp_path / "run")
    assert kept and not (tmp_path / "run" / "release").exists()
    server.restart(Behaviour(length_share=0.1))
    server.forget()
    done = polytrace(*args, cwd=tmp_path, PREFECT_API_URL=prefect_api)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["prompts"] == {"in": 60, "released": 60, "rejected": 0}
    assert said["traces"]["in"] == said["traces"]["kept"] + said["traces"]["rejected"] > 180
    assert find_problems(tmp_path / "run") == []
    released = [
        row
        for path in (tmp_path / "run/release/data").glob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    by = Counter(row["summary_by"] for row in released)
    assert by["loop"] > 20 and by["template"] > 0  # the server's answer is 17 most of the time
    assert all(row["summary"].rstrip(".").endswith("17") for row in released)
    assert "gpu" not in (tmp_path / "run/release/README.md").read_text()
    assert server.url not in (tmp_path / "run/release/README.md").read_text()
    server.forget()
    again = polytrace(*args, "--set", "teacher.endpoints=http://127.0.0.1:9/v1", cwd=tmp_path)
    assert again.returncode == 0 and json.loads(again.stdout)["canvases"] == 60
    assert server.served() == []


def test_mistakes_end_with_2_and_say_what_to_do(
    tmp_path: Path, server: Loopback, prefect_api: str
) -> None:
    recipe = write_recipe(tmp_path, server.url, prompts=4)
    wrong = polytrace(
        *("build", str(recipe), "--set", "teacher.model=other"),
        cwd=tmp_path,
        PREFECT_API_URL=prefect_api,
    )
    assert wrong.returncode == 2
    assert "teacher.model: " in wrong.stderr and "serves 'loop', not 'other'" in wrong.stderr
    none = polytrace("build", str(recipe), "--set", "teacher.endpoints=[]", cwd=tmp_path)
    assert none.returncode == 2 and "teacher.endpoints: none" in none.stderr


def journal_keys(run: Path) -> set[str]:
    paths = (run / "traces").glob("*.jsonl*")
    return {trace.key for path in paths for trace in journal.read(path).traces}


@pytest.mark.slow
def test_kill_9_at_random_instants_buys_nothing_twice(tmp_path: Path, server: Loopback) -> None:
    server.set(Behaviour(latency_s=0.05, jitter_s=0.1, length_share=0.1, duplicate_share=0.05))
    recipe = write_recipe(tmp_path, server.url, prompts=300)
    sample(load_recipe(recipe), tmp_path / "whole")
    server.forget()
    draw = random.Random(7)
    kills: list[float] = []
    for _ in range(10):
        committed = journal_keys(tmp_path / "run")
        before = len(server.served())
        process = begin(sample, load_recipe(recipe), tmp_path / "run")
        while len(server.served()) == before and process.is_alive():
            time.sleep(0.01)
        time.sleep(draw.uniform(0.05, 1.2))
        if not process.is_alive():
            break
        process.kill()
        process.join()
        kills.append(time.monotonic())
        assert committed <= journal_keys(tmp_path / "run")
    assert len(kills) >= 3
    sample(load_recipe(recipe), tmp_path / "run")
    served = server.served()
    times = Counter(one.digest for one in served)
    for digest, count in times.items():  # asked again only what no kill left time to commit
        answered = [one for one in served if one.digest == digest and one.status == 200]
        for one in answered[:-1]:  # under way at a kill, or ended within two seconds before it
            assert one.ended is not None
            assert count > 1 and any(one.arrived <= kill < one.ended + 2.0 for kill in kills)
    for whole in sorted((tmp_path / "whole/traces").glob("*.parquet")):
        mended = tmp_path / "run" / "traces" / whole.name
        assert sha256(mended) == sha256(whole)
