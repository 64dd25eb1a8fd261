"""`samples` changes between two builds of one run: nothing is drawn twice, and the bytes are those
of a run that had the last recipe from the start."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curation.pipeline import run_build
from curation.release.verify import find_problems
from schemas.recipe import Recipe
from tests.builds import contents
from tests.curation.test_budget import recipe, sampled
from tests.curation.test_true_reasons import local, rejected_prompts, rows
from tests.servers.loopback import Behaviour, Loopback

MIX: dict[str, Any] = {"per_round": 1, "most": 8, "until": {"correct": [1, 2]}}
GIVE_UP: dict[str, Any] = {"per_round": 1, "most": 8, "until": {"correct": [1, 2], "give_up": 2}}


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with Loopback(Behaviour(length_share=0.15, duplicate_share=0.2)) as started:
        yield started


def of(server: Loopback, folder: Path, samples: object, top_up: int = 3, **more: Any) -> Recipe:
    """Some samples are wrong, cut off or alike, so that prompts get different numbers of them."""
    teacher = {"prompt": "{problem} [gold 17]", "top_up": top_up}
    return recipe(server, folder, teacher, samples=samples, **more)


@pytest.mark.parametrize(
    ("before", "last"),
    [
        ([6], GIVE_UP),
        ([6], 3),
        pytest.param([MIX], {"per_round": 2, "most": 4}, marks=pytest.mark.slow),
        # As tests/soak/test_sampling.py draws them at length.
        pytest.param([8, MIX], GIVE_UP, marks=pytest.mark.soak),
        pytest.param([4, {"per_round": 4, "most": 8}], GIVE_UP, marks=pytest.mark.soak),
        pytest.param([{"per_round": 3, "most": 8}], 3, marks=pytest.mark.soak),
    ],
)
def test_the_bytes_are_those_of_the_last_recipe(
    server: Loopback, tmp_path: Path, before: list[Any], last: object
) -> None:
    run_build(of(server, tmp_path, last), tmp_path / "fresh")
    for samples in before:
        run_build(of(server, tmp_path, samples), tmp_path / "run")
    paid = len(sampled(tmp_path / "run"))
    run_build(of(server, tmp_path, last), tmp_path / "run")
    assert contents(tmp_path / "run" / "release") == contents(tmp_path / "fresh" / "release")
    assert find_problems(tmp_path / "run") == []
    keys = [trace.key for trace in sampled(tmp_path / "run")]
    fresh = {trace.key for trace in sampled(tmp_path / "fresh")}
    assert len(keys) == len({*keys}) and fresh <= {*keys}
    reasons = [one.detail for one in rejected_prompts(tmp_path / "run")]
    assert not any("graded_again" in detail for detail in reasons)
    # And back again: all of it is there.
    server.forget()
    run_build(of(server, tmp_path, before[-1]), tmp_path / "run")
    assert paid <= len(sampled(tmp_path / "run")) == len(keys) and server.served() == []


def test_another_grader_asks_no_teacher(server: Loopback, tmp_path: Path) -> None:
    run_build(of(server, tmp_path, GIVE_UP), tmp_path / "run")
    server.forget()
    grader = {"kind": "exact"}
    run_build(of(server, tmp_path, GIVE_UP, grader=grader), tmp_path / "run")
    assert server.served() == [] and find_problems(tmp_path / "run") == []


@pytest.mark.slow
def test_a_local_run_too(tmp_path: Path) -> None:
    run_build(local(tmp_path, samples=GIVE_UP), tmp_path / "fresh", 20)
    run_build(local(tmp_path, samples=6), tmp_path / "run", 20)
    run_build(local(tmp_path, samples=GIVE_UP), tmp_path / "run", 20)
    assert contents(tmp_path / "run" / "release") == contents(tmp_path / "fresh" / "release")
    assert {row["stop_reason"] for row in rows(tmp_path / "run")} <= {"group_stands", "given_up"}
