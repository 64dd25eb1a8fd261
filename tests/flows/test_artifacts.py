"""What a build shows in the Prefect UI: a bar that only grows, and tables whose sums hold."""

import itertools
import logging
import time
from pathlib import Path
from threading import Thread
from uuid import UUID, uuid4

import pytest

from curation.inspect import html_report
from curation.inspect.funnel import funnel
from curation.release.token_usage import JudgeUsage, TokenUsage, count_token_usage
from curation.stage_progress import StageProgress
from flows import artifacts, progress
from flows.artifacts import stage_rows, token_rows
from flows.progress import Meter, show_in_ui
from schemas.facts import TokenCounts
from schemas.records import Stage
from tests.curation import samples

STAGES = tuple(stage for stage in Stage if stage is not Stage.SUMMARIES)


class Server:
    """What Prefect would be told; `is_away` for the first calls."""

    def __init__(self, is_away: int = 0) -> None:
        self.told: list[tuple[float, str]] = []
        self.calls, self._is_away = 0, is_away

    def create(self, percent: float, key: str, note: str) -> UUID:
        self._take(percent, note)
        return uuid4()

    def update(self, number: UUID, percent: float, note: str) -> None:
        self._take(percent, note)

    def _take(self, percent: float, note: str) -> None:
        self.calls += 1
        if self.calls <= self._is_away:
            raise ConnectionError("nobody there")
        self.told.append((percent, note))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return running_teacher(monkeypatch, Server())


def running_teacher(monkeypatch: pytest.MonkeyPatch, server: Server) -> Server:
    monkeypatch.setattr(progress, "create_progress_artifact", server.create)
    monkeypatch.setattr(progress, "update_progress_artifact", server.update)
    monkeypatch.setattr(progress, "get_run_logger", lambda: logging.getLogger("run"))
    monkeypatch.setattr(progress, "SECONDS", 0.01)
    return server


@pytest.fixture
def bars() -> StageProgress:
    return StageProgress()


def test_a_meter_is_the_mean_of_the_stages(bars: StageProgress) -> None:
    meter = Meter(STAGES, bars)
    assert meter.percent() == 0
    meter.add(Stage.PROMPTS)
    assert meter.percent() == pytest.approx(100 / 6)
    bars.add(Stage.TRACES, 3, more=12, note="70 tokens/s")
    assert meter.percent() == pytest.approx(125 / 6)
    assert meter.note() == "traces 3 of 12 (70 tokens/s)"
    bars.add(Stage.TRACES, 9)
    bars.end(*Stage)  # what was shown is still known
    assert meter.note() == "traces 12 of 12 (70 tokens/s)"
    for stage in STAGES[1:]:
        for _ in range(3):
            meter.add(stage, 1 / 3)
    assert meter.percent() == pytest.approx(100)


def test_the_artifact_only_grows_and_ends_full(server: Server, bars: StageProgress) -> None:
    meter = Meter(STAGES, bars)

    def work() -> None:
        for stage in STAGES[2:]:
            for _ in range(50):
                meter.add(stage, 1 / 50)
                time.sleep(0.0005)

    with show_in_ui("x-progress", meter):
        bars.add(Stage.TRACES, 10, more=10)
        time.sleep(0.05)
        bars.add(Stage.TRACES, more=90)  # more is wanted than was known
        threads = [Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    percents = [percent for percent, _ in server.told]
    assert percents == sorted(percents)
    assert percents[-1] == 100 and server.told[-1][1].startswith("done: ")


def test_a_build_that_stops_stays_where_it_was(server: Server, bars: StageProgress) -> None:
    meter = Meter(STAGES, bars)
    with pytest.raises(RuntimeError), show_in_ui("x-progress", meter):
        meter.add(Stage.PROMPTS)
        raise RuntimeError("short")
    percent, note = server.told[-1]
    assert percent == pytest.approx(100 / 6) and note.startswith("stopped")


@pytest.mark.parametrize("is_away", [2, 10**9])
def test_a_server_that_is_away_fails_nothing(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    bars: StageProgress,
    is_away: int,
) -> None:
    server = running_teacher(monkeypatch, Server(is_away))
    with show_in_ui("x-progress", Meter(STAGES, bars)):
        while server.calls < 5:
            time.sleep(0.01)
    assert [one.message for one in caplog.records] == [
        "progress is not shown: ConnectionError: nobody there"
    ]
    assert [percent for percent, _ in server.told[-1:]] == ([100] if is_away == 2 else [])


def test_an_artifact_that_cannot_be_written_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def away(*_: object, **__: object) -> None:
        raise ConnectionError("nobody there")

    for name in ("create_table_artifact", "create_markdown_artifact", "create_link_artifact"):
        monkeypatch.setattr(artifacts, name, away)
    monkeypatch.setattr(artifacts, "get_run_logger", lambda: logging.getLogger("run"))
    samples.write_run(tmp_path, samples.corpus(4))
    artifacts.show_corpus(tmp_path, 1.0, None)
    assert len(caplog.records) == 4


def test_the_funnel_adds_up(tmp_path: Path) -> None:
    manifest = samples.write_run(tmp_path, samples.corpus(40))
    rows = stage_rows(manifest)
    assert [row["stage"] for row in rows] == [str(stage) for stage in STAGES]
    assert rows[0]["prompts in"] == manifest.prompts.in_
    assert rows[0]["prompts out"] == rows[1]["prompts in"] and rows[0]["traces in"] is None
    assert rows[1]["traces in"] == manifest.traces.in_
    assert rows[-1]["prompts out"] == manifest.canvases
    assert rows[-1]["traces out"] == manifest.traces.kept
    for what in ("prompts", "traces"):
        for before, after in itertools.pairwise(rows[1:]):
            assert before[f"{what} out"] == after[f"{what} in"]
        for row in rows[1:]:
            assert row[f"{what} in"] == row[f"{what} out"] + row[f"{what} rejected"]
    assert rows[-1]["reasons of prompts"] == "seqdep_high 1"
    shown_on_the_page = html_report.corpus_page(tmp_path).funnel
    assert [one.stage for one in shown_on_the_page] == [
        one.stage for one in funnel(manifest) if one.prompts.dropped
    ]


def test_tokens_are_the_teachers_own_and_cost_what_was_written(tmp_path: Path) -> None:
    manifest = samples.write_run(tmp_path, samples.corpus(8))
    found = count_token_usage(tmp_path, manifest)
    assert found == TokenUsage(
        traces=24,
        uncounted=0,
        read=24 * 20,
        written=24 * 30,
        released=24 * 30,
        summaries=0,
        judge=JudgeUsage(),
    )
    some = TokenUsage(
        traces=9,
        uncounted=2,
        read=5,
        written=700,
        released=300,
        summaries=300,
        judge=JudgeUsage(replies=4, read=90, written=12),
    )
    rows = token_rows(some, TokenCounts(paths=250, summaries=9), 0.5)
    numbers = {row["what"]: row["number"] for row in rows}
    assert numbers["… of them rejected"] == 400
    assert numbers["tokens read by the judge, over 4 replies"] == 90
    assert numbers["tokens written by the judge"] == 12
    assert numbers["traces whose tokens nobody counted, of 9"] == 2
    assert numbers["cost of what was written, at 0.5 a million"] == 0.0005
    assert not [
        row
        for row in token_rows(found, TokenCounts(paths=1, summaries=1), None)
        if "cost" in row["what"]
    ]
