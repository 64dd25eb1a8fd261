"""Foreign text made safe to show: on a terminal, in a table, in Markdown.

In: text that a model or a data set wrote. Out: the same text with every character that could move a
cursor, reorder a line or hide itself made visible, and laid out in columns by display width.
"""

import unicodedata
from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from rich.text import Text


class Part(NamedTuple):
    """A piece of `visible` text, and how it is painted (a style of rich)."""

    text: str
    style: str = ""


_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def visible(text: str) -> str:
    """`text` with control, format and unassigned characters shown; only line feeds keep effect.

    C0 controls become their Unicode pictures (ESC is ␛), all others `<U+202E>`.
    """
    if text.isprintable():
        return text
    return "".join(map(_show, text.replace("\r\n", "\n").replace("\t", "    ")))


def _show(char: str) -> str:
    if char == "\n" or unicodedata.category(char) not in _HIDDEN:
        return char
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"<U+{code:04X}>"


def one_line(text: str) -> str:
    """`visible` text on one line: every run of white space is one space."""
    return visible(" ".join(text.split()))


def width(text: str) -> int:
    """Terminal cells that `visible` text takes: 2 for East Asian wide, 0 for combining marks."""
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


def _cells(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shorten(text: str, limit: int) -> str:
    """The first `limit` characters, and how many more there are."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… [{len(text) - limit:,} more characters]"


def wrap(text: str, cells: int) -> list[str]:
    """Lines of at most `cells` (2 or more); breaks at spaces, else inside a word."""
    lines = []
    for line in text.split("\n"):
        while (end := _fit(line, cells)) < len(line):
            space = line.rfind(" ", 1, end + 1)
            cut = space if space > 0 and line[:space].strip() else end
            lines.append(line[:cut])
            line = line[cut:].removeprefix(" ")
        lines.append(line)
    return lines


def _fit(line: str, cells: int) -> int:
    """How many leading characters fit into `cells`; at least 1."""
    used = 0
    for at, char in enumerate(line):
        used += _cells(char)
        if used > cells:
            return max(1, at)
    return len(line)


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


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Rows of cells as aligned text; columns numbered in `right` are right-aligned."""
    widest = [max(map(width, column)) for column in zip(*rows, strict=True)]

    def cell(text: str, at: int) -> str:
        spaces = " " * (widest[at] - width(text))
        return spaces + text if at in right else text + spaces

    return "\n".join("  ".join(cell(t, i) for i, t in enumerate(row)).rstrip() for row in rows)
