"""Text in columns for a terminal. In: painted pieces of `visible` text. Out: lines of rich."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from rich.text import Text

from support.display.text import width, wrap


class Part(NamedTuple):
    """A piece of `visible` text, and how it is painted (a style of rich)."""

    text: str
    style: str = ""


def lines(parts: Sequence[Part], cells: int) -> list[Text]:
    """`parts` one below the other, wrapped to `cells`; markup in them stays as it is written."""
    return [Text(line, part.style) for part in parts for line in wrap(part.text, cells)]


def columns(
    blocks: Sequence[Sequence[Part]], total: int, *, gap: str = " │ ", least: int = 24
) -> list[Text]:
    """`blocks` side by side, as many as `total` cells have room for; rows of equal length.

    No column is narrower than `least`, unless `total` is: a block below the other, an empty line
    between.
    """
    room = max(1, (total + len(gap)) // (least + len(gap)))
    bands = -(-len(blocks) // room)
    abreast = -(-len(blocks) // max(1, bands))
    found: list[Text] = []
    for start in range(0, len(blocks), max(1, abreast)):
        if start:
            found.append(Text(""))
        band = blocks[start : start + abreast]
        each = max(2, (total - len(gap) * (abreast - 1)) // abreast)
        for row in zip_longest(*(lines(block, each) for block in band)):
            cells = [_padded(cell or Text(""), each) for cell in row]
            line = Text.assemble((gap, "dim")).join(cells)
            found.append(line[: len(line.plain.rstrip(" "))])  # the padding alone goes
    return found


def _padded(line: Text, cells: int) -> Text:
    return Text("").append(line).append(" " * max(0, cells - width(line.plain)))
