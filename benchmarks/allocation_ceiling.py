"""What no rule of stopping can exceed: canvases for each sample, where pass rates follow a prior.

The best rule that looks at the grades of a prompt's samples, found by dynamic programming. Before
each sample, it weighs the chance that the group will stand against the cost of the samples until
then. The cost at which a prompt is just not worth beginning is the most canvases a sample
(Dinkelbach's method for ratios). A second figure is the cheapest rule that gives a canvas to as
many prompts as a fixed number of samples does. A sample is cut off with the probability `CUT`;
with `SHARED` it is the text that all such samples of a prompt have in common, and counts once.

`python -m benchmarks.allocation_ceiling`, for the loopback teacher of `allocation.py`; a second.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

from benchmarks.allocation import FIXED, MIXES, MOST, PRIOR, TEXTS, Mix
from benchmarks.lines import Line, median_line, report

CUT, SHARED = TEXTS.length_share, TEXTS.duplicate_share
Stands = Callable[[int, int], bool]
"""Whether so many distinct right and other samples make a group."""


class State(NamedTuple):
    """Distinct right and other samples, whether the shared text is among them, and all drawn."""

    right: int = 0
    other: int = 0
    shared: bool = False
    drawn: int = 0


class Outcome(NamedTuple):
    """Expected worth (canvases less the cost of samples), canvases and samples of a prompt."""

    worth: float
    canvases: float
    samples: float


def best_rule(stands: Stands, alpha: float, beta: float, most: int) -> Outcome:
    """The outcome of the rule with the most canvases a sample; pass rates ~ Beta(alpha, beta)."""
    outcome = _begun(stands, alpha, beta, most, 0.0)
    cost = 0.0
    while (rate := outcome.canvases / outcome.samples) > cost + 1e-9:
        cost = rate
        outcome = _begun(stands, alpha, beta, most, cost)
    return outcome


def cheapest_rule(stands: Stands, alpha: float, beta: float, most: int, share: float) -> Outcome:
    """The outcome of the rule with the fewest samples that gives a canvas to `share` of prompts.

    The lower the cost of a sample, the more prompts get a canvas. Where `share` lies between the
    outcomes of two rules, some prompts are drawn by the one and some by the other.
    """
    low, high = 0.0, 1.0
    more, fewer = (_begun(stands, alpha, beta, most, cost) for cost in (low, high))
    while high - low > 1e-6:
        cost = (low + high) / 2
        outcome = _begun(stands, alpha, beta, most, cost)
        if outcome.canvases >= share:
            low, more = cost, outcome
        else:
            high, fewer = cost, outcome
    part = (share - fewer.canvases) / (more.canvases - fewer.canvases)
    samples = fewer.samples + part * (more.samples - fewer.samples)
    return Outcome(share - low * samples, share, samples)


def fixed(stands: Stands, alpha: float, beta: float, n: int) -> Outcome:
    """The outcome of n samples for every prompt."""
    return _begun(lambda right, other: False, alpha, beta, n, 0.0, at_end=stands)


def _begun(
    stands: Stands,
    alpha: float,
    beta: float,
    most: int,
    cost: float,
    at_end: Stands | None = None,
) -> Outcome:
    @cache
    def best(state: State) -> Outcome:
        right, other, shared, drawn = state
        if stands(right, other):
            return Outcome(1.0, 1.0, 0.0)
        if drawn == most:
            made = float(at_end is not None and at_end(right, other))
            return Outcome(made, made, 0.0)
        is_right = (alpha + right) / (alpha + beta + right + other)
        again = State(right, other, shared, drawn + 1)
        branches = [(CUT, again)]
        for share, of_shared in ((1 - SHARED, False), (SHARED, True)):
            if of_shared and shared:
                branches.append(((1 - CUT) * share, again))
                continue
            seen = shared or of_shared
            for odds, state_then in (
                (is_right, State(right + 1, other, seen, drawn + 1)),
                (1 - is_right, State(right, other + 1, seen, drawn + 1)),
            ):
                branches.append(((1 - CUT) * share * odds, state_then))
        outcomes = [(odds, best(then)) for odds, then in branches]
        worth = sum(odds * one.worth for odds, one in outcomes) - cost
        if drawn and cost and worth <= 0:
            return Outcome(0.0, 0.0, 0.0)
        return Outcome(
            worth,
            sum(odds * one.canvases for odds, one in outcomes),
            1 + sum(odds * one.samples for odds, one in outcomes),
        )

    return best(State())


def main() -> None:
    """Compute and print."""
    report("allocation_ceiling", *(line for mix in MIXES for line in ceilings(mix)))


def ceilings(mix: Mix) -> Iterator[Line]:
    """The best rule against the best fixed number of samples, for a wanted mix of three paths."""
    right_least, right_most = mix.correct
    other_least = 3 - right_most

    def stands(right: int, other: int) -> bool:
        return right >= right_least and other >= other_least and right + other >= 3

    best = best_rule(stands, *PRIOR, MOST)
    outcomes = {n: fixed(stands, *PRIOR, n) for n in FIXED}
    rates = {n: one.canvases / n for n, one in outcomes.items()}
    most = max(rates, key=rates.__getitem__)
    said = ", ".join(f"n = {n}: {one.canvases:.0%} of prompts" for n, one in outcomes.items())
    yield median_line(
        f"canvases_per_sample_ceiling_loopback_{mix.name}",
        [best.canvases / best.samples / rates[most]],
        f"ratio to fixed n = {most}",
        digits=2,
        baseline=f"the best: {best.canvases:.0%} of prompts, {best.samples:.1f} samples; {said}",
    )
    for n, one in outcomes.items():
        cheapest = cheapest_rule(stands, *PRIOR, MOST, one.canvases)
        yield median_line(
            f"samples_at_equal_share_of_prompts_ceiling_loopback_{mix.name}_{n}",
            [n / cheapest.samples],
            f"ratio of fixed n = {n} to the best rule, samples a prompt",
            digits=2,
            baseline=f"{one.canvases:.0%} of prompts get a canvas by both; the best rule draws "
            f"{cheapest.samples:.1f} samples",
        )


if __name__ == "__main__":
    main()
