"""A source of your own: problems that a program makes, in place of rows of a file.

Run it to see its rows: `python examples/own_source.py`. To use it in recipes, declare it in the
pyproject.toml of a package that you install (`pip install ./examples` does so for these files):

    [project.entry-points."polytrace.sources"]
    sums = "own_source:build"

and write in a recipe: `source: {kind: sums, count: 200}`. The arguments of `build` are the options;
their types are checked, and a wrong one is told by its name.
"""

import hashlib
from collections.abc import Iterator, Sequence
from random import Random

from curation.sources import Row, Source
from schemas.records import Recorded
from support.errors import UserError

VERSION = 1  # bump it when the same options make other rows


class Sums:
    """Word problems that ask for a sum; row n depends on the seed and on n alone."""

    label = "sums"  # names the data on the card and in every row
    license = "cc0-1.0"

    def __init__(self, count: int, terms: int, seed: int) -> None:
        self._count, self._terms, self._seed = count, terms, seed

    def fingerprint(self) -> str:
        """Changes whenever the rows do: with it, prompts are read again."""
        facts = repr((VERSION, self._count, self._terms, self._seed))
        return hashlib.sha256(facts.encode()).hexdigest()

    def rows(self, *, traces: bool, most: int | None = None) -> Iterator[Row]:
        """The first `most` rows; a row that can be no prompt would carry a `reason`."""
        for number in range(1, min(self._count, most or self._count) + 1):
            draw = Random(f"{self._seed} {number}")
            parts = [draw.randint(2, 60) for _ in range(self._terms)]
            bags = ", ".join(f"{part} apples" for part in parts)
            text = f"{self._terms} bags hold {bags}. How many apples are in the bags?"
            yield Row(number=number, text=text, gold=str(sum(parts)))

    def has_traces(self) -> bool:
        """There are no recorded traces: a teacher writes them."""
        return False

    def first_traces(self) -> Sequence[Recorded]:
        """None, likewise."""
        return ()


def build(count: int = 200, terms: int = 4, seed: int = 0) -> Source:
    """The source; UserError, with the name of the option, where a value makes no sense."""
    if count < 1 or terms < 2:
        raise UserError(f"source: count is {count} and terms {terms}; give at least 1 and 2")
    return Sums(count, terms, seed)


if __name__ == "__main__":
    for row in build(count=3).rows(traces=False):
        print(f"{row.number}. {row.text} [{row.gold}]")
