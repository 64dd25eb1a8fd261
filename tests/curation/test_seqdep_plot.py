"""The picture of a SeqDep report: a panel of one document says so and draws nothing."""

from pathlib import Path

from curation.seqdep_report.plot import SeqDepPanel, Series, draw
from scorers.seqdep.curve import curve


def series(count: int) -> Series:
    points = tuple((10 + n, 0.1 * n, 0.01 * n) for n in range(count))
    tokens, nats, per_token = zip(*points, strict=True) if points else ((), (), ())
    return Series(
        label="steps",
        points=points,
        nats=curve(nats, tokens).bins,
        nats_per_token=curve(per_token, tokens).bins,
    )


def drawn(folder: Path, *counts: int) -> str:
    panels = [SeqDepPanel(title=f"of {n}", series=(series(n),)) for n in counts]
    draw(panels, folder / "seqdep", title="SeqDep", note="")
    assert (folder / "seqdep.png").stat().st_size > 1_000
    return (folder / "seqdep.svg").read_text()


def test_a_panel_of_one_document_is_words(tmp_path: Path) -> None:
    text = drawn(tmp_path, 40, 1, 2, 0)
    assert text.count("<!-- Not drawn: 1 document. -->") == 1
    assert text.count("<!-- Not drawn: no documents. -->") == 1
    assert text.count('id="PathCollection_') == 5, "of 40 and of 2, and one in a legend"


def test_a_picture_of_one_document_has_no_axis(tmp_path: Path) -> None:
    text = drawn(tmp_path, 1)
    assert "<!-- Not drawn: 1 document. -->" in text
    assert "PathCollection" not in text and "xtick" not in text
