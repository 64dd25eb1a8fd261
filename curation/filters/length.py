"""Keep canvases by the length of their paths, in tokens of the widest of the recipe's tokenizers.

In a recipe: `{kind: length, min_path: 16}` asks every path for 16 tokens or more, and
`{kind: length, min_total: 60, max_total: 900}` limits the sum over the paths. Fill, headers and
summary do not count.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from curation.filters import Filter
from schemas.records import Canvas, Scores, Verdict
from support.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthFilter:
    """Limits on the sum over the paths and on the shortest path; None is no limit."""

    min_total: int | None
    max_total: int | None
    min_path: int | None

    def fit(self, corpus: Iterable[tuple[Canvas, Scores]]) -> None:
        """Nothing to learn."""

    def frozen(self) -> str:
        """Nothing was learnt."""
        return ""

    def judge(self, canvas: Canvas, scores: Scores) -> Verdict:
        """Drop with `length_below`, `length_above` or `path_length_below`."""
        total, shortest = sum(canvas.path_tokens), min(canvas.path_tokens)
        if self.min_total is not None and total < self.min_total:
            detail = f"{total} tokens in all paths, at least {self.min_total} wanted"
            return Verdict(False, "length_below", detail)
        if self.max_total is not None and total > self.max_total:
            detail = f"{total} tokens in all paths, at most {self.max_total} allowed"
            return Verdict(False, "length_above", detail)
        if self.min_path is not None and shortest < self.min_path:
            detail = f"{shortest} tokens in the shortest path, at least {self.min_path} wanted"
            return Verdict(False, "path_length_below", detail)
        return Verdict(True)


def build(
    min_total: int | None = None, max_total: int | None = None, min_path: int | None = None
) -> Filter:
    """The filter; UserError where no limit is given or none could be met."""
    given = {"min_total": min_total, "max_total": max_total, "min_path": min_path}
    if all(limit is None for limit in given.values()):
        raise UserError(f"filter length: no limit; give one of {', '.join(given)}")
    for name, limit in given.items():
        if limit is not None and limit < 0:
            raise UserError(f"filter length: {name} is {limit}; give 0 or more")
    for name in ("min_total", "min_path"):
        least = given[name]
        if least is not None and max_total is not None and max_total < least:
            limits = f"max_total is {max_total}, {name} is {least}"
            raise UserError(f"filter length: {limits}: nothing could pass; raise max_total")
    return LengthFilter(min_total=min_total, max_total=max_total, min_path=min_path)
