"""SeqDep (Eq. 4, Li et al. 2026): what a segment gains from its predecessors, in nats.

In: prompts with texts, canvases, or both. Out: path level and the summary's gain on the canvas,
step and window level on the text. Except for rounding they equal those of one forward pass a term.
Segments are slices of one tokenisation of the text (METHOD section 2); headers are not scored.
Axes: P paths, N segments, T tokens, V vocabulary; a term is log p(s_n | …) of one segment.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, product
from math import fsum

from schemas.records import Level, SeqDep, Siblings
from scorers.seqdep.causal_lm import Scorer
from scorers.seqdep.packing import Document, Segment, Terms, score_documents, scored_tokens
from scorers.seqdep.segments import Span, token_slice
from scorers.seqdep.segments.path import framed
from scorers.seqdep.segments.step import steps
from scorers.seqdep.segments.window import windows

# The most characters that a token stands for on average, for any text: a text that is longer than
# the context allows need not be encoded whole.
_MOST_CHARACTERS = 32
# A path is a near copy of another one if that explains half of its nats, and at least this many a
# token: a scorer that has memorised a path cannot tell what repeats it.
NEAR_COPY_SHARE, NEAR_COPY_NATS_PER_TOKEN = 0.5, 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredInstance:
    """One instance: a text (such as a long-CoT form), and a canvas where there are paths."""

    prompt: str
    text: str = ""
    paths: tuple[str, ...] = ()
    summary: str = ""

    @property
    def characters(self) -> int:
        """Of all that is scored or seen, at least one."""
        texts = (self.prompt, self.text, self.summary, *self.paths)
        return 1 + sum(map(len, texts))


@dataclass(frozen=True, slots=True, kw_only=True)
class SeqDepSettings:
    """How instances are scored.

    Attributes:
        batch_tokens: most tokens of one pass.
        step_tokens: longest step.
        window_tokens: length of a window.
        keep_part: if a document exceeds the scorer's context, score the part that fits and mark
            it; else it is not scored at all.
        canvas_steps: measure steps and windows on the canvas too.
        siblings: measure every path given every other one.
        levels: what is measured; the summary's gain needs the path level.
    """

    batch_tokens: int = 16384
    step_tokens: int = 64
    window_tokens: int = 64
    keep_part: bool = False
    canvas_steps: bool = False
    siblings: bool = False
    levels: tuple[Level, ...] = tuple(Level)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The measurements of one instance.

    `path`, `summary_gain` (log p(S | x, paths) - log p(S | x), nats) and what else is measured on
    the canvas are None without paths, `step` and `window` without text, and all of them if it
    exceeds the scorer's context. An empty or cut summary has no gain.
    """

    path: SeqDep | None
    step: SeqDep | None
    window: SeqDep | None
    summary_gain: float | None
    canvas_step: SeqDep | None = None
    canvas_window: SeqDep | None = None
    siblings: Siblings | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """A document, and the levels of its segmentations."""

    document: Document
    levels: tuple[Level, ...]
    is_cut: bool
    paths: int  # 0 where it is no canvas


@dataclass(frozen=True, slots=True)
class _Parts:
    """The documents of an instance: canvas, text, and every ordered pair of its paths."""

    canvas: _Part | None
    text: _Part | None
    pairs: tuple[_Part | None, ...]

    def documents(self) -> list[Document | None]:
        parts = (self.canvas, self.text, *self.pairs)
        return [None if part is None else part.document for part in parts]


def measure(
    scorer: Scorer,
    items: Sequence[ScoredInstance],
    settings: SeqDepSettings,
    *,
    progress: Callable[[int], None] | None = None,
) -> list[Measured]:
    """The measurements of all items, in order.

    The same list gives the same bits. `progress` gets the number of items just finished.
    """
    parts = [_parts(scorer, item, settings) for item in items]
    documents = [one.documents() for one in parts]
    owners = [i for i, of_item in enumerate(documents) for _ in of_item]
    pending = [len(of_item) for of_item in documents]

    def finished(indices: Sequence[int]) -> None:
        for index in indices:
            pending[owners[index]] -= 1
        done = len({owners[i] for i in indices if not pending[owners[i]]})
        if progress and done:
            progress(done)

    flat = list(chain.from_iterable(documents))
    terms = iter(
        score_documents(scorer, flat, batch_tokens=settings.batch_tokens, finished=finished)
    )
    return [_measured(one, [next(terms) for _ in one.documents()]) for one in parts]


def _parts(scorer: Scorer, item: ScoredInstance, settings: SeqDepSettings) -> _Parts:
    prompt_T = scorer.prompt_ids(item.prompt)
    canvas = _canvas(scorer, prompt_T, item, settings) if item.paths else None
    text = _text(scorer, prompt_T, item.text, settings) if item.text or not item.paths else None
    pairs: list[_Part | None] = []
    if settings.siblings and len(item.paths) > 1:
        for i, j in product(range(len(item.paths)), repeat=2):
            pair = ScoredInstance(prompt=item.prompt, paths=(item.paths[i], item.paths[j]))
            pairs.append(_canvas(scorer, prompt_T, pair, SeqDepSettings()) if i != j else None)
    return _Parts(canvas, text, tuple(pairs))


def _canvas(
    scorer: Scorer, prompt_T: tuple[int, ...], item: ScoredInstance, settings: SeqDepSettings
) -> _Part | None:
    """The canvas text without its close; segments R_1 … R_P and S, each behind its header."""
    text, headers, bodies = framed(item.paths, item.summary)
    ids_T, starts_T = scorer.encode(_head(scorer, text))

    def segment(header: Span, pieces: Iterable[Span]) -> list[Segment]:
        """The segments of adjacent pieces; the first segment includes the header."""
        segments, begin = [], bisect_left(starts_T, header.start)
        for piece in pieces:
            first, end = (bisect_left(starts_T, edge) for edge in piece)
            segments.append(Segment(begin, first, end))
            begin = end
        return segments

    def cut(pieces: Callable[[str, Sequence[int]], list[Span]]) -> tuple[Segment, ...]:
        """The segments of all bodies, each cut into smaller pieces."""
        segments = []
        for header, body in zip(headers, bodies, strict=True):
            own = token_slice(starts_T, body)
            inner = pieces(text[slice(*body)], [s - body.start for s in starts_T[own]])
            segments += segment(header, [Span(a + body.start, b + body.start) for a, b in inner])
        return tuple(s for s in segments if s.first < s.end)

    whole = tuple(s for h, b in zip(headers, bodies, strict=True) for s in segment(h, [b]))
    levels: dict[Level, tuple[Segment, ...]] = {Level.PATH: whole}
    if settings.canvas_steps:
        levels[Level.STEP] = cut(lambda t, starts: steps(t, starts, settings.step_tokens))
        levels[Level.WINDOW] = cut(lambda t, starts: windows(t, starts, settings.window_tokens))
    return _fitted(scorer, prompt_T, ids_T, levels, settings, paths=len(item.paths))


def _text(
    scorer: Scorer, prompt_T: tuple[int, ...], text: str, settings: SeqDepSettings
) -> _Part | None:
    """A text; its segments are its steps and windows that have a token of their own."""
    text = _head(scorer, text)
    ids_T, starts_T = scorer.encode(text)

    def slices(spans: Iterable[Span]) -> tuple[Segment, ...]:
        tokens = (token_slice(starts_T, span) for span in spans)
        return tuple(Segment(s.start, s.start, s.stop) for s in tokens if s.start < s.stop)

    levels = {
        Level.STEP: slices(steps(text, starts_T, settings.step_tokens)),
        Level.WINDOW: slices(windows(text, starts_T, settings.window_tokens)),
    }
    return _fitted(scorer, prompt_T, ids_T, levels, settings)


def _head(scorer: Scorer, text: str) -> str:
    """The text, or a beginning of it that already exceeds the scorer's context."""
    if scorer.context is None:
        return text
    head = text[: scorer.context * _MOST_CHARACTERS]
    is_cut = len(head) < len(text) and len(scorer.encode(head).ids_T) > scorer.context
    return head if is_cut else text


def _fitted(
    scorer: Scorer,
    prompt_T: tuple[int, ...],
    ids_T: tuple[int, ...],
    levels: dict[Level, tuple[Segment, ...]],
    settings: SeqDepSettings,
    *,
    paths: int = 0,
) -> _Part | None:
    """The document, the part of it that fits the scorer's context, or None."""
    room = len(ids_T) if scorer.context is None else scorer.context - len(prompt_T)
    is_cut = len(ids_T) > room
    if is_cut and (not settings.keep_part or room < 1):
        return None
    levels = {level: segments for level, segments in levels.items() if level in settings.levels}
    return _Part(
        Document(
            prompt_T=prompt_T,
            response_T=ids_T[:room],
            segmentations=tuple(_cut(segments, room) for segments in levels.values()),
        ),
        tuple(levels),
        is_cut,
        paths,
    )


def _cut(segments_N: Iterable[Segment], room: int) -> tuple[Segment, ...]:
    """The segments among the first `room` tokens; the last one may be cut."""
    return tuple(Segment(b, f, min(e, room)) for b, f, e in segments_N if f < room or e <= room)


def _measured(parts: _Parts, terms: Sequence[Sequence[Terms]]) -> Measured:
    """The records of all documents' terms; the canvas's last segment is the summary."""
    canvas = _levels(parts.canvas, terms[0])
    text = _levels(parts.text, terms[1])
    gain = None
    if parts.canvas is not None and not parts.canvas.is_cut and Level.PATH in parts.canvas.levels:
        segments_N, path = parts.canvas.document.segmentations[0], terms[0][0]
        gain = path.gains[-1] if scored_tokens(segments_N)[-1] else None
    return Measured(
        path=canvas.get(Level.PATH),
        step=text.get(Level.STEP),
        window=text.get(Level.WINDOW),
        summary_gain=gain,
        canvas_step=canvas.get(Level.STEP),
        canvas_window=canvas.get(Level.WINDOW),
        siblings=_siblings(parts.pairs, terms[2:]) if parts.pairs else None,
    )


def _levels(part: _Part | None, terms: Sequence[Terms]) -> dict[Level, SeqDep]:
    if part is None:
        return {}
    records = {}
    segmentations = part.document.segmentations
    for level, segments_N, both in zip(part.levels, segmentations, terms, strict=True):
        gains, tokens_N = both.gains, scored_tokens(segments_N)
        if level is Level.PATH:  # without the summary
            gains, tokens_N = gains[: part.paths - 1], tokens_N[: part.paths]
        records[level] = seqdep_record(level, gains, tokens_N, is_cut=part.is_cut)
    return records


def seqdep_record(
    level: Level, gains: Sequence[float], tokens_N: Sequence[int], *, is_cut: bool = False
) -> SeqDep:
    """The record of gains [N-1] in nats, for segments with `tokens_N` scored tokens."""
    scored = sum(tokens_N[1:])
    return SeqDep(
        level=level,
        nats=fsum(gains) / len(gains) if gains else None,
        nats_per_token=fsum(gains) / scored if scored else None,
        gains=tuple(gains),
        tokens=tuple(tokens_N),
        is_cut=is_cut,
    )


def _siblings(pairs: Sequence[_Part | None], terms: Sequence[Sequence[Terms]]) -> Siblings:
    """The gains of every path given every other one; path i is given in row i."""
    size = round(len(pairs) ** 0.5)
    gains: list[float | None] = []
    copies: list[tuple[int, int]] = []
    for number, (pair, both) in enumerate(zip(pairs, terms, strict=True)):
        tokens = scored_tokens(pair.document.segmentations[0])[1] if pair else 0
        gain = both[0].gains[0] if tokens else 0.0
        gains.append(gain / tokens if tokens else None)
        if tokens:
            enough = max(-both[0].alone[0] * NEAR_COPY_SHARE, tokens * NEAR_COPY_NATS_PER_TOKEN)
            if gain >= enough:
                copies.append(divmod(number, size))
    return Siblings(
        gains_per_token=tuple(tuple(gains[i * size : (i + 1) * size]) for i in range(size)),
        near_copies=tuple(copies),
    )
