"""SeqDep (Eq. 4, Li et al. 2026): what a segment gains from its predecessors, in nats.

In: prompts with their canvas texts and long-CoT twins. Out: path level, step level and the
summary's gain, equal to one forward pass a term but for rounding. Segments are slices of one
tokenisation of the text (METHOD section 2); headers are seen but not scored.
Axes: N segments, T tokens, V vocabulary; a term is log p(s_n | …) of one segment.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum

import torch

from schemas.canvas import header, summary_header
from schemas.records import Level, SeqDep
from scorers.ar import Scorer
from scorers.packing import Document, Segment, gains
from scorers.segments import steps, token_slice


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """One instance: path level is measured on the canvas, step level on its long-CoT twin."""

    prompt: str
    paths: tuple[str, ...]
    summary: str
    long_cot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of one instance.

    `path` and `summary_gain` (log p(S | x, paths) - log p(S | x), nats) are None where the canvas
    has no paths or exceeds the scorer's context, `step` where the twin exceeds it. An empty summary
    has no gain.
    """

    path: SeqDep | None
    step: SeqDep | None
    summary_gain: float | None


def score(
    scorer: Scorer,
    items: Sequence[Texts],
    *,
    batch_tokens: int,
    step_tokens: int,
    progress: Callable[[int], None] | None = None,
) -> list[Measured]:
    """The measurements of all items, in order.

    `batch_tokens` is what one pass may hold, `step_tokens` caps a step. The same list gives the
    same bits. `progress` is told how many items have just been finished.
    """
    pairs = [_documents(scorer, item, step_tokens) for item in items]
    pending = [2] * len(items)

    def finished(documents: Sequence[int]) -> None:
        for document in documents:
            pending[document // 2] -= 1
        done = len({d // 2 for d in documents if not pending[d // 2]})
        if progress and done:
            progress(done)

    both = [document for pair in pairs for document in pair]
    found = gains(scorer, both, batch_tokens=batch_tokens, finished=finished)
    return [_measured(*pair, *found[2 * i : 2 * i + 2]) for i, pair in enumerate(pairs)]


@torch.inference_mode()
def measure_separately(scorer: Scorer, item: Texts, *, step_tokens: int) -> Measured:
    """The reference: one plain forward pass a term, all its logits at once."""

    def term(before: Sequence[int], segment: Sequence[int]) -> float:
        ids_1T = torch.tensor([[*before, *segment]], device=scorer.model.device)
        logits_TV = scorer.model(input_ids=ids_1T, use_cache=False).logits[0]
        logits_TV = logits_TV.to(torch.promote_types(logits_TV.dtype, torch.float32))
        rows_T = logits_TV[len(before) - 1 : -1].log_softmax(-1)
        return fsum(float(row[i]) for row, i in zip(rows_T, segment, strict=True))

    def gain(document: Document, segment: Segment) -> float:
        begin, first, end = segment
        x, response = document.prompt_T, document.response_T
        if first == end:
            return 0.0
        scored = response[first:end]
        return term(x + response[:first], scored) - term(x + response[begin:first], scored)

    canvas, twin = _documents(scorer, item, step_tokens)
    found = [[gain(d, s) for s in d.segments_N[1:]] if d else [] for d in (canvas, twin)]
    return _measured(canvas, twin, *found)


def _documents(
    scorer: Scorer, item: Texts, step_tokens: int
) -> tuple[Document | None, Document | None]:
    """Canvas and long-CoT twin of an item, each None where there is nothing that can be scored."""
    prompt_T = scorer.prompt_ids(item.prompt)
    canvas, twin = _canvas(scorer, prompt_T, item), _twin(scorer, prompt_T, item, step_tokens)
    return (canvas if item.paths and _fits(scorer, canvas) else None), (
        twin if _fits(scorer, twin) else None
    )


def _canvas(scorer: Scorer, prompt_T: tuple[int, ...], item: Texts) -> Document:
    """The canvas text without its close; segments R_1 … R_P and S, each behind its header."""
    headers = [header(j) for j in range(1, len(item.paths) + 1)]
    headers.append(summary_header(len(item.paths)))
    parts = list(zip(headers, (*item.paths, item.summary), strict=True))
    ids_T, starts_T = scorer.encode("".join(head + body for head, body in parts))
    segments, at = [], 0
    for head, body in parts:
        edges = (at, at + len(head), at := at + len(head) + len(body))
        segments.append(Segment(*(bisect_left(starts_T, edge) for edge in edges)))
    return Document(prompt_T=prompt_T, response_T=ids_T, segments_N=tuple(segments))


def _twin(scorer: Scorer, prompt_T: tuple[int, ...], item: Texts, step_tokens: int) -> Document:
    """The long-CoT text; segments are its steps (one without a token of its own is none)."""
    ids_T, starts_T = scorer.encode(item.long_cot)
    slices = (token_slice(starts_T, span) for span in steps(item.long_cot, starts_T, step_tokens))
    segments_N = tuple(Segment(s.start, s.start, s.stop) for s in slices if s.start < s.stop)
    return Document(prompt_T=prompt_T, response_T=ids_T, segments_N=segments_N)


def _fits(scorer: Scorer, document: Document) -> bool:
    tokens = len(document.prompt_T) + len(document.response_T)
    return scorer.context is None or tokens <= scorer.context


def _measured(
    canvas: Document | None,
    twin: Document | None,
    canvas_gains: Sequence[float],
    twin_gains: Sequence[float],
) -> Measured:
    """Gains [N-1] of both documents as records; the canvas's last segment is the summary."""
    path, gain = None, None
    if canvas is not None:
        path = _seqdep(Level.PATH, canvas_gains[:-1], canvas.tokens_N[:-1])
        gain = canvas_gains[-1] if canvas.tokens_N[-1] else None
    step = None if twin is None else _seqdep(Level.STEP, twin_gains, twin.tokens_N)
    return Measured(path=path, step=step, summary_gain=gain)


def _seqdep(level: Level, gains: Sequence[float], tokens_N: Sequence[int]) -> SeqDep:
    scored = sum(tokens_N[1:])
    return SeqDep(
        level=level,
        nats=fsum(gains) / len(gains) if gains else None,
        nats_per_token=fsum(gains) / scored if scored else None,
        gains=tuple(gains),
        tokens=tuple(tokens_N),
    )
