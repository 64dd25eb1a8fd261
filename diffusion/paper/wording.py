"""How tables name and write things. In: figures and cells. Out: texts of a table's fields."""

from collections.abc import Iterable, Sequence

from diffusion.decoding.sampling import Fill
from diffusion.evaluation.settings import Training
from diffusion.paper.cells import (
    EvaluationCell,
    EvaluationCells,
    ModelOnBenchmark,
    fewest_and_most_problems,
)
from support.stats import Interval

SMOKE = 150  # problems; with fewer a table is labelled as a trial (GPQA has 198)
NONE = "-"
BENCHMARKS = {"gsm8k": "GSM8K", "math500": "MATH-500", "gpqa": "GPQA", "tiny": "tiny problems"}
TRAININGS = {Training.BASE: "base", Training.LONG_COT: "Long-CoT", Training.NAP: "NAP"}


def label_of(cells: Sequence[EvaluationCell]) -> str:
    """How many problems a table is about, and whether that makes it a trial."""
    least, most = fewest_and_most_problems(cells)
    number = f"n = {least}" if least == most else f"n = {least} to {most}"
    return f"a trial, {number}" if least < SMOKE else number


def name_of(subject: ModelOnBenchmark) -> str:
    """The name of a subject in the first column."""
    return f"{subject.base}, {BENCHMARKS.get(subject.benchmark, subject.benchmark)}"


def percent(one: Interval | None) -> str:
    """A share and its interval in per cent."""
    return _interval(one, 100, ".1f")


def percent_alone(one: Interval | None) -> str:
    """A share in per cent, without its interval."""
    return NONE if one is None else f"{100 * one.value:.1f}"


def points(one: Interval | None) -> str:
    """A difference of shares and its interval in percentage points."""
    return _interval(one, 100, "+.1f")


def share(one: Interval | None, sign: str = "") -> str:
    """A share with its interval, or with `sign` "+" a difference of shares."""
    return _interval(one, 1, f"{sign}.2f")


def two(value: float | None) -> str:
    """A figure without an interval."""
    return NONE if value is None else f"{value:.2f}"


def _interval(one: Interval | None, scale: int, form: str) -> str:
    if one is None:
        return NONE
    return f"{scale * one.value:{form}} [{scale * one.low:{form}}, {scale * one.high:{form}}]"


def training_of(cell: EvaluationCell) -> str:
    """What a cell's model was tuned on, and what tells its training from others."""
    one = cell.result
    seed = "" if one.training_seed is None else f"seed {one.training_seed}"
    return ", ".join(filter(None, (TRAININGS[one.training], one.variant, seed)))


def about_seeds(cells: Iterable[EvaluationCell]) -> str:
    """Which trainings have several seeds, and what their intervals are; empty if none has."""
    seeds: dict[str, set[int]] = {}
    for cell in cells:
        one = cell.result
        if one.training_seed is not None:
            paths = f" of {one.tuned_paths}" if one.training is Training.NAP else ""
            kind = f"{TRAININGS[one.training]}{paths}"
            kind = ", ".join(filter(None, (one.base, kind, one.variant)))
            seeds.setdefault(kind, set()).add(one.training_seed)
    several = [
        f"{kind} ({len(some)} trainings, seeds {', '.join(map(str, sorted(some)))})"
        for kind, some in seeds.items()
        if len(some) > 1
    ]
    if not several:
        return ""
    return (
        f"Trained with several seeds: {'; '.join(several)}. Of these a figure is the mean over "
        "seeds. A difference is taken seed by seed, each on the same problems, over the seeds that "
        "both sides have; a base model stands beside every seed. These 95 % intervals are about "
        "other trainings and other problems: Student's t over the seeds, widened by a bootstrap "
        "over problems. Where both sides have one seed in common, the interval is over problems."
    )


def main_cells(cells: EvaluationCells) -> list[EvaluationCell]:
    """The cells that Tables 1 to 5 and the claims are about."""
    return [one for subject in cells.subjects() for one in cells.main(subject)]


def about_fill(cells: EvaluationCells) -> str:
    """Whose tables are of `fill: last`; empty for none."""
    last = [name_of(one) for one in cells.subjects() if cells.fill(one) is Fill.LAST]
    return f"Fill is committed last: {'; '.join(last)}." if last else ""
