"""Keep canvases whose two most similar paths are different enough.

In a recipe: `{kind: diversity, max_similarity: 0.8}`. The similarity is `Canvas.similarity`, which
`scorers/similarity.py` measured when the P paths were chosen. The recipe key `groups.similarity` is
on the same scale: it drops single traces, and this filter drops whole canvases.
"""

from dataclasses import dataclass

from curation.filters import Filter
from schemas.records import Canvas, Scores, Verdict
from support.display.digits import distinguishable
from support.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class DiversityFilter(Filter):
    """At most `max_similarity` between any two paths."""

    max_similarity: float

    def judge(self, canvas: Canvas, scores: Scores) -> Verdict:
        """Drop with `similarity_above`."""
        if canvas.similarity <= self.max_similarity:
            return Verdict(True)
        measured, limit = distinguishable(canvas.similarity, self.max_similarity)
        detail = f"two paths have similarity {measured}, at most {limit} allowed"
        return Verdict(False, "similarity_above", detail)


def build(max_similarity: float) -> Filter:
    """The filter; UserError where the limit is not a similarity."""
    if not 0 <= max_similarity <= 1:
        raise UserError(
            f"filter diversity: max_similarity is {max_similarity}; give a value from 0 to 1"
        )
    return DiversityFilter(max_similarity=max_similarity)
