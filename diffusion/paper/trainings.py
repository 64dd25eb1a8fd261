"""Figures and differences of trainings. In: cells, one for each seed of a training. Out: intervals.

Of one training a figure has its interval over problems, and a difference a paired bootstrap over
problems. Of several, both are means over seeds, with Student's t over the seeds' figures; a
difference is taken seed by seed, each on the same problems. Such an interval is about other
trainings, on these problems.
"""

from collections.abc import Sequence
from statistics import fmean

from diffusion.evaluation.settings import Training
from diffusion.paper.cells import EvaluationCell, Problem, Trainings
from support.stats import Interval, paired_difference, t_interval

TrainingsPair = tuple[Trainings, Trainings]


def matched(*groups: Trainings) -> list[tuple[EvaluationCell, ...]]:
    """The cells of every seed that all groups have, one of each group.

    A base model has no seed, and stands beside every one.
    """
    if not all(groups):
        return []
    tuned = [group for group in groups if not _is_base(group)] or list(groups)
    by_seed = [{cell.result.training_seed: cell for cell in group} for group in groups]
    return [
        tuple(
            group[0] if _is_base(group) else cells[seed]
            for group, cells in zip(groups, by_seed, strict=True)
        )
        for seed in (cell.result.training_seed for cell in tuned[0])
        if all(
            _is_base(group) or seed in cells for group, cells in zip(groups, by_seed, strict=True)
        )
    ]


def over_seeds(figures: Sequence[Interval | None]) -> Interval | None:
    """The figure of one training, or the mean of several; None if one is missing."""
    known = [one for one in figures if one is not None]
    if not known or len(known) < len(figures):
        return None
    return known[0] if len(known) == 1 else t_interval([one.value for one in known])


def share_over_seeds(figures: Sequence[Interval | None]) -> Interval | None:
    """The same of a share, whose interval stays within 0 and 1."""
    one = over_seeds(figures)
    return one and Interval(one.value, max(0.0, one.low), min(1.0, one.high))


def accuracy(group: Trainings) -> Interval | None:
    """The accuracy, if there is a cell."""
    results = [one.result for one in group]
    return share_over_seeds([Interval(one.accuracy, one.low, one.high) for one in results])


def arness_of(group: Trainings) -> Interval | None:
    """The Global-ARness@1, if there is one."""
    return share_over_seeds([_arness(one) for one in group])


def content_arness_of(group: Trainings) -> float | None:
    """The mean Global-ARness@1 of content, if there is one."""
    values = [one.result.content_arness for one in group]
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def canvas_of(group: Trainings, name: str) -> Interval | None:
    """One of `CanvasIntervals`, if there is a canvas of which it is known."""
    return share_over_seeds([getattr(one.canvas, name) for one in group])


def gain(first: Trainings, second: Trainings) -> Interval | None:
    """How much the accuracy of the first exceeds the second's; None if they do not compare.

    Both must have decoded the same problems with the same masks, temperature and fill, and with the
    same device, kernel, type, version of PyTorch and rows at once.
    """
    return over_seeds([_gain(*pair) for pair in matched(first, second)])


def gain_of_arness(
    first: Trainings, second: Trainings, *, content: bool = False
) -> Interval | None:
    """How much the Global-ARness@1 of the first exceeds the second's, where both have one.

    `content`: without commits of fill. None if they do not compare, as in `gain`.
    """
    return over_seeds([_gain_of_arness(a, b, content) for a, b in matched(first, second)])


def change_of_gain(first: TrainingsPair, second: TrainingsPair) -> Interval | None:
    """How much the first pair's gain exceeds the second pair's, on the same problems."""
    return over_seeds([_change_of_gain(*four) for four in matched(*first, *second)])


def ordered_in_both(
    first: EvaluationCell, second: EvaluationCell, *, content: bool = False
) -> list[Problem]:
    """The problems for which both have an ARness."""
    a, b = (one.content_arness if content else one.arness for one in (first, second))
    return [problem for problem in a if problem in b]


def discordant(first: EvaluationCell, second: EvaluationCell) -> tuple[int, int]:
    """The numbers of problems that only the first has solved, and only the second."""
    return _more_and_less(first.right, second.right)


def wider_and_narrower(
    a: EvaluationCell, b: EvaluationCell, c: EvaluationCell, d: EvaluationCell
) -> tuple[int, int]:
    """The numbers of problems on which a gains more over b than c over d, and less."""
    return _more_and_less(_gains(a, b), _gains(c, d))


def _is_base(group: Trainings) -> bool:
    return group[0].result.training is Training.BASE


def _arness(one: EvaluationCell) -> Interval | None:
    result = one.result
    if result.arness is None:
        return None
    assert result.arness_low is not None and result.arness_high is not None
    return Interval(result.arness, result.arness_low, result.arness_high)


def _gain(first: EvaluationCell, second: EvaluationCell) -> Interval | None:
    if not first.is_comparable_with(second):
        return None
    return _paired(first.right, second.right)


def _gain_of_arness(
    first: EvaluationCell, second: EvaluationCell, content: bool
) -> Interval | None:
    if not first.is_comparable_with(second) or first.right.keys() != second.right.keys():
        return None
    a, b = (one.content_arness if content else one.arness for one in (first, second))
    both = ordered_in_both(first, second, content=content)
    return _paired({one: a[one] for one in both}, {one: b[one] for one in both})


def _change_of_gain(
    a: EvaluationCell, b: EvaluationCell, c: EvaluationCell, d: EvaluationCell
) -> Interval | None:
    if not all(a.is_comparable_with(one) for one in (b, c, d)):
        return None
    if len({tuple(one.right) for one in (a, b, c, d)}) > 1:
        return None
    return _paired(_gains(a, b), _gains(c, d))


def _gains(first: EvaluationCell, second: EvaluationCell) -> dict[Problem, float]:
    """For each problem 1 if only the first has solved it, -1 if only the second, else 0."""
    return {problem: first.right[problem] - second.right[problem] for problem in first.right}


def _more_and_less(first: dict[Problem, float], second: dict[Problem, float]) -> tuple[int, int]:
    pairs = [(first[problem], second[problem]) for problem in first]
    return sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)


def _paired(first: dict[Problem, float], second: dict[Problem, float]) -> Interval | None:
    if not first or first.keys() != second.keys():
        return None
    return paired_difference([*first.values()], [second[id_] for id_ in first])
