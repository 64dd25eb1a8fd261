"""The page: right in a real browser, by keyboard, on a phone, in the dark, whatever texts hold."""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from curation.inspect.html_report import corpus_page
from curation.release import statistics
from flows.page import MOST_BYTES, REPORT, is_fresh, page, write_report
from schemas.manifest import MANIFEST_FILE
from tests.browser import Page, browser, needs_chromium
from tests.curation import samples
from tests.flows.commands import polytrace

NASTY = (
    "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
    "</script><!-- | a | b |\n---\nlicense: mit\n---\n{{ 7 * 7 }} \x1b[31m\u202eevil\u2028 & &amp;"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 40 canvases, one of them nasty and one huge, its page, and one with decodes."""
    made = tmp_path_factory.mktemp("page")
    rows = [*samples.corpus(40), samples.with_text(41, NASTY)]
    rows.append(samples.with_text(42, "x " * 500_000))
    samples.write_run(made / "run", rows)
    done = polytrace("report", "run", cwd=made)
    assert done.returncode == 0, done.stderr
    assert "page     run/report.html" in done.stdout
    evaluated = polytrace(
        *("evaluate", "tiny_base", "--out", "evaluation", "--set", "limit=2"),
        *("--set", "steps=[13]", "--set", "masks=26"),
        cwd=made,
    )
    assert evaluated.returncode == 0, evaluated.stderr
    done = polytrace(
        "report", "run", "--evaluation", "evaluation", "--out", "with_decodes.html", cwd=made
    )
    assert done.returncode == 0, done.stderr
    return made


def test_the_figures_are_the_manifests(folder: Path) -> None:
    found = corpus_page(folder / "run")
    manifest = samples.write_run(folder / "again", samples.corpus(40))
    assert [step.after for step in found.funnel][-1] == 42
    assert (
        sum(one.count for one in found.reasons) == sum(one.count for one in manifest.rejected) + 2
    )  # of each further canvas one trace was not selected
    by_title = {one.title: one for one in found.histograms}
    tokens = by_title["Tokens of a path"]
    assert tokens.rows == 42 * 3 == sum(bar.rows for bar in tokens.bars)
    assert all(0 <= bar.share <= 1 for one in found.histograms for bar in one.bars)
    (path,) = (curve for curve in found.curves if curve.level == "path")
    assert path.gains[0] == pytest.approx(0.25 / 9)
    assert len(found.canvases) == 42 and len({one.id for one in found.canvases}) == 42


def test_medians_are_those_of_the_card(tmp_path: Path) -> None:
    samples.write_run(tmp_path, samples.corpus(40))
    measured = statistics.read_stats(tmp_path / "release" / "stats.json")
    by_title = {one.title: one.median for one in corpus_page(tmp_path).histograms}
    assert by_title["SeqDep of paths, nats a token"] == measured.seqdep_path_nats_per_token.p50
    assert by_title["Tokens of a path"] == measured.path_tokens.p50


def test_it_is_small_whole_and_the_same_each_time(folder: Path) -> None:
    text = (folder / "run" / REPORT).read_text()
    assert text == page(folder / "run")
    assert len(text.encode()) < MOST_BYTES
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", text), "it loads nothing"
    assert "<script>document" not in text and "onerror=" not in re.sub(r"\\u003c.*", "", text)
    assert "994,000 more characters" in text, "a huge text is cut, and says so"


def test_a_page_is_fresh_by_its_manifest_whatever_the_clock_says(tmp_path: Path) -> None:
    run = tmp_path / "run"
    manifest = samples.write_run(run, samples.corpus(3))
    assert not is_fresh(run), "there is none"
    write_report(run / REPORT, run)
    os.utime(run / REPORT, (0, 0))
    assert is_fresh(run)
    os.utime(run / REPORT, (time.time() + 3600,) * 2)
    manifest.model_copy(update={"notice": "of another recipe"}).save(run / MANIFEST_FILE)
    assert not is_fresh(run), "the same build, told of otherwise"
    samples.write_run(run, samples.corpus(4), build="0123456789ab")
    assert not is_fresh(run)
    write_report(run / REPORT, run)
    assert is_fresh(run)


def panel_of(text: str, title: str) -> str:
    """A chart's part of the page."""
    (found,) = re.findall(f"<h3>{title}</h3>(.*?)</figure>", text, re.DOTALL)
    return str(found)


def test_a_chart_of_one_point_is_words(tmp_path: Path) -> None:
    """Canvases of two paths have one gain; a corpus of one canvas has one value of each kind."""
    two = [
        (canvas, replace(scores, path=replace(scores.path, gains=(0.1234567,), tokens=(7, 9))))
        for canvas, scores in samples.corpus(31)
        if scores.path is not None
    ]
    samples.write_run(tmp_path / "two", two)
    panel = panel_of(page(tmp_path / "two"), "path level")
    said = "Not drawn, because one point is no curve: segment 2: +0.014 nats a token."
    assert "svg" not in panel and said in " ".join(panel.split())
    samples.write_run(tmp_path / "one", samples.corpus(1))
    text = page(tmp_path / "one")
    panel = panel_of(text, "Highest similarity of two paths")
    assert "svg" not in panel and "Not drawn, because there is one value: 0.25." in panel
    assert "svg" in panel_of(text, "Tokens of a path"), "three paths are three points"


def test_figures_have_as_many_digits_as_a_reader_can_use(tmp_path: Path) -> None:
    rows = [
        (replace(canvas, path_tokens=(12_345 + n, 9, 11)), scores)
        for n, (canvas, scores) in enumerate(samples.corpus(40))
    ]
    samples.write_run(tmp_path, rows)
    shown = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", page(tmp_path), flags=re.DOTALL)
    assert re.search(r"12,3\d\d", shown)
    assert not re.search(r"\d\.\d{6}|\de[+-]\d", shown)


def test_a_run_without_canvases_says_why(tmp_path: Path) -> None:
    samples.write_run(tmp_path, [])
    text = page(tmp_path)
    assert "No canvas was released" in text and "too_few_traces" in text
    for absent in ('id="distributions"', 'id="seqdep"', 'id="before"', "Not measured"):
        assert absent not in text
    assert '{"canvases":[]}' in text


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    done = polytrace("report", "nowhere", cwd=tmp_path)
    assert done.returncode == 2 and "nowhere" in done.stderr and "Traceback" not in done.stderr
    samples.write_run(tmp_path / "run", samples.corpus(3))
    done = polytrace("report", "run", "--evaluation", "run", cwd=tmp_path)
    assert done.returncode == 2 and "holds no results.parquet" in done.stderr


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    with browser() as opened:
        yield opened


@needs_chromium
def test_texts_are_texts_and_nothing_is_asked_of_the_network(folder: Path, tab: Page) -> None:
    address = (folder / "run" / REPORT).as_uri()
    tab.open(address)
    tab.run("document.getElementById('find').value = 'taken'")
    tab.run("document.getElementById('find').dispatchEvent(new Event('input'))")
    assert tab.run("document.getElementById('which').textContent") == "1 of 1"
    shown = tab.run("document.querySelector('#canvas .text').textContent")
    assert shown.startswith("<script>document.title = 'taken'</script><img src=x")
    assert "\u202e" not in shown and "\x1b" not in shown, "nothing hides or reorders"
    assert tab.run("document.title") == "sample: a parallel reasoning corpus"
    assert tab.run("document.querySelectorAll('#canvas script, #canvas img').length") == 0
    assert tab.faults == []
    assert {one for one in tab.requests if not one.startswith("data:")} == {address}


@needs_chromium
def test_canvases_are_looked_through_by_keyboard(folder: Path, tab: Page) -> None:
    tab.open((folder / "run" / REPORT).as_uri())
    assert tab.run("document.getElementById('which').textContent") == "1 of 42"
    for _ in range(60):  # to the canvas, by the keyboard alone
        tab.press("Tab")
        if tab.run("document.activeElement.id") == "canvas":
            break
    else:
        pytest.fail("the canvas cannot be reached")
    first = tab.run("document.getElementById('canvas').textContent")
    assert tab.run("document.querySelector('#canvas strong.right').textContent") == "✓ correct"
    tab.press("ArrowRight")
    assert tab.run("document.getElementById('which').textContent") == "2 of 42"
    assert tab.run("document.getElementById('canvas').textContent") != first
    tab.press("ArrowLeft")
    tab.press("ArrowLeft")
    assert tab.run("document.getElementById('which').textContent") == "42 of 42"
    tab.run("document.getElementById('next').focus()")
    tab.press("Enter")
    assert tab.run("document.getElementById('which').textContent") == "1 of 42"


@needs_chromium
@pytest.mark.parametrize("name", ["run/report.html", "with_decodes.html"])
def test_it_fits_a_phone_and_is_dark_in_the_dark(folder: Path, tab: Page, name: str) -> None:
    tab.open((folder / name).as_uri(), width=380, height=800)
    assert tab.run("document.documentElement.scrollWidth") <= 380
    light = tab.run("getComputedStyle(document.body).backgroundColor")
    tab.dark()
    dark = tab.run("getComputedStyle(document.body).backgroundColor")
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(13, 17, 23)")
    tab.call("Emulation.setEmulatedMedia", features=[])


@needs_chromium
def test_a_canvas_fills_step_by_step(folder: Path, tab: Page) -> None:
    tab.open((folder / "with_decodes.html").as_uri())
    count = tab.run("document.getElementById('decode').options.length")
    assert count == 5 * 2, "two rows of every cell"
    masked = "document.querySelectorAll('#frame .mask').length"
    assert tab.run("Number(document.getElementById('step').max)") == 13
    assert tab.run(masked) == 0
    tab.run("document.getElementById('step').focus()")
    tab.press("Home")
    assert tab.run(masked) == 26
    tab.press("ArrowRight")
    assert tab.run(masked) == 24
    assert tab.run("document.querySelectorAll('#frame .new').length") == 2
    text = tab.run("document.querySelector('#frame .new').textContent")
    assert text not in ("□", ""), "the token is there, not its number"
    tab.run("document.getElementById('play').click()")
    assert tab.run("document.getElementById('play').textContent") == "stop"
    assert "Table 1" in tab.run("document.querySelector('main').textContent")
    assert tab.faults == []
