"""How tokens and their confidences are taken from logits. In: logits, settings. Out: one of each.

Axes: r positions, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffusion.data.layout import encode
from diffusion.decoding import Measure

_COLDEST = 1e-6
Tokens = tuple[int | str, ...]  # ids, or texts that are one token


class Fill(StrEnum):
    """When fill tokens, and tokens that end a turn, may be committed."""

    FREE = "free"  # as any other token
    LAST = "last"  # after everything that is predicted to be content


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingFields:
    """How a token is taken from its logits, and the seed of all random numbers.

    The base of settings that have these fields among others; `sampling` is these alone, checked.

    At temperature 0 it is the most likely token, else a sample of softmax(logits / temperature).
    Its confidence is its probability at temperature 1, as in LLaDA.

    `top_p` keeps the likeliest tokens whose probabilities reach it together, `top_k` that many
    tokens; both after the temperature. `tempered`: confidences are those of the distribution that
    is sampled, with temperature, `top_p` and `top_k`, as in Dream. `guidance` is the scale w of
    classifier-free guidance, u + (w + 1) (c - u) for the logits c of the row and u of the row with
    its prompt masked (LLaDA's `cfg_scale`; Nie et al. 2025); 0: none. `suppress`: tokens whose
    logits are -inf (LLaDA's `logits_eos_inf`). `defer`: tokens that may be predicted, with a
    confidence of 0, and so come last (LLaDA's `confidence_eos_eot_inf`); the confidence of others
    is their probability without these.
    """

    temperature: float = 0.0
    seed: int = 0
    fill: Fill = Fill.FREE
    top_p: float | None = None
    top_k: int | None = None
    tempered: bool = False
    guidance: float = 0.0
    suppress: Tokens = ()
    defer: Tokens = ()

    @property
    def sampling(self) -> "Sampling":
        """These fields alone; ValueError names one that is out of range, and the range."""
        return Sampling(
            **{one.name: getattr(self, one.name) for one in fields(SamplingFields)},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling(SamplingFields):
    """The fields of `SamplingFields`, within their ranges (else ValueError), and what follows."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature: {self.temperature} is not a number of at least 0")
        if 0 < self.temperature < _COLDEST:
            raise ValueError(
                f"temperature: {self.temperature} is under {_COLDEST}, where logits overflow; take "
                "0, which gives the likeliest token"
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p: {self.top_p} is not above 0 and at most 1")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k: {self.top_k} is not at least 1")
        if not self.temperature and not self.tempered:
            for name in ("top_p", "top_k"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name}: without effect at temperature 0, unless tempered is true; "
                        "leave it out"
                    )
        if not 0 <= self.guidance < float("inf"):
            raise ValueError(f"guidance: {self.guidance} is not a number of at least 0")

    def check(self, *, is_cached: bool) -> None:
        """Raise ValueError for guidance with a cache."""
        if self.guidance and is_cached:
            raise ValueError("guidance: its second pass keeps no cache; leave one of the two out")

    def suppressed_and_deferred(self, tokenizer: Any, rows: int) -> tuple[list[int], list[int]]:
        """The ids of both settings, for a model with so many ids.

        Raises ValueError for an id that it does not have, or a text that is not one token.
        """
        suppressed, deferred = (
            sorted({_token_id(tokenizer, token, rows, name) for token in tokens})
            for name, tokens in (("suppress", self.suppress), ("defer", self.defer))
        )
        return suppressed, deferred

    @property
    def passes(self) -> int:
        """Forward passes of a step: guidance takes a second one."""
        return 2 if self.guidance else 1

    def __str__(self) -> str:
        """What differs from the defaults, without temperature, seed and fill."""
        return ", ".join(
            f"{name}={'+'.join(map(str, value)) if isinstance(value, tuple) else value}"
            for name, value in self.unusual().items()
        )

    def unusual(self) -> dict[str, Any]:
        """The settings behind `fill` that are not the defaults."""
        later = {one.name: one.default for one in fields(self) if one.name in LATER}
        values = {name: getattr(self, name) for name in later}
        return {name: value for name, value in values.items() if value != later[name]}


def _token_id(tokenizer: Any, token: int | str, rows: int, name: str) -> int:
    if isinstance(token, int):
        if not 0 <= token < rows:
            raise ValueError(f"{name}: {token} is no id; the model has ids from 0 to {rows - 1}")
        return token
    known = tokenizer.convert_tokens_to_ids(token)
    if known is not None and tokenizer.convert_ids_to_tokens(known) == token:
        return int(known)
    ids = encode(tokenizer, token)
    if len(ids) != 1:
        raise ValueError(f"{name}: {token!r} is {len(ids)} tokens; give ids or single tokens")
    return int(ids[0])


_LEAST, _TINY = torch.finfo(torch.float32).min, torch.finfo(torch.float32).tiny
# Settings that are newer than the digests of evaluations: with their defaults they have no part.
LATER = tuple(one.name for one in fields(Sampling))[3:]


class Taken(NamedTuple):
    """What is taken at each position, all [r].

    `probability_r` is of the token, `key_r` what rules rank by (`Measure`), `gap_r` the difference
    of the two highest logits (None where no rule reads it).
    """

    token_r: Tensor
    probability_r: Tensor
    key_r: Tensor
    gap_r: Tensor | None


def take(
    logits_rV: Tensor,
    sampling: Sampling,
    measure: Measure,
    *,
    draws: Sequence[torch.Generator] | None = None,
    deferred: Sequence[int] = (),
    with_gap: bool = False,
) -> Taken:
    """Tokens and confidences of float32 logits, which it overwrites.

    `draws`: a random generator for each position, if a temperature is set.
    """
    gap_r = None
    if with_gap:
        first_r, second_r = logits_rV.topk(2, 1).values.unbind(1)
        gap_r = first_r - second_r
    top_r, best_r = logits_rV.max(1)
    if sampling.temperature or sampling.tempered:
        kept_rV = logits_rV / (sampling.temperature or 1.0)
        kept_rV = _top_k(_top_p(kept_rV, sampling.top_p), sampling.top_k)
        if draws is not None:
            vocabulary = logits_rV.shape[1]
            noise_rV = torch.stack(
                [torch.empty(vocabulary).exponential_(generator=draw) for draw in draws]
            ).to(logits_rV.device)
            best_r = (kept_rV - noise_rV.log()).argmax(1)
        if sampling.tempered:
            logits_rV = kept_rV
            top_r = logits_rV.amax(1)
    is_deferred_r = None
    if deferred:
        which = torch.tensor(deferred, device=logits_rV.device)
        logits_rV.index_fill_(1, which, -torch.inf)
        is_deferred_r = torch.isin(best_r, which)
        # Where no other token is left, all weights below are 0, and so is the confidence.
        top_r = logits_rV.amax(1).clamp(min=_LEAST)
    chosen_r = logits_rV.gather(1, best_r[:, None]).squeeze(1)
    weights_rV = logits_rV.sub_(top_r[:, None]).exp_()
    mass_r = weights_rV.sum(1).clamp(min=_TINY)
    probability_r = (chosen_r - top_r).exp() / mass_r
    key_r = probability_r
    if measure is not Measure.PROBABILITY:
        key_r = _certainty(weights_rV.div_(mass_r[:, None]), measure)
        if is_deferred_r is not None:
            key_r = key_r.masked_fill(is_deferred_r, measure.least)
    return Taken(best_r, probability_r, key_r, gap_r)


def _certainty(probabilities_rV: Tensor, measure: Measure) -> Tensor:
    """What Dream's sampler ranks by, for the algorithms topk_margin and entropy."""
    if measure is Measure.MARGIN:
        first_r, second_r = probabilities_rV.topk(2, 1).values.unbind(1)
        return first_r - second_r
    # Dream adds 1e-10 in the logarithm. It decides between positions that are nearly certain.
    return (probabilities_rV * (probabilities_rV + 1e-10).log()).sum(1)


def _top_p(logits_rV: Tensor, top_p: float | None) -> Tensor:
    """The likeliest tokens up to the first with which their probabilities exceed `top_p`."""
    if top_p is None or top_p == 1:
        return logits_rV
    ordered_rV, index_rV = logits_rV.sort(1, descending=True)
    before_rV = ordered_rV.softmax(1).cumsum(1).roll(1, 1)
    before_rV[:, 0] = 0
    ordered_rV = ordered_rV.masked_fill(before_rV > top_p, -torch.inf)
    return torch.empty_like(logits_rV).scatter_(1, index_rV, ordered_rV)


def _top_k(logits_rV: Tensor, top_k: int | None) -> Tensor:
    """The `top_k` likeliest tokens, and those as likely as the last of them."""
    if top_k is None or top_k >= logits_rV.shape[1]:
        return logits_rV
    least_r1 = logits_rV.topk(top_k, 1).values[:, -1:]
    return logits_rV.masked_fill(logits_rV < least_r1, -torch.inf)
