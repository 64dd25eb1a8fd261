"""The paper's Tables 1 to 5 for whatever was evaluated. In: cells. Out: tables of text.

Every accuracy and every difference has its 95 % interval (Wilson; paired bootstrap over problems).
If the model is the paper's, the paper's figure stands beside it. What was not evaluated is "-".
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from diffusion.data.layout import Form
from diffusion.decoding import Order
from diffusion.evaluation.settings import Training
from diffusion.paper import reference
from diffusion.paper.cells import (
    EvaluationCell,
    EvaluationCells,
    ModelOnBenchmark,
    fewest_and_most_problems,
    gain,
    gain_of_arness,
)
from support.display.tables import Table
from support.stats import Interval

K = TypeVar("K")
V = TypeVar("V")
SMOKE = 150  # problems; with fewer a table is labelled as a trial (GPQA has 198)
NONE = "-"
BENCHMARKS = {"gsm8k": "GSM8K", "math500": "MATH-500", "gpqa": "GPQA", "tiny": "tiny problems"}
TRAININGS = {Training.BASE: "base", Training.LONG_COT: "Long-CoT", Training.NAP: "NAP"}


def tables(cells: EvaluationCells) -> list[Table]:
    """The paper's tables, then one of every cell."""
    label = label_of(cells.all)
    all_ = [
        *(_table_1(cells), _table_2(cells), *_table_3(cells)),
        *(_table_4(cells), _table_5(cells), _cells(cells)),
    ]
    return [replace(one, title=f"{one.title} ({label})") for one in all_]


def evaluated_parts(tables: Iterable[Table]) -> tuple[Table, ...]:
    """What was evaluated: rows with an interval, and the columns that these do not leave empty."""
    parts = []
    for table in tables:
        if rows := [row for row in table.rows if any("[" in cell for cell in row)]:
            kept = [n for n, _ in enumerate(table.header) if any(row[n] != NONE for row in rows)]
            header, *rows = (tuple(row[n] for n in kept) for row in (table.header, *rows))
            parts.append(replace(table, header=header, rows=tuple(rows)))
    return tuple(parts)


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


def points(one: Interval | None) -> str:
    """A difference of shares and its interval in percentage points."""
    return _interval(one, 100, "+.1f")


def share(one: Interval | None, sign: str = "") -> str:
    """A share with its interval, or with `sign` "+" a difference of shares."""
    return _interval(one, 1, f"{sign}.2f")


def _interval(one: Interval | None, scale: int, form: str) -> str:
    if one is None:
        return NONE
    return f"{scale * one.value:{form}} [{scale * one.low:{form}}, {scale * one.high:{form}}]"


def accuracy(one: EvaluationCell | None) -> Interval | None:
    """The accuracy of a cell."""
    if one is None:
        return None
    return Interval(one.result.accuracy, one.result.low, one.result.high)


def arness_of(one: EvaluationCell | None) -> Interval | None:
    """The Global-ARness@1 of a cell, if it has one."""
    if one is None or one.result.arness is None:
        return None
    low, high = one.result.arness_low, one.result.arness_high
    assert low is not None and high is not None
    return Interval(one.result.arness, low, high)


def _papers(value: float | None, digits: int = 1) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def in_paper(table: Mapping[K, V], subject: ModelOnBenchmark, key: K) -> V | None:
    """The paper's figure in one of Tables 1, 2, 4 and 5, which are about one benchmark."""
    return table.get(key) if subject.benchmark == reference.BENCHMARK else None


def _most_steps(cells: EvaluationCells, subject: ModelOnBenchmark) -> int | None:
    steps = cells.steps(subject)
    return steps[-1] if steps else None


def _steps(cells: EvaluationCells) -> str:
    """The numbers of steps that Tables 1 and 2 show, as a sentence."""
    steps = [(name_of(one), _most_steps(cells, one)) for one in cells.subjects()]
    return "Steps: " + ("; ".join(f"{name} {n}" for name, n in steps if n) or "none") + "."


def _table_1(cells: EvaluationCells) -> Table:
    rows = []
    for subject in cells.subjects():
        steps = _most_steps(cells, subject)
        fast_ar = in_paper(reference.TABLE_1_FAST_AR, subject, subject.base)
        for first, order in ((Order.AR, Order.AO), (None, Order.FAST)):
            row = [f"+ {order}" if first is None else name_of(subject)]
            for one in (first, order):
                cell, theirs = None, fast_ar
                if one is not None:
                    cell = cells.find(subject, Training.BASE, one, steps)
                    theirs = in_paper(reference.TABLE_1, subject, (subject.base, one))
                row += [share(arness_of(cell)), _papers(theirs and theirs.arness, 2)]
                row += [percent(accuracy(cell)), _papers(theirs and theirs.accuracy)]
            rows.append(tuple(row))
    columns = [f"{what}, {order}" for order in ("AR", "AO") for what in ("ARness", "accuracy")]
    return Table(
        title="Table 1. ARness and accuracy of base models",
        header=("model", *_beside_paper(columns)),
        rows=tuple(rows),
        note=f"{_steps(cells)} The paper does not say its own, nor its length. Fast-dLLM takes "
        "as many steps as it needs; here it has no AR order.",
    )


def _beside_paper(columns: Iterable[str]) -> list[str]:
    return [name for column in columns for name in (column, "paper")]


def _table_2(cells: EvaluationCells) -> Table:
    rows = []
    for subject in cells.subjects():
        steps = _most_steps(cells, subject)
        base, tuned = (
            cells.find(subject, training, Order.AO, steps)
            for training in (Training.BASE, Training.LONG_COT)
        )
        before, after = (
            in_paper(reference.TABLE_2, subject, (subject.base, one))
            for one in (Training.BASE, Training.LONG_COT)
        )
        change = None if before is None or after is None else after - before
        rows.append(
            (
                *(name_of(subject), share(arness_of(base)), _papers(before, 2)),
                *(share(arness_of(tuned)), _papers(after, 2)),
                *(share(gain_of_arness(tuned, base), "+"), _papers(change, 2)),
            )
        )
        if base is not None or tuned is not None:
            contents = [_two(one.result.content_arness if one else None) for one in (base, tuned)]
            of_content = share(gain_of_arness(tuned, base, content=True), "+")
            rows.append(
                ("its content alone", contents[0], NONE, contents[1], NONE, of_content, NONE)
            )
    return Table(
        title="Table 2. ARness under AO before and after Long-CoT fine-tuning",
        header=("model", *_beside_paper(("base", "Long-CoT", "change"))),
        rows=tuple(rows),
        note=f"{_steps(cells)} A model that fills its slot from the far end has a low ARness, "
        "however it writes its text: content alone leaves commits of fill out.",
    )


def _table_3(cells: EvaluationCells) -> Iterator[Table]:
    """One for each base model."""
    subjects = cells.subjects()
    for base in dict.fromkeys(subject.base for subject in subjects):
        known = {(b, s) for (name, b, s, _) in reference.TABLE_3 if name == base}
        ours = {(s.benchmark, n) for s in subjects if s.base == base for n in cells.steps(s)}
        rank = {name: number for number, name in enumerate(BENCHMARKS)}
        rows = sorted(known | ours, key=lambda row: (rank.get(row[0], len(rank)), row))
        columns = [*TRAININGS.values(), "NAP - Long-CoT"]
        yield Table(
            title=f"Table 3. Accuracy by steps: {base}",
            header=(
                *("benchmark", "steps", "tokens a step"),
                *(_beside_paper(columns) if known else columns),
            ),
            rows=tuple(
                _row_3(cells, ModelOnBenchmark(base, benchmark), steps, has_paper=bool(known))
                for benchmark, steps in rows
            ),
            note="Base and Long-CoT decode by AO (LLaDA block-wise), NAP parallel-forced.",
        )


def _row_3(
    cells: EvaluationCells, subject: ModelOnBenchmark, steps: int, *, has_paper: bool
) -> tuple[str, ...]:
    orders = dict.fromkeys(Training, Order.AO) | {Training.NAP: Order.FORCED}
    found = {one: cells.find(subject, one, order, steps) for one, order in orders.items()}
    theirs = [reference.TABLE_3.get((*subject, steps, training)) for training in orders]
    _, long_cot, nap = theirs
    theirs.append(None if long_cot is None or nap is None else nap - long_cot)
    ours = [
        *(percent(accuracy(one)) for one in found.values()),
        points(gain(found[Training.NAP], found[Training.LONG_COT])),
    ]
    masks = next((one.result.masks for one in found.values() if one), 1024)
    texts = ours
    if has_paper:
        pairs = zip(ours, map(_papers, theirs), strict=True)
        texts = [text for pair in pairs for text in pair]
    benchmark = BENCHMARKS.get(subject.benchmark, subject.benchmark)
    return (benchmark, str(steps), f"{masks / steps:.1f}", *texts)


def _table_4(cells: EvaluationCells) -> Table:
    rows = []
    for subject in cells.subjects():
        known = {n for (b, _, _, n) in reference.TABLE_4 if (b, reference.BENCHMARK) == subject}
        for steps in sorted(known | set(cells.steps(subject))):
            row = [name_of(subject), str(steps)]
            for training in (Training.BASE, Training.NAP):
                for order in (Order.AO, Order.FORCED):
                    key = (subject.base, training, order, steps)
                    theirs = in_paper(reference.TABLE_4, subject, key)
                    cell = cells.find(subject, training, order, steps)
                    row += [percent(accuracy(cell)), _papers(theirs)]
            rows.append(tuple(row))
    columns = [f"{one} + {order}" for one in ("base", "NAP") for order in ("AO", "PF")]
    return Table(
        title="Table 4. Data and decoding apart",
        header=("model", "steps", *_beside_paper(columns)),
        rows=tuple(rows),
        note="PF: parallel-forced. The base decodes by AO into one text, by PF into a canvas; NAP "
        "into a canvas in both.",
    )


def _table_5(cells: EvaluationCells) -> Table:
    """A row for the most steps, and for any other number at which several P were decoded."""
    rows = []
    for subject in cells.subjects():
        most, last = cells.paths(subject), _most_steps(cells, subject)
        numbers: list[int | None] = [*cells.steps(subject)]
        for steps in numbers or [None]:
            for is_own in (True, False):
                found = [
                    cells.find(
                        *(subject, Training.NAP, Order.FORCED, steps),
                        paths=paths,
                        tuned_paths=paths if is_own else most,
                    )
                    for paths in (1, 2, 3)
                ]
                is_papers = is_own and steps == last
                if sum(one is not None for one in found) < 2 and not is_papers:
                    continue
                model = "a model for each" if is_own else f"the model of {most} paths"
                row = [f"{name_of(subject)}: {model}", NONE if steps is None else str(steps)]
                for paths, one in zip((1, 2, 3), found, strict=True):
                    key = (subject.base, paths)
                    theirs = in_paper(reference.TABLE_5, subject, key) if is_papers else None
                    row += [percent(accuracy(one)), _papers(theirs)]
                rows.append(tuple(row))
    return Table(
        title="Table 5. Paths at a fixed budget of masks, parallel-forced",
        header=("NAP model", "steps", *_beside_paper(("1 path", "2 paths", "3 paths"))),
        rows=tuple(rows),
    )


def _cells(cells: EvaluationCells) -> Table:
    def line(one: EvaluationCell) -> tuple[str, ...]:
        cell = one.result
        form = f"canvas, P = {cell.paths}" if cell.form is Form.CANVAS else "text"
        hints = f"{cell.path_hints} path hints" if cell.path_hints else None
        rule = ", ".join(filter(None, (cell.rule, cell.cache, cell.sampling, hints)))
        return (
            *(cell.system, name_of(one.subject), TRAININGS[cell.training], rule, form),
            *(str(cell.count), f"{cell.nfe:.1f}", percent(accuracy(one)), str(cell.unread)),
            *(f"{cell.tokens_per_step:.2f}", f"{cell.content_tokens_per_step:.2f}"),
            *(share(arness_of(one)), *map(_two, (cell.corrected, cell.content_arness))),
            *(_two(cell.local), " / ".join(map(_two, cell.by_slot))),
            *([f"{cell.churn:.1%}"] if is_churned else []),
        )

    is_churned = any(one.result.churn for one in cells.all)

    return Table(
        title="Every cell",
        header=(
            *("system", "model", "tuned on", "rule", "form", "n", "passes", "accuracy"),
            *("without an answer", "tokens a step", "content a step", "ARness"),
            *("above chance", "of content", "Local-ARness@1", "ARness in each slot"),
            *(["taken back"] if is_churned else []),
        ),
        rows=tuple(map(line, cells.all)),
        note="ARness is Global-ARness@1, read ascending within a step; above chance: 0 is what "
        "random subsets of the same sizes score, 1 strict left to right. Rows without a readable "
        f"answer count as wrong. {_CHURN if is_churned else ''}{_computed(cells)}",
    )


_CHURN = (
    "Taken back is the share of all commits that a rule took back; ARness and tokens are those of "
    "the commits that stayed. "
)


def _computed(cells: EvaluationCells) -> str:
    """The machine of all cells, or that of each system if there are several."""
    systems: dict[str, list[str]] = {}
    for one in cells.all:
        machine = one.result.computed or "a machine that was not recorded (Polytrace 0.1)"
        systems.setdefault(str(machine), []).append(one.result.system)
    if len(systems) == 1:
        return f"Computed on {next(iter(systems))}."
    each = (f"on {name}: {', '.join(dict.fromkeys(of))}" for name, of in systems.items())
    return f"Computed {'; '.join(each)}. Only cells that were computed alike are compared."


def _two(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"
