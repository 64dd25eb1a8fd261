"""The generator: right solutions, many families, a clean split, and the committed prompts."""

import json
import re
from itertools import islice
from random import Random

import pytest

from support.paths import ROOT
from tools.tiny.families import FAMILIES
from tools.tiny.problems import Split, distinct, draw, stream, unlike

NUMBER = r"\d+(?:\.\d+)?"
SIDE = rf"(?:{NUMBER} [-+*/] )*(?:{NUMBER}|\({NUMBER} [-+*/] {NUMBER}\))"
CHAIN = re.compile(rf"{SIDE}(?: = {SIDE})+")


def test_families_and_ways() -> None:
    assert len(FAMILIES) >= 12
    for name, family in FAMILIES.items():
        rng = Random(name)
        for _ in range(50):
            draft = family(rng)
            assert draft.answer > 0
            assert len(set(draft.ways)) >= 4, name


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_equation_in_every_solution_holds(split: Split) -> None:
    checked = 0
    for problem in islice(stream(7, split), 2000):
        for solution in problem.solutions:
            assert solution.endswith(f"\nThe answer is {problem.answer}.")
            for line in solution.splitlines():
                for chain in CHAIN.findall(line):
                    values = [eval(side) for side in chain.split(" = ")]
                    assert max(values) == pytest.approx(min(values)), (problem.family, line)
                    checked += 1
    assert checked > 10_000


def test_splits_share_no_problem() -> None:
    train = {p.question for p in islice(stream(0, "train"), 20_000)}
    assert not train & {p.question for p in islice(stream(0, "test"), 5_000)}


def test_the_stream_can_be_entered_anywhere() -> None:
    whole = list(islice(stream(3, "train"), 30))
    assert list(islice(stream(3, "train", start=20), 10)) == whole[20:]
    assert draw(Random(1)) == draw(Random(1))


PROMPTS = ROOT / "tiny" / "prompts"


def test_the_committed_test_problems_are_others_than_the_demos() -> None:
    rows, demo = (
        [json.loads(line) for line in (PROMPTS / name).read_text().splitlines()]
        for name in ("test.jsonl", "demo.jsonl")
    )
    assert len({row["question"] for row in rows}) == len(rows) == 1319
    made = islice(unlike(distinct(2, "test"), PROMPTS / "demo.jsonl"), len(rows))
    assert [row["question"] for row in rows] == [problem.question for problem in made]

    def numbers(row: dict[str, str]) -> tuple[str, ...]:
        return (row["family"], *sorted(re.findall(r"\d+", row["question"])))

    assert not {numbers(row) for row in rows} & {numbers(row) for row in demo}


def test_the_committed_prompts_are_the_generators() -> None:
    rows = [json.loads(line) for line in (PROMPTS / "demo.jsonl").read_text().splitlines()]
    made = list(islice(distinct(1, "test"), len(rows)))
    assert [r["question"] for r in rows] == [p.question for p in made]
    assert [r["answer"] for r in rows] == [str(p.answer) for p in made]
    assert len({r["question"] for r in rows}) == len(rows) >= 300
