"""The generator: right solutions, many families, a clean split, and the committed prompts."""

import json
import re
from itertools import islice
from random import Random

import pytest
from transformers import PreTrainedTokenizerFast

from support.paths import ROOT
from tools.tiny.chains import CHAINS, LARGEST
from tools.tiny.families import FAMILIES
from tools.tiny.problems import KINDS, Kind, Split, distinct, draw, stream, unlike

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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_equation_in_every_solution_holds(split: Split, kind: Kind) -> None:
    checked = 0
    for problem in islice(stream(7, split, kind=kind), 2000):
        for solution in problem.solutions:
            assert solution.endswith(f"\nThe answer is {problem.answer}.")
            for line in solution.splitlines():
                for chain in CHAIN.findall(line):
                    values = [eval(side) for side in chain.split(" = ")]
                    assert max(values) == pytest.approx(min(values)), (problem.family, line)
                    checked += 1
    assert checked > 10_000


@pytest.mark.parametrize("kind", KINDS)
def test_splits_share_no_problem(kind: Kind) -> None:
    train = {p.question for p in islice(stream(0, "train", kind=kind), 20_000)}
    assert not train & {p.question for p in islice(stream(0, "test", kind=kind), 5_000)}


@pytest.mark.parametrize("theme", CHAINS)
def test_chains_fill_a_slot_of_the_miniature(theme: str) -> None:
    """Six solutions, no two alike, of 60 to 72 tokens (a few have up to 76 and are not released);
    no number is above 199."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(ROOT / "tiny" / "teacher")
    rng = Random(theme)
    lengths = []
    for _ in range(100):
        draft = CHAINS[theme](rng)
        assert len(set(draft.ways)) == 6, draft.question
        for way in draft.ways:
            text = "\n".join((*way, f"The answer is {draft.answer}."))
            lengths.append(len(tokenizer.encode(text, add_special_tokens=False)))
            assert all(int(n) <= LARGEST for n in re.findall(r"\d+", text)), text
        given = [int(n) for n in re.findall(r"\d+", draft.question)]
        assert len(given) == 5, "a start, a product, two numbers"
    assert min(lengths) >= 52 and max(lengths) <= 76
    assert sum(60 <= n <= 72 for n in lengths) > 0.9 * len(lengths)


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


@pytest.mark.parametrize(
    ("file", "seed", "kind"), [("demo.jsonl", 1, "short"), ("chains_test.jsonl", 13, "chains")]
)
def test_the_committed_prompts_are_the_generators(file: str, seed: int, kind: Kind) -> None:
    rows = [json.loads(line) for line in (PROMPTS / file).read_text().splitlines()]
    made = list(islice(distinct(seed, "test", kind), len(rows)))
    assert [r["question"] for r in rows] == [p.question for p in made]
    assert [r["answer"] for r in rows] == [str(p.answer) for p in made]
    assert len({r["question"] for r in rows}) == len(rows) >= 300
