"""A table of text: as Markdown for a page, or with aligned columns for a terminal.

Cells are printed unchanged: the caller makes foreign text safe.
"""

from collections.abc import Collection
from dataclasses import dataclass

from support.display.text import width


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells, with an optional header, a title above and a note below.

    `left` holds the numbers of the columns that Markdown aligns to the left; others align right.
    """

    rows: tuple[tuple[str, ...], ...]
    header: tuple[str, ...] = ()
    title: str = ""
    note: str = ""
    left: Collection[int] = (0,)

    def markdown(self) -> str:
        """As GitHub shows it, with a line feed at its end; it must have a header."""
        rule = tuple("---" if at in self.left else "--:" for at in range(len(self.header)))
        lines = "".join(
            f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |\n"
            for row in (self.header, rule, *self.rows)
        )
        title = f"## {self.title}\n\n" if self.title else ""
        return f"{title}{lines}" + (f"\n{self.note}\n" if self.note else "")

    def text(self, *, right: Collection[int] = (), gap: int = 2) -> str:
        """For a terminal: columns `gap` cells apart, those numbered in `right` aligned to it.

        Below a title, lines are indented.
        """
        rows = [row for row in (self.header, *self.rows) if row]
        widest = [max(map(width, column)) for column in zip(*rows, strict=True)]

        def cell(text: str, at: int) -> str:
            spaces = " " * (widest[at] - width(text))
            return spaces + text if at in right else text + spaces

        lines = [(" " * gap).join(cell(t, n) for n, t in enumerate(row)).rstrip() for row in rows]
        return "\n  ".join([self.title, *lines]) if self.title else "\n".join(lines)
