"""The ways of `benchmarks.real_scoring` with the bundled scorer: they compute what they say."""

import json
from pathlib import Path

import pytest

from benchmarks import lines, real_scoring
from benchmarks.real_scoring import SETTINGS, Corpus, Counted
from schemas.canvas import long_cot
from scorers.seqdep.loader import load_scorer
from scorers.seqdep.measurement import ScoredInstance, measure
from support.paths import ROOT
from tools import real_model

PATHS = ("3 + 4 = 7.\nSo it is 7.", "4 + 3 = 7.", "Three and four.\nThe sum is 7.")


@pytest.fixture(scope="module")
def counted() -> Counted:
    return Counted(load_scorer(str(ROOT / "tiny" / "teacher")))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    canvas = ScoredInstance(
        prompt="What is 3 + 4?",
        text=long_cot(PATHS, "The answer is 7."),
        paths=PATHS,
        summary="The answer is 7.",
    )
    return Corpus([canvas] * 9, [ScoredInstance(prompt="What is 3 + 4?", text=PATHS[2])] * 9)


def test_separate_rows_give_the_gains_of_packed_ones(counted: Counted, corpus: Corpus) -> None:
    items = corpus.first(1)
    gains: list[float] = []
    for one in measure(counted.scorer, items, SETTINGS):
        gains += [*(one.path.gains if one.path else ()), *(one.step.gains if one.step else ())]
    separately = real_scoring.separate(counted.scorer, items)
    assert gains and all(any(abs(a - b) < 1e-4 for b in separately) for a in gains)


def test_the_forward_pass_holds_as_many_tokens_without_padding(
    counted: Counted, corpus: Corpus
) -> None:
    passes = real_scoring.forward_passes(counted.scorer, corpus, 300)
    assert all(len({len(row.ids_T) for row in one}) == 1 for one in passes)
    tokens = sum(len(row.ids_T) for one in passes for row in one)
    assert 300 <= tokens == counted.of(lambda: real_scoring.plain_forward(counted.scorer, passes))
    longest = max(len(row.ids_T) for one in passes for row in one)
    assert tokens <= 300 + 2 * longest
    scored = sum(len(one) for one in real_scoring.plain_forward(counted.scorer, passes))
    assert scored == sum(len(row.ids_T) - row.first for one in passes for row in one)


def test_all_lines_have_values(counted: Counted, corpus: Corpus) -> None:
    found = list(
        real_scoring.lines(
            {"float32": counted, "bfloat16": counted}, corpus, documents=1, compared=2
        )
    )
    assert all(line.value is not None for line in found)
    errors = [line for line in found if "error" in line.name]
    assert len(errors) == 6 and all(line.value == 0 for line in errors)
    assert {line.name for line in found} == {line.name for line in real_scoring._absent("none")}


def test_without_the_model_a_sentence_says_how_to_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lines, "RESULTS", tmp_path)
    monkeypatch.setattr(real_scoring, "is_made", lambda: False)
    monkeypatch.setattr("sys.argv", ["real_scoring"])
    real_scoring.main()
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {one["reason"] for one in printed} == {real_model.MISSING}
    assert (tmp_path / "real_scoring.jsonl").is_file()
