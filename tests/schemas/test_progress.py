"""Progress in a log is a line now and then, never a flood; on a terminal it is a bar."""

import sys

import pytest

from curation.stage_progress import StageProgress
from schemas.records import Stage
from support.display.progress import SECONDS, Progress, Work


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the clock shows, to be set."""
    shown = [0.0]
    monkeypatch.setattr("support.display.progress.time.monotonic", lambda: shown[0])
    return shown


def test_a_log_gets_a_line_every_15_seconds_and_one_at_the_end(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("scored", "canvases", total=600) as bar:
        for second in range(600):
            clock[0] = second / 10
            bar.update(note=f"{second} tokens/s")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 60 / SECONDS
    assert lines[0] == "scored: 151 of 600 canvases in 0:15, about 0:45 left, 150 tokens/s"
    assert lines[-1] == "scored: 600 of 600 canvases in 1:00, 599 tokens/s"


def test_what_went_before_does_not_count_for_the_speed(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    bar = Progress("nap", "steps", total=100, done=90)
    clock[0] = 4000.0
    bar.update(5)
    assert capsys.readouterr().err == "nap: 95 of 100 steps in 1:06:40, about 1:06:40 left\n"
    bar.close()
    assert capsys.readouterr().err == "", "the end says nothing twice"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_what_was_kept_takes_no_time_and_promises_nothing(
    clock: list[float],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    is_terminal: bool,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setattr("tqdm.std.time", lambda: clock[0])
    bar = Progress("scored", "texts", total=100)
    bar.update(0, kept=90)
    clock[0] = 60.0
    bar.update(2)
    shown = capsys.readouterr().err
    assert (
        "92/100 [01:00<04:00" if is_terminal else "92 of 100 texts in 1:00, about 4:00 left"
    ) in (shown)
    bar.close()


@pytest.mark.parametrize("is_terminal", [False, True])
def test_the_time_that_is_left_follows_the_work(
    clock: list[float],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    is_terminal: bool,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setattr("tqdm.std.time", lambda: clock[0])
    bar = Progress("scored", "texts", total=40)
    clock[0] = 60.0
    bar.update(39, work=Work(done=100, left=500))
    assert "about 5:00 left" in capsys.readouterr().err
    bar.update(1, work=Work(done=600, left=0))
    bar.close()
    assert "left" not in capsys.readouterr().err.splitlines()[-1]


def test_a_total_may_grow_or_be_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("read", "rows") as rows, Progress("traces", "traces") as traces:
        rows.update(1200)
        traces.update(0, more=5)
        traces.write("a line of its own")
        traces.update(3, more=1)
    assert capsys.readouterr().err.splitlines() == [
        "a line of its own",
        "traces: 3 of 6 traces in 0:00",
        "read: 1,200 rows in 0:00",
    ]


def test_nothing_to_show_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("steps", "steps", total=3):
        pass
    with Progress("steps", "steps", total=3, shown=False) as bar:
        bar.update(3)
        bar.write("hidden")
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress("scored", "canvases") as bar:
        bar.update(0, more=4)
        bar.update(4, note="done")
    shown = capsys.readouterr().err
    assert "\rscored: 100%" in shown and "4/4" in shown and "done" in shown


def test_the_time_left_of_a_stage_follows_the_sizes_of_its_units(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """Two shards: after 20 seconds 2 of 5 canvases are done, but 900 of 1,000 characters."""
    bars = StageProgress()
    first = bars.add_sized(Stage.SCORED, [800, 20, 30])
    second = bars.add_sized(Stage.SCORED, [100, 50], note="controls")
    clock[0] = 10.0
    first(1)
    clock[0] = 20.0
    second(1)
    bars.end(*Stage)
    line = capsys.readouterr().err.strip()
    assert line == "scored: 2 of 5 canvases in 0:20, about 0:02 left, controls"
    assert bars.states()[Stage.SCORED] == (2, 5, "controls")
