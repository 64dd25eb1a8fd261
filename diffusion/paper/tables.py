"""The paper's Tables 1 to 5 for whatever was evaluated. In: cells. Out: tables of text.

Every accuracy and every difference has its 95 % interval (Wilson; paired bootstrap over problems;
of a training with several seeds, over these as well). If the model is the paper's, the paper's
figure stands beside it. What was not evaluated is "-".
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from diffusion.decoding import Order
from diffusion.decoding.sampling import Fill
from diffusion.evaluation.settings import Training
from diffusion.paper import reference
from diffusion.paper.cells import EvaluationCells, ModelOnBenchmark, Trainings
from diffusion.paper.every_cell import every_cell, paths_of_canvases
from diffusion.paper.trainings import (
    accuracy,
    arness_of,
    canvas_of,
    content_arness_of,
    gain,
    gain_of_arness,
)
from diffusion.paper.variants import variants
from diffusion.paper.wording import (
    BENCHMARKS,
    NONE,
    TRAININGS,
    about_fill,
    about_seeds,
    label_of,
    main_cells,
    name_of,
    percent,
    percent_alone,
    points,
    share,
    two,
)
from support.display.tables import Table

K = TypeVar("K")
V = TypeVar("V")


def tables(cells: EvaluationCells) -> list[Table]:
    """The paper's tables, those of paths and of variants if there are any, and of every cell."""
    label = label_of(cells.all)
    about = about_seeds(main_cells(cells)), about_fill(cells)
    papers = [
        replace(one, note=" ".join(filter(None, (one.note, *about))))
        for one in (
            *(_table_1(cells), _table_2(cells), *_table_3(cells)),
            *(_table_4(cells), _table_5(cells)),
        )
    ]
    all_ = [*papers, *paths_of_canvases(cells), *variants(cells), every_cell(cells)]
    return [replace(one, title=f"{one.title} ({label})") for one in all_]


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
    rows: list[tuple[str, ...]] = []
    for subject in cells.subjects():
        steps = _most_steps(cells, subject)
        fast_ar = in_paper(reference.TABLE_1_FAST_AR, subject, subject.base)
        for first, order in ((Order.AR, Order.AO), (None, Order.FAST)):
            row = [f"+ {order}" if first is None else name_of(subject)]
            for one in (first, order):
                found: Trainings = ()
                theirs = fast_ar
                if one is not None:
                    found = cells.find(subject, Training.BASE, one, steps)
                    theirs = in_paper(reference.TABLE_1, subject, (subject.base, one))
                row += [share(arness_of(found)), _papers(theirs and theirs.arness, 2)]
                row += [percent(accuracy(found)), _papers(theirs and theirs.accuracy)]
            rows.append(tuple(row))
            if first is not None:
                rows += _fill_last_1(cells, subject, steps)
    columns = [f"{what}, {order}" for order in ("AR", "AO") for what in ("ARness", "accuracy")]
    return Table(
        title="Table 1. ARness and accuracy of base models",
        header=("model", *_beside_paper(columns)),
        rows=tuple(rows),
        note=f"{_steps(cells)} The paper does not say its own, nor its length. Fast-dLLM takes "
        "as many steps as it needs; here it has no AR order.",
    )


def _fill_last_1(
    cells: EvaluationCells, subject: ModelOnBenchmark, steps: int | None
) -> list[tuple[str, ...]]:
    """The same with fill committed last, where it was decoded so beside the other."""
    if cells.fill(subject) is Fill.LAST:
        return []
    found = [
        cells.find(subject, Training.BASE, order, steps, fill=Fill.LAST)
        for order in (Order.AR, Order.AO)
    ]
    texts = [(share(arness_of(one)), NONE, percent(accuracy(one)), NONE) for one in found]
    return [("fill last", *texts[0], *texts[1])] if any(found) else []


def _beside_paper(columns: Iterable[str]) -> list[str]:
    return [name for column in columns for name in (column, "paper")]


def _table_2(cells: EvaluationCells) -> Table:
    rows: list[tuple[str, ...]] = []
    systems = (
        (Training.BASE, Order.AO),
        (Training.LONG_COT, Order.AO),
        (Training.NAP, Order.FORCED),
    )
    for subject in cells.subjects():
        steps = _most_steps(cells, subject)
        before, after = (
            in_paper(reference.TABLE_2, subject, (subject.base, one))
            for one in (Training.BASE, Training.LONG_COT)
        )
        change = None if before is None or after is None else after - before
        theirs = _papers(before, 2), _papers(after, 2), _papers(change, 2)
        found = [cells.find(subject, *one, steps) for one in systems]
        rows.append(_row_2(name_of(subject), found, theirs))
        if any(found):
            base, long_cot, nap = (two(content_arness_of(one)) for one in found)
            of_content = share(gain_of_arness(found[1], found[0], content=True), "+")
            rows.append(
                ("its content alone", base, NONE, long_cot, NONE, of_content, NONE, nap),
            )
        if cells.fill(subject) is Fill.FREE:
            last = [cells.find(subject, *one, steps, fill=Fill.LAST) for one in systems]
            if any(last):
                rows.append(_row_2("fill last", last, (NONE, NONE, NONE)))
    return Table(
        title="Table 2. ARness by training: base model and Long-CoT under AO, NAP parallel-forced",
        header=("model", *_beside_paper(("base", "Long-CoT", "change")), "NAP + PF"),
        rows=tuple(rows),
        note=f"{_steps(cells)} A model that fills its slot from the far end has a low ARness, "
        "however it writes its text: content alone leaves commits of fill out; fill last: decoded "
        "again, with fill committed last. NAP is decoded parallel-forced (not in the paper's "
        "table).",
    )


def _row_2(name: str, found: Sequence[Trainings], theirs: tuple[str, str, str]) -> tuple[str, ...]:
    base, long_cot, nap = found
    return (
        *(name, share(arness_of(base)), theirs[0], share(arness_of(long_cot)), theirs[1]),
        *(share(gain_of_arness(long_cot, base), "+"), theirs[2], share(arness_of(nap))),
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
        of_paths = [_paths_3(cells, ModelOnBenchmark(base, row[0]), row[1]) for row in rows]
        has_paths = any(set(texts) != {NONE} for texts in of_paths)
        yield Table(
            title=f"Table 3. Accuracy by steps: {base}",
            header=(
                *("benchmark", "steps", "tokens a step"),
                *(_beside_paper(columns) if known else columns),
                *(("vote of NAP's paths", "copies of NAP") if has_paths else ()),
            ),
            rows=tuple(
                (
                    *_row_3(cells, ModelOnBenchmark(base, benchmark), steps, bool(known)),
                    *(texts if has_paths else ()),
                )
                for (benchmark, steps), texts in zip(rows, of_paths, strict=True)
            ),
            note="Base and Long-CoT decode by AO (LLaDA block-wise), NAP parallel-forced."
            + (f" {_PATHS}" if has_paths else ""),
        )


_PATHS = (
    "Vote: problems that a vote of the paths solves; copies: canvases whose paths are all the same "
    "word for word, both in per cent (Paths of a canvas has intervals)."
)


def _paths_3(cells: EvaluationCells, subject: ModelOnBenchmark, steps: int) -> tuple[str, str]:
    found = cells.find(subject, Training.NAP, Order.FORCED, steps)
    return percent_alone(canvas_of(found, "vote")), percent_alone(canvas_of(found, "copies"))


def _row_3(
    cells: EvaluationCells, subject: ModelOnBenchmark, steps: int, has_paper: bool
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
    masks = next((one[0].result.masks for one in found.values() if one), 1024)
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
                    found = cells.find(subject, training, order, steps)
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
                if sum(map(bool, found)) < 2 and not is_papers:
                    continue
                model = "a model for each" if is_own else f"the model of {most} paths"
                row = [f"{name_of(subject)}: {model}", NONE if steps is None else str(steps)]
                for paths, one in zip((1, 2, 3), found, strict=True):
                    key = (subject.base, paths)
                    theirs = in_paper(reference.TABLE_5, subject, key) if is_papers else None
                    row += [percent(accuracy(one)), _papers(theirs)]
                rows.append(tuple(row))
                for text, figure in (("vote of its paths", "vote"), ("its copies", "copies")):
                    values = [percent_alone(canvas_of(one, figure)) for one in found]
                    if set(values) != {NONE}:
                        rows.append((text, row[1], *(t for one in values for t in (one, NONE))))
    return Table(
        title="Table 5. Paths at a fixed budget of masks, parallel-forced",
        header=("NAP model", "steps", *_beside_paper(("1 path", "2 paths", "3 paths"))),
        rows=tuple(rows),
        note=_PATHS if any(row[0] == "its copies" for row in rows) else "",
    )
