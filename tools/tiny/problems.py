"""Grade-school word problems by the million: text, gold answer, several solutions, and a split.

`python -m tools.tiny.problems --split test --count 400 --out problems.jsonl` writes prompts that
any `jsonl` source reads (`question`, `answer`). Problem `i` of a seed and split depends on nothing
else, so a stream can be entered anywhere. A problem belongs to one split by a hash of its family
and numbers: no wording of a test problem is ever a training problem.
"""

import argparse
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import Literal

from tools.tiny.families import FAMILIES

Split = Literal["train", "test"]
TEST_SHARE = 10  # one problem in ten is kept for testing


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A word problem, its integer answer, and its solutions (each ends in "The answer is N.")."""

    family: str
    question: str
    answer: int
    solutions: tuple[str, ...]
    split: Split


def draw(rng: Random) -> Problem:
    """One problem of a uniformly drawn family, in whichever split its numbers fall."""
    name = rng.choice(sorted(FAMILIES))
    draft = FAMILIES[name](rng)
    key = f"{name} {' '.join(map(str, draft.numbers))}".encode()
    bucket = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") % TEST_SHARE
    return Problem(
        family=name,
        question=draft.question,
        answer=draft.answer,
        solutions=tuple("\n".join((*way, f"The answer is {draft.answer}.")) for way in draft.ways),
        split="test" if bucket == 0 else "train",
    )


def stream(seed: int, split: Split, start: int = 0) -> Iterator[Problem]:
    """An endless stream of problems of `split`; item `i` is the same whatever `start` is."""
    for i in count(start):
        rng = Random(f"{seed} {split} {i}")
        problem = draw(rng)
        while problem.split != split:
            problem = draw(rng)
        yield problem


def distinct(seed: int, split: Split) -> Iterator[Problem]:
    """The problems of the stream whose questions differ."""
    seen: set[str] = set()
    for problem in stream(seed, split):
        if problem.question not in seen:
            seen.add(problem.question)
            yield problem


def unlike(problems: Iterator[Problem], file: Path) -> Iterator[Problem]:
    """Those that are in no wording among the problems of a file that `main` wrote."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    known = {_numbers(row["family"], row["question"]) for row in rows}
    return (p for p in problems if _numbers(p.family, p.question) not in known)


def _numbers(family: str, question: str) -> tuple[str, ...]:
    return (family, *sorted(re.findall(r"\d+", question)))


def main() -> None:
    """Write problems as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=("train", "test"), default="test")
    parser.add_argument("--count", type=int, default=400, help="distinct problems to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without", type=Path, help="problems of this file stay out, reworded too")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with args.out.open("w", encoding="utf-8", newline="\n") as out:
        problems = distinct(args.seed, args.split)
        if args.without:
            problems = unlike(problems, args.without)
        for problem in islice(problems, args.count):
            row = {
                "question": problem.question,
                "answer": str(problem.answer),
                "family": problem.family,
            }
            out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
