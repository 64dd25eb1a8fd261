"""The multiple-choice set: its questions are sound, its labels true, and the grader agrees."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from curation.graders import Submission
from curation.inspect.terminal_view import facts
from curation.release.rows import read_rows
from curation.release.verify import find_problems
from curation.sources import Row, Source
from schemas.manifest import Manifest
from schemas.records import FinishReason, Grade, Prompt, Trace
from support import plugins
from support.paths import ROOT
from tests.builds import make
from tools.tiny.choice_families import FAMILIES
from tools.tiny.choice_set import FORMS, TRACES, UNREAD, rows

PROMPTS = ROOT / "tiny" / "prompts"
FILES = {"train": (PROMPTS / "choice.jsonl", 144), "test": (PROMPTS / "choice_test.jsonl", 48)}
VERDICTS = {True: Grade.CORRECT, False: Grade.WRONG, None: Grade.UNPARSED}


def committed(split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in FILES[split][0].read_text("utf-8").splitlines()]


@pytest.mark.parametrize("split", FILES)
def test_the_committed_rows_are_the_generators(split: Any) -> None:
    assert committed(split) == list(islice(rows(0, split), FILES[split][1]))


def test_no_held_out_question_is_among_the_others() -> None:
    questions = [
        {(row["question"], *sorted(row["choices"])) for row in committed(s)} for s in FILES
    ]
    assert not questions[0] & questions[1]


def test_a_question_has_four_options_and_ways_of_its_own() -> None:
    for name, family in FAMILIES.items():
        rng = Random(name)
        for _ in range(200):
            one = family(rng)
            options = {one.right, *(option for option, _ in one.slips)}
            assert len(options) == 4 and len(set(one.ways)) == 4, (name, one)


def test_every_form_of_an_answer_and_every_verdict_occurs() -> None:
    traces = [trace for row in committed("train") for trace in row["traces"]]
    assert len(traces) == TRACES * 144
    assert {trace["form"] for trace in traces} == {*FORMS, *UNREAD}
    right = Counter(trace["correct"] for trace in traces)
    assert min(right.values()) > 50
    for row in committed("train"):
        found = Counter(trace["correct"] for trace in row["traces"])
        assert found[True] >= 2 and found[False] >= 1
        assert len({trace["text"] for trace in row["traces"]}) == TRACES


def submissions(row: Row) -> Iterator[Submission]:
    """The traces of a row: with its choices, and with those that its prompt lists."""
    for choices in (row.choices, ()):
        prompt = Prompt(
            id="p",
            text=row.text,
            gold=row.gold,
            source="s",
            row=1,
            license="l",
            choices=choices,
        )
        for index, one in enumerate(row.recorded):
            trace = Trace(
                prompt_id="p",
                index=index,
                key="k",
                text=one.text,
                teacher="t",
                revision="r",
                temperature=None,
                top_p=None,
                max_tokens=None,
                seed=None,
                hint=None,
                finish_reason=FinishReason.STOP,
                prompt_tokens=None,
                completion_tokens=None,
                recorded_correct=one.correct,
            )
            yield Submission(prompt, trace)


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_the_grader_agrees_with_every_label(seed: int | None, tmp_path: Path) -> None:
    path = FILES["train"][0]
    if seed is not None:
        path = tmp_path / "choice.jsonl"
        made = islice(rows(seed, "test"), 100)
        path.write_text("".join(json.dumps(row) + "\n" for row in made))
    options = {
        "path": str(path),
        "columns": {"prompt": "question", "gold": "answer", "choices": "choices"},
        "traces": {"column": "traces", "text": "text", "correct": "correct"},
    }
    source: Source = plugins.build("curation.sources", "jsonl", options, "source")
    given = [one for row in source.rows(traces=True) for one in submissions(row)]
    assert len(given) >= 1200
    found = plugins.build("curation.graders", "choice", {}, "grader").grade(given)
    differing = [
        (one.trace.text, answer.grade)
        for one, answer in zip(given, found, strict=True)
        if answer.grade is not VERDICTS[one.trace.recorded_correct]
    ]
    assert not differing


def corpus_files(run: Path) -> list[Path]:
    return sorted((run / "release" / "data").glob("*.parquet"))


def test_the_bundled_recipe_releases_every_question(tmp_path: Path) -> None:
    outcome = make(tmp_path / "run", "choice_recorded")
    assert outcome.prompts.released == outcome.canvases == 144
    assert outcome.traces.in_ == 144 * TRACES
    released = [row for path in corpus_files(tmp_path / "run") for row in read_rows(path)]
    assert len(released) == 144
    for row in released:
        assert row.summary == f"The answer is {row.gold}"
        assert row.gold[:4] in ("(A) ", "(B) ", "(C) ", "(D) ") and row.gold in row.prompt
    assert find_problems(tmp_path / "run") == []
    named = dict(facts(Manifest.load(tmp_path / "run/manifest.json")))
    assert named["grader"].startswith("choice (")
    card = (tmp_path / "run/release/README.md").read_text("utf-8")
    assert "(grader `choice`)" in card and "math" not in card.partition("## Canvas layout")[0]
