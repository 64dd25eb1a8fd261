"""`benchmarks.miniature` says which of its models is missing, and measures nothing."""

import json
from pathlib import Path

import pytest

from benchmarks import lines, miniature


def test_a_missing_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(miniature, "ROOT", tmp_path)
    monkeypatch.setattr(miniature, "MODELS", tmp_path / "tiny")
    monkeypatch.setattr(lines, "RESULTS", tmp_path / "results")
    (tmp_path / "tiny" / "base").mkdir(parents=True)
    miniature.main()
    said = (tmp_path / "results" / "miniature.jsonl").read_text().splitlines()[1:]
    assert len(said) == 2 * len(miniature.ways())
    assert {json.loads(line)["reason"] for line in said} == {"tiny holds no model nap"}
