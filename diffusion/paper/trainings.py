"""Figures and differences of trainings. In: cells, one for each seed of a training. Out: intervals.

Of one training a figure has its interval over problems, and a difference a paired bootstrap over
problems. Of several, both are means over seeds; a difference is taken seed by seed, each on the
same problems. Their interval is about other trainings and other problems: its half widths are the
root of the summed squares of those of Student's t over the seeds' figures, and of a bootstrap over
problems of what the seeds give on average.
"""

from collections.abc import Sequence
from math import hypot
from statistics import fmean

from diffusion.evaluation.settings import Training
from diffusion.paper.cells import EvaluationCell, Problem, Trainings
from support.stats import Interval, mean, t_interval

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


def accuracy(group: Trainings) -> Interval | None:
    """The accuracy, if there is a cell."""
    if not group:
        return None
    one = group[0].result
    shares = {cell.result.accuracy for cell in group}
    if len(group) == 1 or shares in ({0.0}, {1.0}):  # no spread to draw from, so that of one seed
        return Interval(one.accuracy, one.low, one.high)
    return _share(_over_seeds([one.right for one in group]))


def arness_of(group: Trainings) -> Interval | None:
    """The Global-ARness@1, if there is one."""
    if len(group) == 1:
        return _arness(group[0])
    return _share(_over_seeds([one.arness for one in group]))


def content_arness_of(group: Trainings) -> float | None:
    """The mean Global-ARness@1 of content, if there is one."""
    values = [one.result.content_arness for one in group]
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def canvas_of(group: Trainings, name: str) -> Interval | None:
    """One of `CanvasIntervals`, if there is a canvas of which it is known.

    Of several seeds, the half widths over problems are the means of the seeds' own.
    """
    known: list[Interval] = [one for cell in group if (one := getattr(cell.canvas, name))]
    if not known or len(known) < len(group):
        return None
    if len(known) == 1:
        return known[0]
    value, low, high = (fmean(ends) for ends in zip(*known, strict=True))
    trainings = t_interval([one.value for one in known])
    return _share(_widened(trainings, Interval(value, low, high)))


def gain(first: Trainings, second: Trainings) -> Interval | None:
    """How much the accuracy of the first exceeds the second's; None if they do not compare.

    Both must have decoded the same problems with the same masks, temperature and fill, and with the
    same device, kernel, type, version of PyTorch and rows at once.
    """
    return _over_seeds([_gain(*pair) for pair in matched(first, second)])


def gain_of_arness(
    first: Trainings, second: Trainings, *, content: bool = False
) -> Interval | None:
    """How much the Global-ARness@1 of the first exceeds the second's, where both have one.

    `content`: without commits of fill. None if they do not compare, as in `gain`.
    """
    return _over_seeds([_gain_of_arness(a, b, content) for a, b in matched(first, second)])


def gain_over_vote(group: Trainings) -> Interval | None:
    """How much more summaries are right than the votes of their paths; None if one has no vote."""
    return _over_seeds([_paired(one.right, _known(one, "vote")) for one in group])


def gain_of_copies(first: Trainings, second: Trainings) -> Interval | None:
    """How many more canvases of the first have paths that are all the same, as a share of all.

    None if they do not compare, as in `gain`.
    """
    return _over_seeds(
        [
            _paired(_known(a, "copies"), _known(b, "copies")) if a.is_comparable_with(b) else None
            for a, b in matched(first, second)
        ]
    )


def change_of_gain(first: TrainingsPair, second: TrainingsPair) -> Interval | None:
    """How much the first pair's gain exceeds the second pair's, on the same problems."""
    return _over_seeds([_change_of_gain(*four) for four in matched(*first, *second)])


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


def decisive(seeds: Sequence[tuple[EvaluationCell, ...]]) -> int:
    """The number of problems on which a gain, or the change of one, is not 0 over all seeds."""
    totals: dict[Problem, float] = {}
    for first, second, *others in seeds:
        gains = _gains(first, second)
        taken = _gains(*others) if others else dict.fromkeys(gains, 0.0)
        for problem, value in gains.items():
            totals[problem] = totals.get(problem, 0.0) + value - taken[problem]
    return sum(map(bool, totals.values()))


def _is_base(group: Trainings) -> bool:
    return group[0].result.training is Training.BASE


def _arness(one: EvaluationCell) -> Interval | None:
    result = one.result
    if result.arness is None:
        return None
    assert result.arness_low is not None and result.arness_high is not None
    return Interval(result.arness, result.arness_low, result.arness_high)


def _gain(first: EvaluationCell, second: EvaluationCell) -> dict[Problem, float] | None:
    if not first.is_comparable_with(second):
        return None
    return _paired(first.right, second.right)


def _known(one: EvaluationCell, name: str) -> dict[Problem, float]:
    """One of `CanvasFigures` of every canvas; empty if one has none."""
    values = {problem: getattr(figures, name) for problem, figures in one.figures.items()}
    return {} if None in values.values() else values


def _gain_of_arness(
    first: EvaluationCell, second: EvaluationCell, content: bool
) -> dict[Problem, float] | None:
    if not first.is_comparable_with(second) or first.right.keys() != second.right.keys():
        return None
    a, b = (one.content_arness if content else one.arness for one in (first, second))
    both = ordered_in_both(first, second, content=content)
    return _paired({one: a[one] for one in both}, {one: b[one] for one in both})


def _change_of_gain(
    a: EvaluationCell, b: EvaluationCell, c: EvaluationCell, d: EvaluationCell
) -> dict[Problem, float] | None:
    if not all(a.is_comparable_with(one) for one in (b, c, d)):
        return None
    if any(one.right.keys() != a.right.keys() for one in (b, c, d)):
        return None
    return _paired(_gains(a, b), _gains(c, d))


def _gains(first: EvaluationCell, second: EvaluationCell) -> dict[Problem, float]:
    """For each problem 1 if only the first has solved it, -1 if only the second, else 0."""
    return {problem: first.right[problem] - second.right[problem] for problem in first.right}


def _more_and_less(first: dict[Problem, float], second: dict[Problem, float]) -> tuple[int, int]:
    pairs = [(first[problem], second[problem]) for problem in first]
    return sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)


def _paired(first: dict[Problem, float], second: dict[Problem, float]) -> dict[Problem, float]:
    """What the first has more on each problem; empty if the problems are not the same."""
    if first.keys() != second.keys():
        return {}
    return {problem: value - second[problem] for problem, value in first.items()}


def _over_seeds(seeds: Sequence[dict[Problem, float] | None]) -> Interval | None:
    """The mean of what each seed has on each problem; None if a seed has nothing."""
    known = [one for one in seeds if one]
    if not known or len(known) < len(seeds):
        return None
    if len(known) == 1:
        return mean([*known[0].values()])
    common = [problem for problem in known[0] if all(problem in one for one in known)]
    problems = mean([fmean(one[problem] for one in known) for problem in common])
    return _widened(t_interval([fmean(one.values()) for one in known]), problems)


def _widened(trainings: Interval, problems: Interval) -> Interval:
    """The first interval, with the width that the choice of the problems adds."""
    value = trainings.value
    below = hypot(value - trainings.low, problems.value - problems.low)
    above = hypot(trainings.high - value, problems.high - problems.value)
    return Interval(value, value - below, value + above)


def _share(one: Interval | None) -> Interval | None:
    """An interval that stays within 0 and 1."""
    return one and Interval(one.value, max(0.0, one.low), min(1.0, one.high))
