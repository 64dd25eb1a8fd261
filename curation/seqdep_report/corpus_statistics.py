"""The scores of a corpus summarised: means, curves over length, means by segment.

In: scores of documents. Out: `CorpusStatistics`, as JSON and as text for a terminal.
"""

import dataclasses
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from curation.seqdep_report.kept_scores import TextScores
from schemas.records import Level
from scorers.seqdep.curve import FEW, Curve, Interval, curve

MOST_INDICES, SHOWN_INDICES = 64, 8


@dataclass(frozen=True, slots=True)
class AtIndex:
    """The mean gain of segment `index` (2 is the first), over the documents that have it."""

    index: int
    documents: int
    nats: float
    nats_per_token: float


@dataclass(frozen=True, slots=True)
class LevelStatistics:
    """One level: curves of nats a segment (Eq. 4) and of nats a token, and means by index."""

    level: Level
    nats: Curve
    nats_per_token: Curve
    by_index: tuple[AtIndex, ...]


@dataclass(frozen=True, slots=True)
class CorpusStatistics:
    """A corpus: documents scored, partly scored (`cut`), not scored; and each level's figures."""

    documents: int
    cut: int
    canvases: int
    siblings: int  # canvases whose siblings were measured
    sibling_gain: float | None  # nats a token from one other path, mean over pairs
    near_copies: int  # canvases that hold some
    not_scored: dict[str, int]
    levels: tuple[LevelStatistics, ...]

    def json(self) -> str:
        """All figures."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    def text(self) -> str:
        """The means and slopes as an aligned table."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.documents} documents scored" + (
            f", {self.cut} of them in the part that fits the scorer" if self.cut else ""
        )
        for reason, count in sorted(self.not_scored.items()):
            yield f"{count} not scored: {reason}"
        if self.canvases:
            yield f"{self.canvases} canvases: steps and windows begin anew with every path"
        if self.sibling_gain is not None:
            yield (
                f"a path gains {self.sibling_gain:+.3f} nats a token from one sibling; "
                f"{self.near_copies} of {self.siblings} canvases hold near-copies"
            )
        yield f"{'level':8}{'nats a segment':>26}{'nats a token':>26}{'slope per 1,000 tokens':>28}"
        for one in self.levels:
            yield (
                f"{one.level:8}{as_text(one.nats.mean):>26}{as_text(one.nats_per_token.mean):>26}"
                f"{as_text(one.nats_per_token.slope, few=one.nats.documents):>28}"
            )
        for one in self.levels:
            means = (f"{mean.index}: {mean.nats:.2f}" for mean in one.by_index[:SHOWN_INDICES])
            yield f"{one.level:8}nats of segment {', '.join(means) or '2: none has one'}"


def as_text(estimate: Interval | None, *, few: int = FEW) -> str:
    """A value with its interval, or the reason why there is none."""
    if estimate is None:
        return f"under {FEW} documents" if few < FEW else "undefined"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


class SegmentMeans:
    """The mean gains of segments 2, 3, … of each level, at most `MOST_INDICES` of them."""

    def __init__(self) -> None:
        self._sums: dict[tuple[Level, int], list[float]] = {}

    def add(self, level: Level, gains: Sequence[float], tokens: Sequence[int]) -> None:
        """One document: gains of segments 2 to N, tokens of segments 1 to N."""
        for index, gain in enumerate(gains[:MOST_INDICES], 2):
            total = self._sums.setdefault((level, index), [0, 0.0, 0])
            total[0] += 1
            total[1] += gain
            total[2] += tokens[index - 1]

    def by_index(self, level: Level) -> Iterator[AtIndex]:
        """The means of a level, in the order of their index."""
        for (of, index), (n, nats, tokens) in sorted(self._sums.items()):
            if of is level:
                yield AtIndex(index, int(n), nats / n, nats / tokens if tokens else 0.0)


class _Points(NamedTuple):
    """One entry for each document."""

    tokens: "array[float]"
    nats: "array[float]"
    nats_per_token: "array[float]"


def corpus_statistics(scores: Iterable[TextScores]) -> CorpusStatistics:
    """The figures of all scores, which are streamed: three numbers a document and level stay."""
    reasons: Counter[str] = Counter()
    points: dict[Level, _Points] = {}
    means = SegmentMeans()
    documents = cut = copies = canvases = 0
    siblings, pairs, pair_gain = 0, 0, 0.0
    for document in scores:
        if document.reason:
            reasons[document.reason] += 1
            continue
        documents += 1
        levels = [x for x in (document.path, document.step, document.window) if x is not None]
        cut += any(level.is_cut for level in levels)
        canvases += document.path is not None
        if document.siblings is not None:
            siblings += 1
            copies += bool(document.siblings.near_copies)
            gains = [g for row in document.siblings.gains_per_token for g in row if g is not None]
            pairs, pair_gain = pairs + len(gains), pair_gain + sum(gains)
        for level in levels:
            columns = points.setdefault(level.level, _Points(array("d"), array("d"), array("d")))
            if level.nats is None or level.nats_per_token is None:
                continue
            columns.tokens.append(sum(level.tokens))
            columns.nats.append(level.nats)
            columns.nats_per_token.append(level.nats_per_token)
            means.add(level.level, level.gains, level.tokens)
    return CorpusStatistics(
        documents=documents,
        cut=cut,
        canvases=canvases,
        siblings=siblings,
        sibling_gain=pair_gain / pairs if pairs else None,
        near_copies=copies,
        not_scored=dict(reasons),
        levels=tuple(
            LevelStatistics(
                level=level,
                nats=curve(points[level].nats, points[level].tokens),
                nats_per_token=curve(points[level].nats_per_token, points[level].tokens),
                by_index=tuple(means.by_index(level)),
            )
            for level in Level
            if level in points
        ),
    )
