"""Score many documents with and without what precedes each segment, in few forward passes.

In: documents (a prompt `x`, a response, its segments). Out: the gains of each in nats. All terms of
a document share one packed row `[x, s_1 … s_N, copies of s_2 … s_N]`: a copy sees `x` and itself
only, its positions follow `x`'s, and its first token is predicted by the last row of `x`. Where
that is not exact (`Scorer.packed_tokens`) every term gets a plain row. Rows of similar length share
a pass. Axes: B batch, N segments, T tokens, R wanted log-probabilities; a term is log p(s_n | …).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.errors import UserError
from scorers.ar import Batch, Scorer

Ints = NDArray[np.int64]


class Segment(NamedTuple):
    """Response tokens `begin` to `end`; those before `first` are its header: copied, not scored."""

    begin: int
    first: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A prompt, a response and its N segments, of which the second and later ones have gains."""

    prompt_T: tuple[int, ...]
    response_T: tuple[int, ...]
    segments_N: tuple[Segment, ...]

    @property
    def tokens_N(self) -> tuple[int, ...]:
        """Scored tokens of every segment."""
        return tuple(segment.end - segment.first for segment in self.segments_N)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a forward pass: `rows_R` of it predict `targets_R`, which add up to `terms_R`.

    Terms 0 to N-2 are joint, N-1 to 2N-3 alone. Blocks and positions are those of `Batch`.
    """

    document: int
    is_packed: bool
    ids_T: Ints
    positions_T: Ints
    blocks_T: Ints
    rows_R: Ints
    targets_R: Ints
    terms_R: Ints


def gains(
    scorer: Scorer,
    documents: Sequence[Document | None],
    *,
    batch_tokens: int,
    finished: Callable[[Sequence[int]], None],
) -> list[tuple[float, ...]]:
    """Gains log p(s_n | x, s_<n) - log p(s_n | x), n = 2 … N, of every document, in order; nats.

    A batch holds up to `batch_tokens` tokens, padding included (a longer row goes alone), and
    depends on the list only, so the same list gives the same bits. `finished` is told the indices
    of the documents that each batch completes; one that needs no pass (None, N < 2) counts at once.
    """
    rows = [row for d, document in enumerate(documents) for row in _rows(scorer, d, document)]
    terms = [np.zeros(2 * max(0, len(d.segments_N) - 1) if d else 0) for d in documents]
    pending = Counter(row.document for row in rows)
    finished([d for d in range(len(documents)) if d not in pending])
    for batch in _batches(rows, batch_tokens, scorer.packed_tokens or None):
        _add(scorer, batch, terms)
        pending.subtract(row.document for row in batch)
        finished(sorted({row.document for row in batch if not pending[row.document]}))
    return [tuple(map(float, np.subtract(*np.split(both, 2)))) for both in terms]


def _rows(scorer: Scorer, index: int, document: Document | None) -> list[Row]:
    """One packed row where that is exact, else a plain row for the whole and one for each copy."""
    if document is None or not any(document.tokens_N[1:]):
        return []
    x, response = np.array(document.prompt_T), np.array(document.response_T)
    later = list(enumerate(document.segments_N[1:]))
    joint = [(term, s.first, s.end) for term, s in later]
    copies = [
        _Branch(
            response[s.begin : s.end], [(len(later) + term, s.first - s.begin, s.end - s.begin)]
        )
        for term, s in later
        if s.first < s.end
    ]
    branches = [_Branch(response, joint), *copies]
    packed = _row(index, x, branches)
    limit = scorer.packed_tokens
    if limit is None or len(packed.ids_T) <= limit:
        return [packed]
    return [_row(index, x, [branch]) for branch in branches]


class _Branch(NamedTuple):
    """Tokens right behind `x`, and the terms (term, first token, end) wanted of them."""

    tokens_T: Ints
    wanted: list[tuple[int, int, int]]


def _row(document: int, x: Ints, branches: Sequence[_Branch]) -> Row:
    """`x` and the branches behind it; the first token of each is predicted by the last row of x."""
    ids, positions, blocks = [x], [np.arange(len(x))], [np.zeros(len(x), np.int64)]
    rows, targets, terms = [], [], []
    at = len(x)
    for block, (tokens_T, wanted) in enumerate(branches, 1):
        size = len(tokens_T)
        ids.append(tokens_T)
        positions.append(len(x) + np.arange(size))
        blocks.append(np.full(size, block))
        before = np.arange(at - 1, at - 1 + size)
        before[0] = len(x) - 1
        for term, first, end in wanted:
            rows.append(before[first:end])
            targets.append(tokens_T[first:end])
            terms.append(np.full(end - first, term))
        at += size
    return Row(
        document=document,
        is_packed=len(branches) > 1,
        ids_T=np.concatenate(ids),
        positions_T=np.concatenate(positions),
        blocks_T=np.concatenate(blocks),
        rows_R=np.concatenate(rows),
        targets_R=np.concatenate(targets),
        terms_R=np.concatenate(terms),
    )


def _batches(rows: Sequence[Row], tokens: int, exact: int | None) -> Iterator[list[Row]]:
    """Rows of one kind and similar length, the longest first, up to `tokens` a batch with padding.

    A row longer than `exact` goes alone: a length-dependent rotary scale reaches its neighbours.
    """
    batch: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.is_packed, -len(row.ids_T))):
        if batch:
            width = len(batch[0].ids_T)
            is_lonely = exact is not None and width > exact
            is_full = (len(batch) + 1) * width > tokens
            if row.is_packed != batch[0].is_packed or is_full or is_lonely:
                yield batch
                batch = []
        batch.append(row)
    if batch:
        yield batch


def _add(scorer: Scorer, rows: Sequence[Row], terms: Sequence[NDArray[np.float64]]) -> None:
    """Run one batch and add its log-probabilities to the terms of their documents."""
    width = max(len(row.ids_T) for row in rows)

    def padded(columns: list[Ints], fill: int) -> torch.Tensor:
        out = np.full((len(rows), width), fill)
        for b, column in enumerate(columns):
            out[b, : len(column)] = column
        return torch.from_numpy(out)

    is_packed = rows[0].is_packed
    batch = Batch(
        ids_BT=padded([row.ids_T for row in rows], 0),
        rows_R=torch.from_numpy(np.concatenate([b * width + r.rows_R for b, r in enumerate(rows)])),
        targets_R=torch.from_numpy(np.concatenate([row.targets_R for row in rows])),
        positions_BT=padded([row.positions_T for row in rows], 0) if is_packed else None,
        blocks_BT=padded([row.blocks_T for row in rows], -1) if is_packed else None,
    )
    log_probs_R = scorer.log_probs(batch).double().numpy()
    if not np.isfinite(log_probs_R).all():
        raise UserError(f"scorer {scorer.name}: gives log-probabilities that are not finite")
    ends = np.cumsum([len(row.terms_R) for row in rows])[:-1]
    for row, values_R in zip(rows, np.split(log_probs_R, ends), strict=True):
        np.add.at(terms[row.document], row.terms_R, values_R)
