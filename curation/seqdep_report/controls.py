"""The two controls of the path level, and what may be said of it between them.

In: documents, or what was measured of them. Out: canvases of other prompts' paths, canvases of one
path repeated, and the sentence that card, page, report and terminal print. Where a scorer gains no
more from one path repeated than from paths of other prompts, it could not see a dependence between
paths, and path level says nothing (METHOD section 2).
"""

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal

from curation.seqdep_report.documents import Document
from curation.seqdep_report.score import Documents
from schemas.facts import ControlFacts, MeanFacts
from schemas.recipe import Part
from scorers.seqdep.curve import FEW, Interval
from support.display.digits import rounded


class Control:
    """Canvases whose paths are not their own: of other prompts, or the first one repeated."""

    def __init__(self, corpus: Documents, kind: Literal["others", "repeated"], limit: int) -> None:
        self._corpus, self._kind, self._limit = corpus, kind, limit

    def fingerprint(self) -> str:
        """Changes whenever the documents do."""
        return f"{self._corpus.fingerprint()}/{self._kind}/{self._limit}"

    def texts(self) -> Iterator[Document]:
        """As many canvases as there are, without summaries."""
        found = [one for one in islice(self._corpus.texts(), self._limit) if one.paths]
        for i, one in enumerate(found):
            if self._kind == "others" and len(found) < len(one.paths):
                detail = f"{len(found)} prompts cannot lend {len(one.paths)} paths"
                yield Document(row=one.row, reason="too_few_prompts", detail=detail)
                continue
            if self._kind == "repeated":
                paths = (one.paths[0],) * len(one.paths)
            else:  # path j of the j-th canvas from here, in a circle
                paths = tuple(
                    others[min(j, len(others) - 1)]
                    for j in range(len(one.paths))
                    for others in (found[(i + j) % len(found)].paths,)
                )
            yield dataclasses.replace(one, paths=paths, summary="")


def compared(
    documents: int, own: Interval | None, others: Interval | None, repeated: Interval | None
) -> ControlFacts:
    """The path level of canvases between its controls, nats a token, and whether it says anything.

    It does where the interval of one path repeated lies above that of paths of other prompts.
    """
    tells = (
        repeated is not None
        and others is not None
        and repeated.low is not None
        and others.high is not None
        and repeated.low > others.high
    )
    return ControlFacts(
        documents=documents,
        canvases=_mean(own),
        others=_mean(others),
        repeated=_mean(repeated),
        tells=tells,
    )


def sentence(found: ControlFacts | None) -> str:
    """Where the paths stand between their controls, if the scorer tells these apart at all."""
    if found is None:
        return (
            "Path level: its controls were not measured (scorer.controls: 0), so that nothing can "
            "be said of it; polytrace seqdep-report draws them."
        )
    own, others, repeated = found.canvases, found.others, found.repeated
    if own is None or others is None or repeated is None:
        return "Path level: undefined, because the canvases have one path or are too few."
    if repeated.low is None or others.low is None:
        return f"Path level: under {FEW} canvases say nothing."
    gains = (
        f"one path repeated gains {_with_interval(repeated)} nats a token from its siblings, "
        f"paths of other prompts {_with_interval(others)}"
    )
    if not found.tells:
        return (
            f"Path level says nothing here: under this scorer {gains}, and the interval of the "
            "first does not lie above that of the second."
        )
    share = (own.mean - others.mean) / (repeated.mean - others.mean)
    return (
        f"Path level: the paths gain {rounded(own.mean)} nats a token from their siblings, "
        f"{share:.0%} of the way from paths of other prompts (0 %) to one path repeated (100 %); "
        f"under this scorer {gains}."
    )


def _with_interval(found: MeanFacts) -> str:
    if found.low is None or found.high is None:
        return rounded(found.mean)
    return f"{rounded(found.mean)} [{rounded(found.low)}, {rounded(found.high)}]"


def idle_filters(found: ControlFacts | None, filters: Sequence[Part]) -> Iterator[str]:
    """A sentence for each filter on a path level that says nothing."""
    for number, one in enumerate(filters):
        is_on_paths = one.kind == "seqdep" and one.options.get("level", "path") == "path"
        if is_on_paths and found is not None and not found.tells:
            yield (
                f"filters.{number} chooses canvases by path level, which says nothing here: take "
                "it out, or take a scorer that tells the controls apart (scorer.path)."
            )


def _mean(estimate: Interval | None) -> MeanFacts | None:
    if estimate is None:
        return None
    return MeanFacts(mean=estimate.value, low=estimate.low, high=estimate.high)
