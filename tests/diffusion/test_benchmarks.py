"""Benchmarks are read whole, from files and from the hub."""

import json
from pathlib import Path

import pytest

from diffusion.evaluation.benchmarks import Problem
from schemas.records import Grade
from scorers.answers.grade import GradePool
from support import plugins
from support.errors import UserError

GPQA = [
    {
        "Question": f"Which number is {n}?",
        "Correct Answer": str(n),
        **{f"Incorrect Answer {i}": str(100 * i + n) for i in (1, 2, 3)},
    }
    for n in range(40)
]


def load(kind: str, path: object = None) -> list[Problem]:
    options = {} if path is None else {"path": str(path)}
    problems: list[Problem] = plugins.build(
        "diffusion.evaluation.benchmarks", kind, options, "benchmark"
    )
    return problems


@pytest.fixture
def gpqa(tmp_path: Path) -> Path:
    file = tmp_path / "gpqa.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in GPQA))
    return file


def test_gsm8k_and_math500_are_read_whole_and_their_solutions_are_right(
    shared_data: Path,
) -> None:
    gsm8k = load("gsm8k", shared_data / "gsm8k" / "test.jsonl")
    assert len(gsm8k) == len({one.id for one in gsm8k}) == 1319
    assert gsm8k[0].gold == "18"
    assert all(one.gold.lstrip("-").replace(".", "").isdigit() for one in gsm8k)
    math500 = load("math500", shared_data / "math500" / "test.jsonl")
    assert len(math500) == len({one.id for one in math500}) == 500
    rows = (shared_data / "math500" / "test.jsonl").read_text().splitlines()
    pairs = [
        (json.loads(row)["solution"], one.gold)
        for row, one in zip(rows[:40], math500, strict=False)
    ]
    with GradePool(1) as pool:
        grades = [answer.grade for answer in pool.grade(pairs)]
    assert grades.count(Grade.CORRECT) >= 39


def test_gpqas_choices_are_shuffled_the_same_way_each_time(gpqa: Path) -> None:
    problems = load("gpqa", gpqa)
    assert problems == load("gpqa", gpqa)
    assert {one.gold for one in problems} == set("ABCD")
    for row, one in zip(GPQA, problems, strict=True):
        choices = dict(line.split(". ") for line in one.prompt.splitlines()[-4:])
        assert choices[one.gold] == row["Correct Answer"]
        assert sorted(choices.values()) == sorted(v for k, v in row.items() if k != "Question")
    with GradePool(1) as pool:
        texts = [r"So it is \boxed{B}.", "The answer is B.", r"\boxed{C}", "The answer is (B)."]
        grades = [answer.grade for answer in pool.grade([(text, "B") for text in texts])]
    assert [grade is Grade.CORRECT for grade in grades] == [True, True, False, True]


def test_the_tiny_problems_are_bundled() -> None:
    problems = load("tiny")
    assert len(problems) == 1319
    assert all(one.gold.isdigit() for one in problems)


@pytest.mark.slow
def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="choices: gpqa, gsm8k, math500, tiny"):
        load("gsm9k")
    with pytest.raises(UserError, match="no such file"):
        load("gsm8k", tmp_path / "none.jsonl")
    other = tmp_path / "other.jsonl"
    other.write_text('{"question": "What is 1 + 1?", "answer": "2"}\n')
    with pytest.raises(UserError, match="row 1: answer: has no ####"):
        load("gsm8k", other)
    with pytest.raises(UserError, match="row 1: unique_id: no text"):
        load("math500", other)
    other.write_text("{\n")
    with pytest.raises(UserError, match="line 1: no JSON"):
        load("gsm8k", other)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="cannot be loaded from the hub"):
        load("math500")


def test_parquet_files_are_read_like_json_lines(tmp_path: Path) -> None:
    import polars as pl

    rows = [
        {"question": f"What is {n} + 1?", "answer": f"It is. #### {n + 1:,}"} for n in (1, 4999)
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "test.parquet")
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = [load("gsm8k", tmp_path / f"test.{kind}") for kind in ("jsonl", "parquet")]
    assert read[0] == read[1]
    assert [one.gold for one in read[0]] == ["2", "5000"]
