"""Labelled real answers: (text, gold, what its source says of it), for the tests of grading."""

import json
from pathlib import Path
from typing import Any

import pytest


def rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def gsm8k_samples(shared_data: Path) -> list[tuple[str, str, bool]]:
    """The samples of four models on GSM8K's test prompts."""
    return [
        (sample["solution"], row["ground_truth"].rsplit("A: ", 1)[1], sample["is_correct"])
        for row in rows(shared_data / "gsm8k" / "example_model_solutions.jsonl")
        for sample in row.values()
        if isinstance(sample, dict)
    ]


@pytest.fixture(scope="session")
def recorded_traces(shared_data: Path) -> list[tuple[str, str, bool]]:
    """Traces of three sources, one of them base-model runs."""
    return [
        (trace["text"], row["gold"], trace["correct"])
        for row in rows(shared_data / "traces" / "recorded_traces.jsonl")
        for trace in row["traces"]
    ]


@pytest.fixture(scope="session")
def grader_pairs(shared_data: Path) -> list[tuple[str, str, bool | None]]:
    """Predictions out of other graders' tests, without duplicates."""
    return [
        (row["pred"] or "", row["gold"], row["expected"])
        for row in rows(shared_data / "grader_pairs" / "pairs.jsonl")
        if row["duplicate_of"] is None
    ]
