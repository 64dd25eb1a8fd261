"""What a corpus has cost: tokens as they were counted; money and energy if the recipe says how.

In: a finished run before its manifest is written. Out: sentences for the card. The manifest holds
no time, so energy is estimated from the speed and the power that the makers state, and is not
known where they state none.
"""

from dataclasses import dataclass
from pathlib import Path

from curation.release.documents.provenance import statements
from curation.release.token_usage import (
    JudgeUsage,
    TraceUsage,
    count_judge_usage,
    count_traces,
    requested_summaries,
)
from curation.sampling.spending import sum_of, tokens_of
from schemas.manifest import Manifest
from schemas.recipe import Recipe
from support.display.digits import rounded


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Tokens of the traces, of requested summaries, and of a judge."""

    traces: TraceUsage
    summaries_read: int
    summaries_written: int
    judge: JudgeUsage

    @property
    def read(self) -> int:
        """Tokens that the teacher read."""
        return self.traces.read + self.summaries_read

    @property
    def written(self) -> int:
        """Tokens that the teacher wrote."""
        return self.traces.written + self.summaries_written


def count_costs(run: Path, manifest: Manifest) -> Costs:
    """Count the tokens of a run; DamagedError where a file cannot be read."""
    summaries = sum_of(map(tokens_of, requested_summaries(run)))
    return Costs(
        traces=count_traces(run, manifest),
        summaries_read=summaries.prompt,
        summaries_written=summaries.completion,
        judge=count_judge_usage(run),
    )


def cost_sentences(costs: Costs, manifest: Manifest, recipe: Recipe) -> list[str]:
    """What sampling cost, one sentence or two for each of tokens, money and energy."""
    sampled, traces = manifest.traces.sampled, costs.traces
    recorded = "What the recorded traces cost their makers is not known."
    if not sampled and not costs.written and not costs.judge.replies:
        return [f"Nothing was sampled for this corpus. {recorded}"]
    tokens = f"Tokens: the teacher read {costs.read:,} and wrote {costs.written:,}."
    if costs.judge.replies:
        tokens += (
            f" The judge read {costs.judge.read:,} and wrote {costs.judge.written:,}, for all "
            "verdicts in the run directory."
        )
    if traces.uncounted:
        tokens += (
            f" {traces.uncounted:,} of the {traces.traces:,} traces have no count and are not in "
            "these sums."
        )
    if sampled < manifest.traces.in_:
        tokens += f" {recorded}"
    left_out = (
        "Not counted are requests that were cut off, samples under other settings, grading without "
        "a judge, and scoring."
    )
    return [tokens, _money(costs, recipe), _energy(costs, recipe), left_out]


def _money(costs: Costs, recipe: Recipe) -> str:
    price = recipe.price
    if price is None:
        return "Money: not known; the recipe names no `price`."
    money = price.of(costs.read, costs.written)
    text = (
        f"Money: {price.amount(money + price.of_judge(costs.judge.read, costs.judge.written))}, at "
        f"the recipe's prices for a million tokens: {price.amount(price.prompt)} read, "
        f"{price.amount(price.completion)} written"
    )
    if costs.judge.replies and price.judge is None:
        return f"{text}; without the judge, whose price the recipe does not name."
    return f"{text}."


def _energy(costs: Costs, recipe: Recipe) -> str:
    energy = statements(recipe).energy
    if energy is None:
        return "Energy: not known; the recipe names no `card.energy`."
    used = energy.kilowatt_hours(costs.written)
    text = (
        f"Energy of sampling, estimated: {rounded(used)} kWh, as {costs.written:,} tokens at "
        f"{energy.tokens_per_second:,g} tokens a second and {energy.watts:,g} W, as the makers "
        "state"
    )
    if energy.grams_per_kwh is None:
        return f"{text}."
    grams = used * energy.grams_per_kwh
    return f"{text}; {rounded(grams)} g of CO2 at {energy.grams_per_kwh:,g} g for a kWh."
