"""The paper's claims, each tested on what was evaluated. In: findings. Out: a table of verdicts.

A claim is a difference between systems on the same problems; it holds where the 95 % interval of
the difference (paired bootstrap over problems) lies on the claimed side of 0, is contradicted where
it lies on the other, and is open else. Few discordant pairs make a bootstrap too sure of itself: a
gain of accuracy must also pass an exact sign test. Under 30 problems nothing is said.
"""

from collections.abc import Iterator
from typing import NamedTuple

from diffusion.decoding import Order
from diffusion.evaluation.settings import Training
from diffusion.paper.cells import (
    EvaluationCell,
    EvaluationCells,
    ModelOnBenchmark,
    change_of_gain,
    discordant,
    gain,
    gain_of_arness,
    ordered_in_both,
    wider_and_narrower,
)
from diffusion.paper.tables import label_of, name_of, points, share
from support.display.tables import Table
from support.stats import Interval, sign_test

LEVEL = 0.05
FEW = 30  # problems; a bootstrap of fewer is far too sure of itself
_BASE, _LONG_COT, _NAP = Training.BASE, Training.LONG_COT, Training.NAP


def claims(findings: EvaluationCells) -> Table:
    """One row for each claim and subject for which there is something to compare."""
    return Table(
        title=f"Claims of the paper ({label_of(findings.all)})",
        header=("claim", "model", "difference", "verdict"),
        rows=tuple(
            (claim, name_of(subject), shown, verdict)
            for subject in findings.subjects()
            for claim, shown, verdict in _of(findings, subject)
        ),
        note="Differences of accuracy are in percentage points, those of ARness in shares; with "
        "95 % intervals over problems; a gain must also pass an exact sign test. They say nothing "
        "of other seeds of the fine-tuning.",
    )


class _Claim(NamedTuple):
    """A difference over some problems; `rises`: it should be above 0.

    `is_sure`: it passes the exact test, where there is one.
    """

    text: str
    difference: Interval | None
    rises: bool
    problems: int
    is_sure: bool = True


def verdict(difference: Interval, *, rises: bool, count: int, is_sure: bool = True) -> str:
    """What an interval over `count` problems says of a claim that something rises, or falls."""
    if count < FEW:
        return "too few problems"
    if is_sure and (difference.low > 0 or difference.high < 0):
        return "holds" if (difference.low > 0) is rises else "contradicted"
    return "open"


def _of(findings: EvaluationCells, subject: ModelOnBenchmark) -> Iterator[tuple[str, str, str]]:
    for show, found in (
        (points, _accuracies(findings, subject)),
        (lambda difference: share(difference, "+"), _orders(findings, subject)),
    ):
        for claim in found:
            if claim.difference is not None:
                said = verdict(
                    claim.difference,
                    rises=claim.rises,
                    count=claim.problems,
                    is_sure=claim.is_sure,
                )
                yield claim.text, show(claim.difference), said


def _accuracies(findings: EvaluationCells, subject: ModelOnBenchmark) -> Iterator[_Claim]:
    steps = findings.steps(subject)
    nap = {n: findings.find(subject, _NAP, Order.FORCED, n) for n in steps}
    long_cot = {n: findings.find(subject, _LONG_COT, Order.AO, n) for n in steps}
    for n in steps:
        yield _gain(f"NAP > Long-CoT at {n} steps", nap[n], long_cot[n], rises=True)
    if len(steps) > 1:
        few, many = steps[0], steps[-1]
        pairs = (nap[few], long_cot[few]), (nap[many], long_cot[many])
        change = change_of_gain(*pairs)
        yield _Claim(
            f"the gap is wider at {few} steps than at {many}",
            change,
            True,
            findings.count(subject),
            change is not None and sign_test(*wider_and_narrower(*pairs)) < LEVEL,
        )
    for n in steps:
        base_ao, base_forced, nap_ao = (
            findings.find(subject, training, order, n)
            for training, order in (
                (_BASE, Order.AO),
                (_BASE, Order.FORCED),
                (_NAP, Order.AO),
            )
        )
        forced = f"parallel-forced at {n} steps"
        yield _gain(f"{forced} hurts the base model", base_forced, base_ao, rises=False)
        yield _gain(f"{forced} helps NAP", nap[n], nap_ao, rises=True)
    for n in steps:
        by_paths = [
            findings.find(subject, _NAP, Order.FORCED, n, paths=paths, tuned_paths=paths)
            for paths in (1, 2, 3)
        ]
        for paths in (2, 3):
            pair = by_paths[paths - 1], by_paths[paths - 2]
            yield _gain(f"{paths} paths > {paths - 1} at {n} steps", *pair, rises=True)


def _gain(
    text: str, first: EvaluationCell | None, second: EvaluationCell | None, *, rises: bool
) -> _Claim:
    found = gain(first, second)
    if found is None or first is None or second is None:
        return _Claim(text, None, rises, 0)
    is_sure = sign_test(*discordant(first, second)) < LEVEL
    return _Claim(text, found, rises, first.result.count, is_sure)


def _orders(findings: EvaluationCells, subject: ModelOnBenchmark) -> Iterator[_Claim]:
    for n in findings.steps(subject)[-1:]:
        ao = {
            training: findings.find(subject, training, Order.AO, n)
            for training in (_BASE, _LONG_COT, _NAP)
        }
        forced = findings.find(subject, _NAP, Order.FORCED, n)
        for content, of in ((False, f"at {n} steps"), (True, f"of content at {n} steps")):
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
                if change is not None and first is not None and second is not None:
                    both = ordered_in_both(first, second, content=content)
                    yield _Claim(text, change, rises, len(both))
