"""Score many documents with and without what precedes each segment, in few forward passes.

In: documents (a prompt `x`, a response, one or more segmentations of it). Out: for every segment
but the first of each, two terms in nats: log p(s_n | x, s_<n) and log p(s_n | x). All terms of a
document come from one sequence `[x, s_1 … s_N, copies of s_2 … s_N]`: a copy sees `x` and itself
only, its positions follow `x`'s, and its first token is predicted by the last row of `x`. One row
holds the sequences of many documents, without padding. If that is not exact for the model
(`Scorer.packed_tokens`), every term has its own plain row. Axes: N segments, T tokens, R scored
tokens.
"""

import gc
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from scorers.seqdep.attention import Branch
from scorers.seqdep.causal_lm import Batch, Scorer
from support.capacity import is_out_of_memory
from support.errors import UserError

Ints = NDArray[np.int64]
# A longer pass is no faster on a CPU, but takes a minute with a real model, and nothing moves.
_CPU_TOKENS = 4096


class Segment(NamedTuple):
    """Response tokens `begin` to `end`; those before `first` are its header: copied, not scored."""

    begin: int
    first: int
    end: int


class Terms(NamedTuple):
    """Nats of segments 2 to N: `joint` behind all that precedes them, `alone` behind `x`."""

    joint: tuple[float, ...]
    alone: tuple[float, ...]

    @property
    def gains(self) -> tuple[float, ...]:
        """What every segment gains from its predecessors (the summands of Eq. 4)."""
        return tuple(a - b for a, b in zip(self.joint, self.alone, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A prompt, a response and its segmentations, each of N segments in order."""

    prompt_T: tuple[int, ...]
    response_T: tuple[int, ...]
    segmentations: tuple[tuple[Segment, ...], ...]


def scored_tokens(segments_N: Sequence[Segment]) -> tuple[int, ...]:
    """Scored tokens of every segment."""
    return tuple(segment.end - segment.first for segment in segments_N)


class Sum(NamedTuple):
    """A term: the sum of a row's log-probabilities `start` to `stop`."""

    term: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedRow:
    """`x` and what follows it; its rows `rows_R` predict `targets_R`.

    Several branches share the row (`is_packed`), or it is a plain sequence of one.
    """

    document: int
    is_packed: bool
    ids_T: Ints
    positions_T: Ints
    branches: tuple[Branch, ...]
    rows_R: Ints
    targets_R: Ints
    sums: tuple[Sum, ...]


def score_documents(
    scorer: Scorer,
    documents: Sequence[Document | None],
    *,
    batch_tokens: int,
    finished: Callable[[Sequence[int]], None],
) -> list[tuple[Terms, ...]]:
    """The terms of every segmentation of every document, in order; nats.

    A pass holds up to `batch_tokens` tokens, on a CPU at most 4,096 (a longer sequence has its
    own), and half as many after each time that memory runs out. The same list gives the same bits.
    `finished` gets the indices of the documents that each pass completes, and first of those that
    need no pass.
    """
    if scorer.model.device.type == "cpu":
        batch_tokens = min(batch_tokens, _CPU_TOKENS)
    rows = [row for d, document in enumerate(documents) for row in _rows(scorer, d, document)]
    counts = [  # terms of one kind of every segmentation: N - 1
        [max(0, len(s) - 1) for s in document.segmentations] if document else []
        for document in documents
    ]
    terms = [np.zeros(2 * sum(count)) for count in counts]
    pending = Counter(row.document for row in rows)
    finished([d for d in range(len(documents)) if d not in pending])
    # Plain rows of similar length share a pass; packed ones need not be sorted.
    queue = deque(sorted(rows, key=lambda row: 0 if row.is_packed else -len(row.ids_T)))
    while queue:
        batch = _take(queue, batch_tokens, scorer.packed_tokens or None)
        log_probs = _run(scorer, batch)
        if log_probs is None:
            batch_tokens = _halved(scorer, batch)
            queue.extendleft(reversed(batch))
            continue
        for row, values_R in zip(batch, log_probs, strict=True):
            for term, start, stop in row.sums:
                terms[row.document][term] += values_R[start:stop].sum()
        pending.subtract(row.document for row in batch)
        finished(sorted({row.document for row in batch if not pending[row.document]}))
    return [_split(both, count) for both, count in zip(terms, counts, strict=True)]


def _split(both: NDArray[np.float64], counts: Sequence[int]) -> tuple[Terms, ...]:
    """Joint terms of all segmentations, then the others, as `_rows` numbers them."""
    joint, alone = (tuple(map(float, half)) for half in np.split(both, 2))
    ends = list(accumulate(counts))
    return tuple(
        Terms(joint[end - count : end], alone[end - count : end])
        for count, end in zip(counts, ends, strict=True)
    )


class _Follower(NamedTuple):
    """Tokens right behind `x`, which of them are scored, and the terms that they add up to."""

    tokens_T: Ints
    scored_T: NDArray[np.bool_]
    spans: list[tuple[int, int, int]]  # (term, first, end)


def _rows(scorer: Scorer, index: int, document: Document | None) -> list[PackedRow]:
    """One packed row where that is exact, else a plain row for the whole and one for each copy."""
    if document is None:
        return []
    later = [s for segments_N in document.segmentations for s in segments_N[1:]]
    x, response = np.array(document.prompt_T), np.array(document.response_T)
    joint = [(term, s.first, s.end) for term, s in enumerate(later) if s.first < s.end]
    if not joint:
        return []
    scored_T = np.zeros(len(response), bool)
    for _, first, end in joint:
        scored_T[first:end] = True
    whole = _Follower(response, scored_T, joint)
    alike: dict[Segment, list[int]] = {}  # segmentations may share segments
    for term, segment in enumerate(later, len(later)):
        if segment.first < segment.end:
            alike.setdefault(segment, []).append(term)
    copies = []
    for (begin, first, end), numbers in alike.items():
        scored_T = np.arange(begin, end) >= first
        spans = [(term, first - begin, end - begin) for term in numbers]
        copies.append(_Follower(response[begin:end], scored_T, spans))
    limit = scorer.packed_tokens
    if limit is None or len(x) + len(response) <= limit:
        return [_row(index, x, [whole, *copies])]
    return [_row(index, x, [one]) for one in (whole, *copies)]


def _row(document: int, x: Ints, followers: Sequence[_Follower]) -> PackedRow:
    """`x` and the followers; the first token of each is predicted by the last row of x."""
    ids, positions, branches = [x], [np.arange(len(x))], []
    rows, targets, sums = [], [], []
    start, scored = len(x), 0
    for tokens_T, scored_T, spans in followers:
        size = len(tokens_T)
        ids.append(tokens_T)
        positions.append(len(x) + np.arange(size))
        branches.append(Branch(0, len(x), start, start + size))
        before_T = np.arange(start - 1, start - 1 + size)
        before_T[0] = len(x) - 1
        rows.append(before_T[scored_T])
        targets.append(tokens_T[scored_T])
        rank_T = scored + np.concatenate(([0], np.cumsum(scored_T)))
        sums += [Sum(term, int(rank_T[first]), int(rank_T[end])) for term, first, end in spans]
        start += size
        scored = int(rank_T[-1])
    return PackedRow(
        document=document,
        is_packed=len(followers) > 1,
        ids_T=np.concatenate(ids),
        positions_T=np.concatenate(positions),
        branches=tuple(branches),
        rows_R=np.concatenate(rows),
        targets_R=np.concatenate(targets),
        sums=tuple(sums),
    )


def _take(queue: deque[PackedRow], tokens: int, exact: int | None) -> list[PackedRow]:
    """The next rows of one kind, up to `tokens` with padding, at least one.

    A plain row longer than `exact` has its own pass, because a length-dependent rotary scale would
    change the other rows.
    """
    batch = [queue.popleft()]
    width = total = len(batch[0].ids_T)
    while queue and queue[0].is_packed == batch[0].is_packed:
        is_lonely = not batch[0].is_packed and exact is not None and width > exact
        total += len(queue[0].ids_T) if batch[0].is_packed else width
        if is_lonely or total > tokens:
            break
        batch.append(queue.popleft())
    return batch


def _halved(scorer: Scorer, batch: Sequence[PackedRow]) -> int:
    """Half of the tokens for which memory did not suffice; UserError if it is one sequence."""
    tokens = sum(len(row.ids_T) for row in batch)
    if len(batch) == 1:
        raise UserError(
            f"scorer {scorer.name}: {tokens} tokens of one text do not fit into memory; take a "
            f"smaller scorer, or one with a shorter context"
        )
    gc.collect()
    torch.cuda.empty_cache()
    return max(1, tokens // 2)


def _run(scorer: Scorer, rows: Sequence[PackedRow]) -> list[NDArray[np.float64]] | None:
    """The log-probabilities [R] of every row, None if memory ran out."""
    try:
        batch = _packed(rows) if rows[0].is_packed else _padded(rows)
        log_probs_R = scorer.log_probs(batch).double().numpy()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
    if not np.isfinite(log_probs_R).all():
        raise UserError(f"scorer {scorer.name}: gives log-probabilities that are not finite")
    ends = np.cumsum([len(row.targets_R) for row in rows])[:-1]
    return np.split(log_probs_R, ends)


def _packed(rows: Sequence[PackedRow]) -> Batch:
    """All rows one behind the other in a single row."""
    starts = [0, *accumulate(len(row.ids_T) for row in rows)]
    return Batch(
        ids_BT=torch.from_numpy(np.concatenate([row.ids_T for row in rows]))[None],
        positions_BT=torch.from_numpy(np.concatenate([row.positions_T for row in rows]))[None],
        rows_R=_joined([row.rows_R for row in rows], starts),
        targets_R=torch.from_numpy(np.concatenate([row.targets_R for row in rows])),
        branches=tuple(
            Branch(*(edge + start for edge in branch))
            for row, start in zip(rows, starts, strict=False)
            for branch in row.branches
        ),
    )


def _padded(rows: Sequence[PackedRow]) -> Batch:
    """The rows below each other, padded on the right."""
    width = max(len(row.ids_T) for row in rows)
    ids_BT = np.zeros((len(rows), width), np.int64)
    for b, row in enumerate(rows):
        ids_BT[b, : len(row.ids_T)] = row.ids_T
    return Batch(
        ids_BT=torch.from_numpy(ids_BT),
        rows_R=_joined([row.rows_R for row in rows], [b * width for b in range(len(rows))]),
        targets_R=torch.from_numpy(np.concatenate([row.targets_R for row in rows])),
    )


def _joined(columns: Sequence[Ints], starts: Sequence[int]) -> torch.Tensor:
    shifted = [column + start for column, start in zip(columns, starts, strict=False)]
    return torch.from_numpy(np.concatenate(shifted))
