"""Text in columns for a terminal. In: styled pieces of `visible` text. Out: lines of rich."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from rich.text import Text

from support.display.text import width, wrap


class Part(NamedTuple):
    """A piece of `visible` text, and its style (of rich)."""

    text: str
    style: str = ""


def lines(parts: Sequence[Part], cells: int) -> list[Text]:
    """`parts` one below the other, wrapped to `cells`; markup in them has no effect."""
    return [Text(line, part.style) for part in parts for line in wrap(part.text, cells)]


def columns(
    blocks: Sequence[Sequence[Part]], total: int, *, gap: str = " │ ", least: int = 24
) -> list[Text]:
    """`blocks` side by side in bands, as many in each as fit into `total` cells.

    Columns are equally wide, at least `least` cells unless `total` is less; an empty line separates
    two bands.
    """
    most = max(1, (total + len(gap)) // (least + len(gap)))
    bands = -(-len(blocks) // most)
    abreast = -(-len(blocks) // max(1, bands))
    laid_out: list[Text] = []
    for start in range(0, len(blocks), max(1, abreast)):
        if start:
            laid_out.append(Text(""))
        band = blocks[start : start + abreast]
        each = max(2, (total - len(gap) * (abreast - 1)) // abreast)
        for row in zip_longest(*(lines(block, each) for block in band)):
            cells = [_padded(cell or Text(""), each) for cell in row]
            line = Text.assemble((gap, "dim")).join(cells)
            laid_out.append(line[: len(line.plain.rstrip(" "))])  # without padding at the end
    return laid_out


def _padded(line: Text, cells: int) -> Text:
    return Text("").append(line).append(" " * max(0, cells - width(line.plain)))
