"""What was sampled for a prompt is told in plain words: in the terminal, on page and card."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curation.canvases.rules import STOPS
from curation.inspect import draws, terminal_view
from curation.inspect.html_report import corpus_page
from curation.release.card import render_card
from curation.release.reader import ReleaseReader
from curation.release.rows import released
from curation.release.statistics import read_stats
from schemas import arrow
from schemas.records import Draws, Released, StopReason
from schemas.samples import Rounds
from support import plugins
from tests.curation import samples


def drawn(number: int, correct: int, reason: StopReason, first: int = 2) -> Draws:
    return Draws(
        drawn=number,
        correct=correct,
        first_round_drawn=first,
        first_round_correct=min(first, 1),
        stop_reason=reason,
    )


def row(of: Draws | None) -> Released:
    return released(replace(samples.canvas(0), draws=of), samples.scores(0))


def test_a_canvas_tells_what_was_drawn_for_its_prompt() -> None:
    text = terminal_view.show(row(drawn(6, 3, StopReason.GROUP_STANDS)), 200).plain
    assert "3 of 6 samples right (pass rate 50%, 95 % interval 19% to 81%)" in text
    assert "; in the first round 1 of 2; why no more: the traces made a group\n" in text
    fixed = terminal_view.show(row(drawn(2, 1, StopReason.FIXED)), 200).plain
    assert "first round" not in fixed and "why no more: the recipe asks for this number" in fixed
    assert "samples right" not in terminal_view.show(row(None), 200).plain


def test_every_reason_and_every_bundled_grader_has_words() -> None:
    assert set(STOPS) == set(StopReason)
    assert set(draws.GRADERS) == set(plugins.kinds("curation.graders"))
    assert draws.grader("number") == "number (compares a number and its unit with the gold)"
    assert draws.grader("somebodys") == "somebodys"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    reasons = (StopReason.GROUP_STANDS, StopReason.GROUP_STANDS, StopReason.MOST_REACHED)
    rows = [
        (replace(canvas, draws=drawn(2 + n, 1 + n % 2, reasons[n % 3])), scores)
        for n, (canvas, scores) in enumerate(samples.corpus(9))
    ]
    samples.write_run(tmp_path / "run", rows)
    return tmp_path / "run"


def test_the_overview_and_the_page_tell_it_of_the_release(run: Path) -> None:
    text = terminal_view.overview(run)
    assert "math (compares mathematical values with the gold)" in text
    assert "median 6, 5-95 %: 2 to 10 for a released prompt" in text
    assert "the traces made a group: 6 prompts; samples.most was reached: 3 prompts" in text
    page = corpus_page(run)
    titles = {one.title for one in page.histograms}
    assert {"Samples drawn for a prompt", "Share of a prompt's samples that are right"} <= titles
    told = dict(page.facts)["why no more"]
    assert told == "the traces made a group: 6 prompts; samples.most was reached: 3 prompts"
    assert all("why no more: " in one.samples for one in page.canvases)


def test_a_release_of_an_earlier_version_is_shown_without_it(run: Path) -> None:
    for path in run.glob("release/data/*.parquet"):
        data = pq.read_table(path)
        pq.write_table(data.select(arrow.WITHOUT_DRAWS.names), path, write_page_checksum=True)
    page = corpus_page(run)
    assert page.histograms and all(one.samples == "" for one in page.canvases)


def test_the_card_of_a_corpus_in_rounds_promises_no_replacements(run: Path) -> None:
    rounds = Rounds.model_validate({"per_round": 2, "most": 10})
    recipe = samples.recipe().model_copy(update={"samples": rounds})
    teacher = {"kind": "openai_server", "model": "m", "endpoints": "http://localhost:1/v1"}
    spec = recipe.teacher.model_copy(update={"kind": "openai_server", "options": teacher})
    stats = read_stats(run / "release" / "stats.json")
    manifest = ReleaseReader(run).manifest
    assert manifest is not None
    card = render_card(manifest, recipe.model_copy(update={"teacher": spec}), None, stats)
    assert "sampled in rounds of 2 until its traces made a group, 10 samples at most" in card
    assert "was replaced, up to" not in card
