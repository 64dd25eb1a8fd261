"""What a run of lm_eval says of its likelihoods: they are estimates, and how sure they are.

In: the estimate of every request. Out: figures that lm_eval writes into its results.
"""

from collections import defaultdict
from dataclasses import asdict, dataclass
from math import hypot
from typing import Any

from diffusion.evaluation.likelihood import GROUP, Likelihood
from support.stats import t_point


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatesSummary:
    """All likelihoods of a run, in nats.

    `exact` requests had so few tokens that the bound was computed exactly. `choices` are documents
    with several answers behind one context; of `undecided` ones, the likeliest answer is ahead of
    the second by less than 1.96 standard errors of their difference.
    """

    what: str
    samples: int
    requests: int
    exact: int
    mean_standard_error: float
    largest_standard_error: float
    choices: int
    undecided: int


class Estimates:
    """Collects the estimates of a run."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._errors: list[float] = []
        self._by_document: dict[tuple[Any, ...], list[Likelihood]] = defaultdict(list)

    def add(self, document: tuple[Any, ...], one: Likelihood) -> None:
        """Note an estimate; requests of one document and one context have the same key."""
        self._errors.append(one.error)
        self._by_document[document].append(one)

    def summary(self) -> dict[str, Any]:
        """For the results; empty if no task asked for likelihoods."""
        if not self._errors:
            return {}
        choices = [some for some in self._by_document.values() if len(some) > 1]
        made = EstimatesSummary(
            what="Monte-Carlo estimates of the bound of LLaDA's Eq. 6, not exact likelihoods",
            samples=self._samples,
            requests=len(self._errors),
            exact=sum(error == 0 for error in self._errors),
            mean_standard_error=sum(self._errors) / len(self._errors),
            largest_standard_error=max(self._errors),
            choices=len(choices),
            undecided=sum(_is_undecided(some, self._samples // GROUP) for some in choices),
        )
        return {"likelihoods": asdict(made)}


def _is_undecided(choices: list[Likelihood], groups: int) -> bool:
    """`groups`: of samples, whose spread is the standard error of each that is not exact."""
    first, second = sorted(choices, key=lambda one: -one.value)[:2]
    error = hypot(first.error, second.error)
    if not error:
        return first.value == second.value
    # Welch's degrees of freedom, between those of one estimate and of both.
    freedom = int((groups - 1) * error**4 / (first.error**4 + second.error**4) + 1e-9)
    return first.value - second.value <= t_point(freedom) * error
