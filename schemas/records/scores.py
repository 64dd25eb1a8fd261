"""What the scorer measures of a canvas: SeqDep, and what sibling paths tell of one another."""

from dataclasses import dataclass

from schemas.records.terms import Level


@dataclass(frozen=True, slots=True, kw_only=True)
class SeqDep:
    """Eq. 4 for one text: N segments, N-1 gains.

    `nats` is the mean gain a segment (Eq. 4), `nats_per_token` the summed gain over the summed
    tokens of segments 2 to N; both are None where N < 2. `gains` [N-1] is in nats, `tokens` [N].
    `is_cut`: only the part that fits into the scorer's context was measured.
    """

    level: Level
    nats: float | None
    nats_per_token: float | None
    gains: tuple[float, ...]
    tokens: tuple[int, ...]
    is_cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Siblings:
    """How much the paths of a canvas tell about one another.

    `gains_per_token` [P, P]: nats a token that path j gains from path i before it, at row i and
    column j; None on the diagonal. `near_copies` are the pairs (i, j), 0-based, where path i saves
    at least half of path j's nats, and at least 0.2 nats a token.
    """

    gains_per_token: tuple[tuple[float | None, ...], ...]
    near_copies: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """All scores of one canvas; the defaults are those of a recipe without a scorer.

    `path` is measured on the canvas, `step` and `window` on its long-CoT form; `summary_gain`
    (nats) is log p(S | x, paths) - log p(S | x). `siblings` is measured where the recipe asks.
    """

    prompt_id: str
    path: SeqDep | None = None
    step: SeqDep | None = None
    window: SeqDep | None = None
    summary_gain: float | None = None
    scorer: str = ""
    scorer_revision: str = ""
    siblings: Siblings | None = None
