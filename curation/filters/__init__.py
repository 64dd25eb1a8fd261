"""Filters, one file a rule: `judge(canvas, scores)` says keep, or drop with a reason."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from schemas.facts import ControlFacts
from schemas.records import Canvas, Scores, Verdict


class Filter(Protocol):
    """A rule over one canvas.

    A rule that needs the whole corpus (a quantile) reads it once in `fit`; `frozen` says what it
    learnt and is kept in the manifest. Other rules inherit both methods, which do nothing.
    """

    def fit(self, corpus: Iterable[tuple[Canvas, Scores]]) -> None:
        """Read the corpus once, in order, before any call of `judge`."""
        return

    def frozen(self) -> str:
        """What `fit` learnt, as short text for the manifest; empty where there is nothing."""
        return ""

    def judge(self, canvas: Canvas, scores: Scores) -> Verdict:
        """Keep, or drop with a reason slug and a sentence."""


@runtime_checkable
class SeesControls(Protocol):
    """A filter whose limit depends on the controls of the path level."""

    def see(self, controls: ControlFacts | None) -> None:
        """The controls of this corpus, before `fit`; None where none were measured."""
