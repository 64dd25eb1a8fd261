"""One style for all figures, saved as deterministic PNG and SVG.

pyplot is not used, because its state belongs to the process: a drawing leaves the caller's backend
and settings unchanged, and a user's matplotlibrc does not change a figure.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.files import atomic_write

if TYPE_CHECKING:  # matplotlib is loaded only when a figure is drawn
    from matplotlib.figure import Figure

BLUE, RED, GREEN, SAND, GREY = "#1f6f8b", "#d1495b", "#6a994e", "#d9a441", "#8a8a8a"
INK = "#333333"
_STYLE: dict[str, Any] = {
    "svg.hashsalt": "polytrace",  # ids in an SVG are random without it
    "text.parse_math": False,  # a $ in a name is a $
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_METADATA: dict[str, dict[str, None]] = {"png": {"Software": None}, "svg": {"Date": None}}


@contextmanager
def save(*paths: Path, size: tuple[float, float], dpi: int, **style: Any) -> Iterator["Figure"]:
    """A figure to draw on, of `size` in inches, which is then written to every path.

    A path's ending is its format, png or svg. Every file is written whole or not at all; the same
    drawing gives the same bytes, under one version of matplotlib. `style` are more rcParams.
    """
    from matplotlib import style as styles
    from matplotlib.figure import Figure

    with styles.context(["default", _STYLE | style]):
        figure = Figure(figsize=size)
        yield figure
        for path in paths:
            kind = path.suffix.removeprefix(".")
            with atomic_write(path) as part:
                figure.savefig(part, format=kind, dpi=dpi, metadata=_METADATA[kind])
