"""What the paths of decoded canvases say beside the summary: copies, diversity, vote and oracle.

In: the text, the answer and the grade of every path. Out: figures of a canvas, and their means.
Answers are equal if the grader's plain rules say so (1,000 and 1000); no answer equals no answer.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from schemas.records import Grade
from scorers.answers.compare.plain_rules import quick_grade, tidy
from support.stats import Interval, mean, wilson


class CanvasFigures(NamedTuple):
    """A decoded canvas, and also their means over canvases. None: undefined, or not graded.

    `copies`: 1 if all paths are the same word for word, else 0. `diversity`: the share of pairs of
    paths whose answers differ. Both are None of a canvas of one path. `path`: the share of paths
    that are right. `vote`: 1 if the answer of most paths is right (paths without an answer do not
    vote; of answers with as many votes, that of the first path is taken). `oracle`: 1 if some path
    is right (pass@P).
    """

    copies: float | None
    diversity: float | None
    path: float | None
    vote: float | None
    oracle: float | None


class CanvasIntervals(NamedTuple):
    """The means of `CanvasFigures` with their 95 % intervals.

    Wilson's for shares of canvases, a bootstrap over canvases for `diversity` and `path`.
    """

    copies: Interval | None
    diversity: Interval | None
    path: Interval | None
    vote: Interval | None
    oracle: Interval | None


NO_FIGURES = CanvasIntervals(None, None, None, None, None)


def canvas_figures(
    paths: Sequence[str], answers: Sequence[str | None], grades: Sequence[str]
) -> CanvasFigures:
    """The figures of one canvas; `answers` and `grades` are empty if its paths were not graded."""
    copies = float(len({tuple(text.split()) for text in paths}) == 1) if len(paths) > 1 else None
    if not grades:
        return CanvasFigures(copies, None, None, None, None)
    numbers = _numbered(answers)
    pairs = [one != other for one, other in combinations(numbers, 2)]
    right = [grade == Grade.CORRECT for grade in grades]
    votes = [number for number, answer in zip(numbers, answers, strict=True) if answer is not None]
    chosen = max(votes, key=votes.count) if votes else None  # the first of those with most votes
    return CanvasFigures(
        copies,
        sum(pairs) / len(pairs) if pairs else None,
        sum(right) / len(right),
        float(chosen is not None and right[chosen]),
        float(any(right)),
    )


def canvas_intervals(rows: Sequence[CanvasFigures]) -> CanvasIntervals:
    """The means over canvases; None where a canvas has no such figure."""

    def over(values: list[float | None], *, is_share: bool) -> Interval | None:
        known = [value for value in values if value is not None]
        if not known or len(known) < len(values):
            return None
        return wilson(int(sum(known)), len(known)) if is_share else mean(known)

    return CanvasIntervals(
        *(
            over([getattr(row, name) for row in rows], is_share=name not in ("diversity", "path"))
            for name in CanvasFigures._fields
        )
    )


def _numbered(answers: Sequence[str | None]) -> list[int]:
    """For each answer the number of the first one that it equals."""
    return [
        next(n for n, other in enumerate(answers) if _are_equal(other, answer))
        for answer in answers
    ]


def _are_equal(one: str | None, other: str | None) -> bool:
    if one is None or other is None or one == other:
        return one == other
    return quick_grade(tidy(other), tidy(one)) is Grade.CORRECT
