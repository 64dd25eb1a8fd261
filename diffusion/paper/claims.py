"""The paper's claims, each tested on the cells of evaluations. Out: a table of verdicts.

A claim is about a difference between systems on the same problems. It holds if the 95 % interval of
the difference (paired bootstrap over problems) lies on the claimed side of 0, is contradicted if it
lies on the other side, and is open otherwise. With few discordant pairs a bootstrap's interval is
too narrow, so a gain of accuracy must also pass an exact sign test. Where both sides were trained
with several seeds, the interval is also about other trainings, and there is no sign test, but so
many problems must differ that one could be passed.
Under 30 problems there is no verdict.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from diffusion.decoding import Order
from diffusion.decoding.sampling import Fill
from diffusion.evaluation.settings import Training
from diffusion.paper.cells import EvaluationCells, ModelOnBenchmark, Trainings
from diffusion.paper.trainings import (
    change_of_gain,
    decisive,
    discordant,
    gain,
    gain_of_arness,
    matched,
    ordered_in_both,
    wider_and_narrower,
)
from diffusion.paper.wording import about_seeds, label_of, main_cells, name_of, points, share
from support.display.tables import Table
from support.stats import Interval, sign_test

LEVEL = 0.05
FEW = 30  # problems; the bootstrap interval of fewer is far too narrow
_ROUNDING = 1e-9
_BASE, _LONG_COT, _NAP = Training.BASE, Training.LONG_COT, Training.NAP


def claims(cells: EvaluationCells) -> Table:
    """One row for each claim and subject for which there is something to compare."""
    seeds = about_seeds(main_cells(cells))
    found = [
        (claim, name_of(subject))
        for subject in cells.subjects()
        for claim in _of(cells, subject)
        if claim.difference is not None
    ]
    return Table(
        title=f"Claims of the paper ({label_of(cells.all)})",
        header=("claim", "model", *(["seeds"] if seeds else []), "difference", "verdict"),
        rows=tuple(
            (claim.text, name, *([str(claim.seeds)] if seeds else []), claim.shown, claim.verdict)
            for claim, name in found
        ),
        note="Differences of accuracy are in percentage points, those of ARness in shares; with "
        "95 % intervals over problems; a gain must also pass an exact sign test. They say nothing "
        + (
            f"of other seeds of the fine-tuning where there is one seed. {seeds} There a claim "
            "holds or is contradicted if that interval says so and six problems or more differ, "
            "without a sign test."
            if seeds
            else "of other seeds of the fine-tuning."
        ),
    )


class _Claim(NamedTuple):
    """A claim about a difference; `rises`: that it is above 0 (else below).

    `problems` is the number of problems, `seeds` that of the trainings that are compared;
    `is_sure`: the exact test, if there is one, is passed. `of_shares`: it is one of ARness.
    """

    text: str
    difference: Interval | None
    rises: bool
    problems: int
    seeds: int
    is_sure: bool
    of_shares: bool = False

    @property
    def shown(self) -> str:
        """The difference as text."""
        return share(self.difference, "+") if self.of_shares else points(self.difference)

    @property
    def verdict(self) -> str:
        """What the interval says."""
        assert self.difference is not None
        return verdict(self.difference, rises=self.rises, count=self.problems, is_sure=self.is_sure)


def verdict(difference: Interval, *, rises: bool, count: int, is_sure: bool = True) -> str:
    """The verdict of an interval over `count` problems on a claim that something rises or falls."""
    if count < FEW:
        return "too few problems"
    if is_sure and (difference.low > 0 or difference.high < 0):
        return "holds" if (difference.low > 0) is rises else "contradicted"
    return "open"


def _of(cells: EvaluationCells, subject: ModelOnBenchmark) -> Iterator[_Claim]:
    yield from _accuracies(cells, subject)
    yield from _orders(cells, subject)


def _accuracies(cells: EvaluationCells, subject: ModelOnBenchmark) -> Iterator[_Claim]:
    steps = cells.steps(subject)
    nap = {n: cells.find(subject, _NAP, Order.FORCED, n) for n in steps}
    long_cot = {n: cells.find(subject, _LONG_COT, Order.AO, n) for n in steps}
    base = {n: cells.find(subject, _BASE, Order.AO, n) for n in steps}
    for n in steps:
        yield _gain(f"NAP > Long-CoT at {n} steps", nap[n], long_cot[n], rises=True)
    yield from _other_leads(cells, subject, steps)
    for n in steps:
        yield _gain(f"Long-CoT > the base at {n} steps", long_cot[n], base[n], rises=True)
        yield _gain(f"NAP > the base at {n} steps", nap[n], base[n], rises=True)
    if len(steps) > 1:
        few, many = steps[0], steps[-1]
        pairs = (nap[few], long_cot[few]), (nap[many], long_cot[many])
        four = matched(*pairs[0], *pairs[1])
        change = change_of_gain(*pairs)
        yield _Claim(
            f"the gap is wider at {few} steps than at {many}",
            change,
            True,
            cells.count(subject),
            len(four),
            change is not None
            and _is_sure(change, [wider_and_narrower(*some) for some in four], decisive(four)),
        )
    for n in steps:
        nap_ao = cells.find(subject, _NAP, Order.AO, n)
        base_forced = cells.find(subject, _BASE, Order.FORCED, n)
        forced = f"parallel-forced at {n} steps"
        yield _gain(f"{forced} hurts the base model", base_forced, base[n], rises=False)
        yield _gain(f"{forced} helps NAP", nap[n], nap_ao, rises=True)
    for n in steps:
        by_paths = [
            cells.find(subject, _NAP, Order.FORCED, n, paths=paths, tuned_paths=paths)
            for paths in (1, 2, 3)
        ]
        for paths in (2, 3):
            pair = by_paths[paths - 1], by_paths[paths - 2]
            yield _gain(f"{paths} paths > {paths - 1} at {n} steps", *pair, rises=True)


def _other_leads(
    cells: EvaluationCells, subject: ModelOnBenchmark, steps: Sequence[int]
) -> Iterator[_Claim]:
    """NAP's lead where fill is committed last, and by Fast-dLLM, which chooses its own steps."""
    if cells.fill(subject) is Fill.FREE:
        for n in steps:
            nap = cells.find(subject, _NAP, Order.FORCED, n, fill=Fill.LAST)
            long_cot = cells.find(subject, _LONG_COT, Order.AO, n, fill=Fill.LAST)
            yield _gain(f"NAP > Long-CoT at {n} steps, fill last", nap, long_cot, rises=True)
    nap, long_cot = (cells.find(subject, one, Order.FAST, None) for one in (_NAP, _LONG_COT))
    yield _gain("NAP > Long-CoT, both by Fast-dLLM", nap, long_cot, rises=True)


def _gain(text: str, first: Trainings, second: Trainings, *, rises: bool) -> _Claim:
    difference = gain(first, second)
    if difference is None:
        return _Claim(text, None, rises, 0, 0, False)
    pairs = matched(first, second)
    return _Claim(
        text,
        difference,
        rises,
        min(one.result.count for one, _ in pairs),
        len(pairs),
        _is_sure(difference, [discordant(*pair) for pair in pairs], decisive(pairs)),
    )


def _is_sure(difference: Interval, splits: Sequence[tuple[int, int]], problems: int) -> bool:
    """Whether one training passes the sign test, or the interval of several is wide enough.

    `problems` are those that differ. The bootstrap over a few of them is too narrow, and seeds
    whose differences happen to be equal prove nothing about the spread of others.
    """
    if len(splits) > 1:
        return difference.high - difference.low > _ROUNDING and sign_test(problems, 0) < LEVEL
    return sign_test(*splits[0]) < LEVEL


def _orders(cells: EvaluationCells, subject: ModelOnBenchmark) -> Iterator[_Claim]:
    own = cells.fill(subject)
    for n in cells.steps(subject)[-1:]:
        yield from _changes_of_arness(cells, subject, n, f"at {n} steps", own, content=False)
        yield from _changes_of_arness(
            cells, subject, n, f"of content at {n} steps", own, content=True
        )
        if own is Fill.FREE:
            yield from _changes_of_arness(
                cells, subject, n, f"at {n} steps, fill last", Fill.LAST, content=False
            )


def _changes_of_arness(
    cells: EvaluationCells,
    subject: ModelOnBenchmark,
    steps: int,
    of: str,
    fill: Fill,
    *,
    content: bool,
) -> Iterator[_Claim]:
    ao = {
        training: cells.find(subject, training, Order.AO, steps, fill=fill)
        for training in (_BASE, _LONG_COT, _NAP)
    }
    forced = cells.find(subject, _NAP, Order.FORCED, steps, fill=fill)
    claims = [(f"Long-CoT raises the ARness of AO, {of}", ao[_LONG_COT], ao[_BASE], True)]
    claims += [
        (f"NAP parallel-forced has less ARness than {name} AO, {of}", forced, other, False)
        for other, name in (
            (ao[_BASE], "the base's"),
            (ao[_LONG_COT], "Long-CoT's"),
            (ao[_NAP], "NAP's"),
        )
    ]
    for text, first, second, rises in claims:
        change = gain_of_arness(first, second, content=content)
        if change is not None:
            pairs = matched(first, second)
            both = [len(ordered_in_both(*pair, content=content)) for pair in pairs]
            is_sure = len(pairs) < 2 or change.high - change.low > _ROUNDING
            yield _Claim(text, change, rises, min(both), len(pairs), is_sure, True)
