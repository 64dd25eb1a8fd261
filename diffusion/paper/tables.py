"""The paper's Tables 1 to 5 for whatever was evaluated. In: findings. Out: tables of text.

Every accuracy and every difference has its 95 % interval (Wilson; paired bootstrap over problems);
the paper's figure stands beside where the model is the paper's. What was not evaluated stays empty.
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
    counts,
    gain,
    gain_of_arness,
)
from support.display.tables import Table
from support.stats import Interval

K = TypeVar("K")
V = TypeVar("V")
SMOKE = 150  # problems, under which a table is labelled as a trial; GPQA has 198
NONE = "-"
BENCHMARKS = {"gsm8k": "GSM8K", "math500": "MATH-500", "gpqa": "GPQA", "tiny": "tiny problems"}
TRAININGS = {Training.BASE: "base", Training.LONG_COT: "Long-CoT", Training.NAP: "NAP"}


def tables(findings: EvaluationCells) -> list[Table]:
    """All that the paper has, then every cell as it is."""
    label = label_of(findings.all)
    made = [
        _table_1(findings),
        _table_2(findings),
        *_table_3(findings),
        _table_4(findings),
        _table_5(findings),
        _cells(findings),
    ]
    return [replace(one, title=f"{one.title} ({label})") for one in made]


def evaluated_part(table: Table) -> Table | None:
    """What was evaluated: rows with an interval, columns that are not empty in all of them."""
    rows = [row for row in table.rows if any("[" in cell for cell in row)]
    kept = [n for n, _ in enumerate(table.header) if any(row[n] != NONE for row in rows)]
    if not rows:
        return None
    return replace(
        table,
        header=tuple(table.header[n] for n in kept),
        rows=tuple(tuple(row[n] for n in kept) for row in rows),
    )


def label_of(found: Sequence[EvaluationCell]) -> str:
    """How many problems stand behind it, and whether that is a trial only."""
    least, most = counts(found)
    number = f"n = {least}" if least == most else f"n = {least} to {most}"
    return f"a trial, {number}" if least < SMOKE else number


def name_of(subject: ModelOnBenchmark) -> str:
    """A subject in a row's first column."""
    return f"{subject.base}, {BENCHMARKS.get(subject.benchmark, subject.benchmark)}"


def percent(one: Interval | None) -> str:
    """A share and its interval in per cent."""
    if one is None:
        return NONE
    return f"{100 * one.value:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]"


def points(one: Interval | None) -> str:
    """A difference of shares and its interval in percentage points."""
    if one is None:
        return NONE
    return f"{100 * one.value:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"


def share(one: Interval | None, sign: str = "") -> str:
    """A share as it is, or a difference with its sign."""
    if one is None:
        return NONE
    return f"{one.value:{sign}.2f} [{one.low:{sign}.2f}, {one.high:{sign}.2f}]"


def accuracy(one: EvaluationCell | None) -> Interval | None:
    """What a cell has solved."""
    if one is None:
        return None
    return Interval(one.result.accuracy, one.result.low, one.result.high)


def arness_of(one: EvaluationCell | None) -> Interval | None:
    """Global-ARness@1 of a cell, where it has an order."""
    if one is None or one.result.arness is None:
        return None
    low, high = one.result.arness_low, one.result.arness_high
    assert low is not None and high is not None
    return Interval(one.result.arness, low, high)


def _papers(value: float | None, digits: int = 1) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def in_paper(table: Mapping[K, V], subject: ModelOnBenchmark, key: K) -> V | None:
    """What the paper has of a subject in Tables 1, 2, 4 and 5, which are of one benchmark."""
    return table.get(key) if subject.benchmark == reference.BENCHMARK else None


def _most_steps(findings: EvaluationCells, subject: ModelOnBenchmark) -> int | None:
    steps = findings.steps(subject)
    return steps[-1] if steps else None


def _steps(findings: EvaluationCells) -> str:
    """Of which number of steps Tables 1 and 2 are."""
    of = {subject: _most_steps(findings, subject) for subject in findings.subjects()}
    return "Steps: " + ("; ".join(f"{name_of(s)} {n}" for s, n in of.items() if n) or "none") + "."


def _table_1(findings: EvaluationCells) -> Table:
    rows = []
    for subject in findings.subjects():
        steps = _most_steps(findings, subject)
        fast_ar = in_paper(reference.TABLE_1_FAST_AR, subject, subject.base)
        for first, order in ((Order.AR, Order.AO), (None, Order.FAST)):
            row = [f"+ {order}" if first is None else name_of(subject)]
            for one in (first, order):
                found = findings.find(subject, Training.BASE, one, steps) if one else None
                theirs = (
                    in_paper(reference.TABLE_1, subject, (subject.base, one)) if one else fast_ar
                )
                row += [
                    share(arness_of(found)),
                    _papers(theirs and theirs.arness, 2),
                    percent(accuracy(found)),
                    _papers(theirs and theirs.accuracy),
                ]
            rows.append(tuple(row))
    columns = [f"{what}, {order}" for order in ("AR", "AO") for what in ("ARness", "accuracy")]
    return Table(
        title="Table 1. ARness and accuracy of base models",
        header=("model", *_beside_paper(columns)),
        rows=tuple(rows),
        note=f"{_steps(findings)} The paper does not say its own, nor its length. Fast-dLLM takes "
        "as many steps as it needs; here it has no AR order.",
    )


def _beside_paper(columns: Iterable[str]) -> list[str]:
    return [name for column in columns for name in (column, "paper")]


def _table_2(findings: EvaluationCells) -> Table:
    rows = []
    for subject in findings.subjects():
        steps = _most_steps(findings, subject)
        base, tuned = (
            findings.find(subject, training, Order.AO, steps)
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
        note=f"{_steps(findings)} A model that fills its slot from the far end has a low ARness, "
        "however it writes its text: content alone leaves commits of fill out.",
    )


def _table_3(findings: EvaluationCells) -> Iterator[Table]:
    """One for each base model."""
    subjects = findings.subjects()
    for base in dict.fromkeys(subject.base for subject in subjects):
        known = {(b, s) for (name, b, s, _) in reference.TABLE_3 if name == base}
        given = {(s.benchmark, n) for s in subjects if s.base == base for n in findings.steps(s)}
        order = list(BENCHMARKS)
        places = sorted(
            known | given,
            key=lambda at: (order.index(at[0]) if at[0] in order else len(order), at),
        )
        columns = [*TRAININGS.values(), "NAP - Long-CoT"]
        yield Table(
            title=f"Table 3. Accuracy by steps: {base}",
            header=(
                *("benchmark", "steps", "tokens a step"),
                *(_beside_paper(columns) if known else columns),
            ),
            rows=tuple(
                _row_3(findings, ModelOnBenchmark(base, benchmark), steps, has_paper=bool(known))
                for benchmark, steps in places
            ),
            note="Base and Long-CoT decode by AO (LLaDA block-wise), NAP parallel-forced.",
        )


def _row_3(
    findings: EvaluationCells, subject: ModelOnBenchmark, steps: int, *, has_paper: bool
) -> tuple[str, ...]:
    orders = {
        Training.BASE: Order.AO,
        Training.LONG_COT: Order.AO,
        Training.NAP: Order.FORCED,
    }
    found = {
        training: findings.find(subject, training, order, steps)
        for training, order in orders.items()
    }
    theirs = [reference.TABLE_3.get((*subject, steps, training)) for training in orders]
    _, long_cot, nap = theirs
    theirs.append(None if long_cot is None or nap is None else nap - long_cot)
    ours = [
        *(percent(accuracy(one)) for one in found.values()),
        points(gain(found[Training.NAP], found[Training.LONG_COT])),
    ]
    some = next((one.result for one in found.values() if one), None)
    masks = some.masks if some else 1024
    cells = (
        [
            text
            for mine, theirs_ in zip(ours, theirs, strict=True)
            for text in (mine, _papers(theirs_))
        ]
        if has_paper
        else ours
    )
    benchmark = BENCHMARKS.get(subject.benchmark, subject.benchmark)
    return (benchmark, str(steps), f"{masks / steps:.1f}", *cells)


def _table_4(findings: EvaluationCells) -> Table:
    rows = []
    for subject in findings.subjects():
        theirs_at = {
            n
            for (b, _, _, n) in reference.TABLE_4
            if ModelOnBenchmark(b, reference.BENCHMARK) == subject
        }
        for steps in sorted(theirs_at | set(findings.steps(subject))):
            row = [name_of(subject), str(steps)]
            for training in (Training.BASE, Training.NAP):
                for order in (Order.AO, Order.FORCED):
                    key = (subject.base, training, order, steps)
                    theirs = in_paper(reference.TABLE_4, subject, key)
                    found = findings.find(subject, training, order, steps)
                    row += [percent(accuracy(found)), _papers(theirs)]
            rows.append(tuple(row))
    columns = [f"{one} + {order}" for one in ("base", "NAP") for order in ("AO", "PF")]
    return Table(
        title="Table 4. Data and decoding apart",
        header=("model", "steps", *_beside_paper(columns)),
        rows=tuple(rows),
        note="PF: parallel-forced. The base decodes by AO into one text, by PF into a canvas; NAP "
        "into a canvas in both.",
    )


def _table_5(findings: EvaluationCells) -> Table:
    """A row for the most steps, and for any other number at which several P were decoded."""
    rows = []
    for subject in findings.subjects():
        most, last = findings.paths(subject), _most_steps(findings, subject)
        numbers: list[int | None] = [*findings.steps(subject)]
        for steps in numbers or [None]:
            for is_own in (True, False):
                found = [
                    findings.find(
                        *(subject, Training.NAP, Order.FORCED, steps),
                        paths=paths,
                        tuned_paths=paths if is_own else most,
                    )
                    for paths in (1, 2, 3)
                ]
                if sum(one is not None for one in found) < 2 and not (is_own and steps == last):
                    continue
                model = "a model for each" if is_own else f"the model of {most} paths"
                row = [f"{name_of(subject)}: {model}", NONE if steps is None else str(steps)]
                for paths, one in zip((1, 2, 3), found, strict=True):
                    key = (subject.base, paths)
                    is_papers = is_own and steps == last
                    theirs = in_paper(reference.TABLE_5, subject, key) if is_papers else None
                    row += [percent(accuracy(one)), _papers(theirs)]
                rows.append(tuple(row))
    return Table(
        title="Table 5. Paths at a fixed budget of masks, parallel-forced",
        header=("NAP model", "steps", *_beside_paper(("1 path", "2 paths", "3 paths"))),
        rows=tuple(rows),
    )


def _cells(findings: EvaluationCells) -> Table:
    def line(one: EvaluationCell) -> tuple[str, ...]:
        cell = one.result
        form = f"canvas, P = {cell.paths}" if cell.form is Form.CANVAS else "text"
        rule = cell.rule + (f", {cell.cache}" if cell.cache else "")
        return (
            *(cell.system, name_of(one.subject), TRAININGS[cell.training], rule, form),
            *(str(cell.count), f"{cell.nfe:.1f}", percent(accuracy(one)), str(cell.unread)),
            *(f"{cell.tokens_per_step:.2f}", f"{cell.content_tokens_per_step:.2f}"),
            *(share(arness_of(one)), *map(_two, (cell.corrected, cell.content_arness))),
            *(_two(cell.local), " / ".join(map(_two, cell.by_slot))),
        )

    return Table(
        title="Every cell",
        header=(
            *("system", "model", "tuned on", "rule", "form", "n", "passes", "accuracy"),
            *("without an answer", "tokens a step", "content a step", "ARness"),
            *("above chance", "of content", "Local-ARness@1", "ARness in each slot"),
        ),
        rows=tuple(map(line, findings.all)),
        note="ARness is Global-ARness@1, read ascending within a step; above chance: 0 is what "
        "random subsets of the same sizes score, 1 strict left to right. Rows without a readable "
        f"answer count as wrong. {_computed(findings)}",
    )


def _computed(findings: EvaluationCells) -> str:
    """On what the cells were computed; which on what, where that differs."""
    systems: dict[str, list[str]] = {}
    for one in findings.all:
        how = one.result.computed
        name = "a machine that was not recorded (Polytrace 0.1)" if how is None else str(how)
        systems.setdefault(name, []).append(one.result.system)
    if len(systems) == 1:
        return f"Computed on {next(iter(systems))}."
    each = (f"on {how}: {', '.join(dict.fromkeys(of))}" for how, of in systems.items())
    return f"Computed {'; '.join(each)}. Only cells that were computed alike are compared."


def _two(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"
