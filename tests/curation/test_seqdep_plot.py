"""The picture of a SeqDep report: a panel of one document says so and draws nothing."""

from pathlib import Path

from matplotlib.figure import Figure

from curation.seqdep_report.plot import SeqDepPanel, Series, compose, draw
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


def test_legends_cover_no_data() -> None:
    figure = Figure(figsize=(10.2, 6.8))
    panels = [
        SeqDepPanel(title=f"of {n}", series=(series(n), series(n), series(n))) for n in (40, 50, 60)
    ]
    compose(figure, panels, title="SeqDep", note="a note at the foot of the picture")
    figure.draw_without_rendering()
    frames = [axis.get_window_extent() for axis in figure.axes]
    legends = [one.get_window_extent() for axis in figure.axes if (one := axis.get_legend())]
    assert len(legends) == 3
    note = figure.texts[-1].get_window_extent()
    for legend in legends:
        assert not any(legend.overlaps(frame) for frame in frames)
        assert legend.y0 >= note.y1
