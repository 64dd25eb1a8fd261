"""What is asked of the decoding loop, and what it returns: rows with their commits in order."""

from dataclasses import dataclass
from typing import NamedTuple

from diffusion.data.layout import CanvasLayout, Ids


class Request(NamedTuple):
    """A prompt's ids, and a name on which the row's random numbers depend.

    `layout`: the row's own, whose headers differ from those of the batch's layout, such as hints.
    """

    name: str
    prompt: Ids
    layout: CanvasLayout | None = None


class Commit(NamedTuple):
    """One committed token; `position` is its column in the batch's layout, headers counted.

    `confidence` is its probability, whatever the rule ranks by. `taken_back`: the step at whose end
    its position was masked again; None if it stayed.
    """

    step: int
    position: int
    confidence: float
    token: int
    taken_back: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A row: the answer's tokens [C], its commits in order, and its number of forward passes.

    Columns are those of the batch's layout: what a row's own headers have more is not among them.
    The last commit of a position is the one that stayed.
    """

    ids_C: Ids
    commits: tuple[Commit, ...]
    nfe: int
