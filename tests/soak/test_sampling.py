"""Everything of sampling at once, in an order that a seed draws: rounds, budgets, kills, outages.

Whatever happened before, the last recipe in the end gives the bytes of a build that nothing
happened to, and no sample and no verdict was bought twice.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from curation.pipeline import run_build
from curation.release.verify import find_problems
from curation.teachers.openai.batch import known
from schemas.recipe import Recipe
from support.errors import ShortError
from tests.builds import contents
from tests.curation.test_budget import recipe, sampled
from tests.curation.test_together import SCRIPT, replies
from tests.curation.test_true_reasons import rejected_prompts
from tests.forked import begin
from tests.servers.batches import BatchServer
from tests.servers.loopback import Behaviour, Loopback

SEEDS = 12
CALM = Behaviour(length_share=0.15, duplicate_share=0.15, latency_s=0.003, jitter_s=0.004)
SAMPLES: list[Any] = [
    3,
    5,
    {"per_round": 1, "most": 8, "until": {"correct": [1, 2], "give_up": 4}},
    {"per_round": 2, "most": 8, "until": {"correct": [2, None], "give_up": 4}},
    {"per_round": 3, "most": 9},
]
TEACHERS: list[dict[str, Any]] = [
    {},
    {"requests": "group"},
    {"kind": "openai_batch", "in_flight": 80},
]
pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def judge() -> Iterator[Loopback]:
    with Loopback(Behaviour(script=SCRIPT)) as server:
        yield server


def kill(chosen: Recipe, folder: Path, seconds: float) -> None:
    """A build in a process of its own, which is killed after a while."""
    child = begin(run_build, chosen, folder / "run", output=folder / "errors")
    child.join(seconds)
    child.kill()
    child.join()
    assert "Traceback" not in (folder / "errors").read_text()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_happens(
    judge: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(known, "POLL_SECONDS", (0.02, 0.1))
    draw = Random(seed)
    teacher, samples, other = draw.choice(TEACHERS), draw.choice(SAMPLES), draw.choice(SAMPLES)
    if "requests" in teacher:  # a reply to one sample tells its tokens, one to several does not
        other = samples
    served = {"kind": "openai_server", "model": "loop", "endpoints": judge.url, "in_flight": 8}
    template = "[{trace}] TRACE {gold}\nEnd in VERDICT: CORRECT or VERDICT: INCORRECT."
    graders: list[dict[str, Any]] = [
        {"kind": "math"},
        {"kind": "judge", "teacher": served, "prompt": template},
    ]
    grader, price = draw.choice(graders), {"prompt": 2.0, "completion": 8.0}
    judged = {"judge": {"prompt": 0.5, "completion": 1.0}} if grader["kind"] == "judge" else {}
    if judged:  # the card counts all verdicts in the run directory, also those of other samples
        other = samples
    always = {"grader": grader, "price": {**price, **judged}}
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with (
        Loopback(CALM) as server,
        BatchServer(tmp_path / "first") as first,
        BatchServer(tmp_path / "second") as second,
    ):
        first.behaviour = second.behaviour = CALM
        is_batch = "kind" in teacher

        def made(batches: BatchServer, samples: Any = samples, **more: Any) -> Recipe:
            address = batches if is_batch else server
            return recipe(address, tmp_path, teacher, samples=samples, **always, **more)

        run_build(made(first), tmp_path / "whole")
        for _ in range(draw.randrange(2, 6)):
            now = draw.choice([samples, samples, other])
            match draw.choice(["tokens", "money", "hours", "kill", "kill", "outage"]):
                case "kill":
                    kill(made(second, now), tmp_path, 1.5 * draw.random())
                    continue
                case "tokens":
                    more: dict[str, Any] = {"budget": {"tokens": draw.randrange(25_000)}}
                case "money":
                    more = {"budget": {"money": draw.random() / 5}}
                case "hours":
                    more = {"budget": {"hours": draw.random() / 8_000}}
                case _:
                    more = {}
                    server.set(Behaviour(length_share=0.15, duplicate_share=0.15, outage_s=0.3))
            with suppress(ShortError):
                run_build(made(second, now, **more), tmp_path / "run")
            server.set(CALM)
        run_build(made(second), tmp_path / "run")
        assert max(second.asked().values(), default=1) == 1, "a request was submitted twice"
    run = tmp_path / "run"
    assert find_problems(run) == []
    assert contents(run / "release") == contents(tmp_path / "whole" / "release")
    keys, verdicts = [trace.key for trace in sampled(run)], replies(run)
    assert len(keys) == len({*keys}) and len(verdicts) == len({*verdicts})
    said = [f"{one.reason} {one.detail}" for one in rejected_prompts(run)]
    assert not any("graded_again" in text or "budget" in text for text in said)
