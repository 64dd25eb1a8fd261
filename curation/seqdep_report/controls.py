"""The two controls of the path level, and the sentence that says what the path level shows.

In: canvases, or their measured gains. Out: canvases with paths of other prompts, canvases of one
path repeated; the sentence that card, page, report and terminal print. Where a scorer gains no more
from one path repeated than from paths of other prompts, it could not see a dependence between
paths, and the path level says nothing (METHOD section 2).
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from curation.seqdep_report.documents import Document
from curation.seqdep_report.score import Documents
from schemas.facts import ControlFacts, MeanFacts
from schemas.recipe import Part
from scorers.seqdep.curve import FEW, SAMPLES, Interval
from support.display.digits import rounded
from support.stats import Floats, percentile_interval, resampled

ControlKind = Literal["others", "repeated"]


class Control:
    """A control of the first `limit` documents of a corpus; see `control_canvases`."""

    def __init__(self, corpus: Documents, kind: ControlKind, limit: int) -> None:
        self._corpus, self._kind, self._limit = corpus, kind, limit

    def fingerprint(self) -> str:
        """Changes whenever the documents do."""
        return f"{self._corpus.fingerprint()}/{self._kind}/{self._limit}"

    def documents(self) -> Iterator[Document]:
        """One canvas for each document that is one."""
        return control_canvases(islice(self._corpus.documents(), self._limit), self._kind)


def control_canvases(documents: Iterable[Document], kind: ControlKind) -> Iterator[Document]:
    """The canvases among `documents`, each with paths that are not its own, and no summary.

    The paths are those of other prompts, or the first path repeated.
    """
    canvases = [document for document in documents if document.paths]
    for i, canvas in enumerate(canvases):
        if kind == "others" and len(canvases) < len(canvas.paths):
            detail = f"{len(canvases)} prompts cannot lend {len(canvas.paths)} paths"
            yield Document(row=canvas.row, reason="too_few_prompts", detail=detail)
            continue
        if kind == "repeated":
            paths = (canvas.paths[0],) * len(canvas.paths)
        else:  # path j of the j-th canvas from this one on, in a circle
            paths = tuple(
                others[min(j, len(others) - 1)]
                for j in range(len(canvas.paths))
                for others in (canvases[(i + j) % len(canvases)].paths,)
            )
        yield dataclasses.replace(canvas, paths=paths, summary="")


def compared(
    documents: int, own: Interval | None, others: Interval | None, repeated: Interval | None
) -> ControlFacts:
    """The path level of canvases and of its controls, nats a token, and whether it says anything.

    It does where the interval of one path repeated lies above that of paths of other prompts.
    """
    low = repeated.low if repeated else None
    high = others.high if others else None
    return ControlFacts(
        documents=documents,
        canvases=_mean(own),
        others=_mean(others),
        repeated=_mean(repeated),
        tells=low is not None and high is not None and low > high,
    )


def share_between(
    own: Mapping[int, float], others: Mapping[int, float], repeated: Mapping[int, float]
) -> Interval | None:
    """How far canvases lie from paths of other prompts (0) to one path repeated (1).

    Each maps a prompt's row to nats a token. The bootstrap of the 95 % interval is over prompts: a
    sample takes the canvas of a prompt and its two controls together. None under `FEW` prompts.
    """
    rows = sorted(own.keys() & others.keys() & repeated.keys())
    if len(rows) < FEW:
        return None
    corpora = [np.array([one[row] for row in rows]) for one in (own, others, repeated)]

    def shares(drawn: NDArray[np.intp]) -> Floats:
        means = [nats[drawn].mean(-1) for nats in corpora]
        found: Floats = (means[0] - means[1]) / (means[2] - means[1])
        return found

    value = float(shares(np.arange(len(rows))[None])[0])
    return Interval(*percentile_interval(value, resampled(shares, len(rows), samples=SAMPLES)))


def sentence(measured: ControlFacts | None, between: Interval | None = None) -> str:
    """Where the paths lie between their controls, if the scorer tells the controls apart.

    `between`: the same with its interval, where it is known.
    """
    if measured is None:
        return (
            "Path level: its controls were not measured (scorer.controls: 0), so that nothing can "
            "be said of it; polytrace seqdep-report draws them."
        )
    own, others, repeated = measured.canvases, measured.others, measured.repeated
    if own is None or others is None or repeated is None:
        return "Path level: undefined, because the canvases have one path or are too few."
    if repeated.low is None or others.low is None:
        return f"Path level: not judged, because fewer than {FEW} canvases were measured."
    gains = (
        f"one path repeated gains {_with_interval(repeated)} nats a token from its siblings, "
        f"paths of other prompts {_with_interval(others)}"
    )
    if not measured.tells:
        return (
            f"Path level says nothing here: under this scorer {gains}, and the interval of the "
            "first does not lie above that of the second."
        )
    share = f"{(own.mean - others.mean) / (repeated.mean - others.mean):.0%}"
    if between is not None and between.low is not None and between.high is not None:
        share = f"{between.value:.0%} [{between.low:.0%}, {between.high:.0%}]"
    return (
        f"Path level: the paths gain {rounded(own.mean)} nats a token from their siblings, "
        f"{share} of the way from paths of other prompts (0 %) to one path repeated (100 %); "
        f"under this scorer {gains}."
    )


def _with_interval(measured: MeanFacts) -> str:
    if measured.low is None or measured.high is None:
        return rounded(measured.mean)
    return f"{rounded(measured.mean)} [{rounded(measured.low)}, {rounded(measured.high)}]"


def idle_filters(measured: ControlFacts | None, filters: Sequence[Part]) -> Iterator[str]:
    """A sentence for each filter on a path level that says nothing, or that was not measured."""
    if measured is not None and measured.tells:
        return
    for number, rule in enumerate(filters):
        if rule.kind == "seqdep" and rule.options.get("above_unrelated") is not None:
            yield (
                f"filters.{number} dropped nothing, because the scorer does not tell the controls "
                "of the path level apart, or they were not measured: take a scorer that does "
                "(scorer.path), and scorer.controls: 30 or more."
            )
        elif measured is None:
            continue
        elif rule.kind == "seqdep" and rule.options.get("level", "path") == "path":
            yield (
                f"filters.{number} chooses canvases by path level, which says nothing here: take "
                "it out, or take a scorer that tells the controls apart (scorer.path)."
            )


def _mean(estimate: Interval | None) -> MeanFacts | None:
    if estimate is None:
        return None
    return MeanFacts(mean=estimate.value, low=estimate.low, high=estimate.high)
