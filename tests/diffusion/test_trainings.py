"""Several seeds of a training are one row; variants have a table of their own."""

import dataclasses
from collections.abc import Sequence
from math import hypot
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from diffusion.decoding import Order
from diffusion.decoding.sampling import Fill
from diffusion.evaluation.rows import DecodedProblem
from diffusion.evaluation.settings import Training
from diffusion.paper.cells import EvaluationCells, ModelOnBenchmark
from diffusion.paper.claims import claims
from diffusion.paper.tables import tables
from diffusion.paper.trainings import (
    accuracy,
    change_of_gain,
    gain,
    gain_of_arness,
    gain_of_copies,
    gain_over_vote,
    matched,
)
from support.display.tables import Table
from support.errors import UserError
from support.stats import Interval, mean, paired_difference, t_interval, wilson
from tests.diffusion.evaluated import canvas, cell, problem, write_run

SUBJECT = ModelOnBenchmark("tiny", "tiny")
LONG_COT = (Training.LONG_COT, Order.AO)
BASE = (Training.BASE, Order.AO)
NAP = (Training.NAP, Order.FORCED)


def rows(right: int, count: int = 40) -> list[DecodedProblem]:
    """The first problems are solved."""
    return [problem(n, right=n < right) for n in range(count)]


def canvases(right: int, count: int = 40) -> list[DecodedProblem]:
    return [canvas(n, ["1", "1", "2"], right=n < right) for n in range(count)]


def seeded(
    nap: Sequence[int], long_cot: Sequence[int], **changes: Any
) -> list[tuple[Any, Sequence[DecodedProblem]]]:
    """A base that solves 10, and trainings that solve so many of 40 with seeds 0, 1, …"""
    return [
        cell("AO", rows(10), *BASE, **changes),
        *(
            cell(f"NAP {n}", canvases(right), *NAP, training_seed=n, **changes)
            for n, right in enumerate(nap)
        ),
        *(
            cell(f"Long-CoT {n}", rows(right), *LONG_COT, training_seed=n, **changes)
            for n, right in enumerate(long_cot)
        ),
    ]


def titled(cells: EvaluationCells) -> dict[str, Table]:
    return {table.title.partition(" (")[0]: table for table in tables(cells)}


def test_students_t_by_hand() -> None:
    """Mean 0.5, standard deviation 0.1, t of two degrees of freedom 4.302653."""
    half = 4.302653 * 0.1 / 3**0.5
    assert t_interval([0.4, 0.5, 0.6]) == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    assert t_interval([0.1, 0.3]) == pytest.approx((0.2, 0.2 - 1.2706205, 0.2 + 1.2706205))
    assert t_interval([0.25, 0.25]) == (0.25, 0.25, 0.25)
    with pytest.raises(ValueError, match="0 degrees"):
        t_interval([0.5])


def widened(seeds: Sequence[Sequence[float]]) -> Interval:
    """The same from the definition: what each seed has on each problem -> the interval."""
    trainings = t_interval([fmean(one) for one in seeds])
    problems = mean([fmean(some) for some in zip(*seeds, strict=True)])
    return Interval(
        trainings.value,
        trainings.value - hypot(trainings.value - trainings.low, problems.value - problems.low),
        trainings.value + hypot(trainings.high - trainings.value, problems.high - problems.value),
    )


def solved(*numbers: int) -> list[list[float]]:
    """The first so many of 40 problems, for each seed."""
    return [[1.0] * n + [0.0] * (40 - n) for n in numbers]


def more(first: Sequence[int], second: Sequence[int]) -> list[list[float]]:
    return [
        [a - b for a, b in zip(one, other, strict=True)]
        for one, other in zip(solved(*first), solved(*second), strict=True)
    ]


def test_seeds_are_found_together_and_averaged(tmp_path: Path) -> None:
    cells = EvaluationCells([write_run(tmp_path, seeded((24, 26, 28), (16, 20, 18)))])
    nap, long_cot, base = (cells.find(SUBJECT, *one, 39) for one in (NAP, LONG_COT, BASE))
    assert [one.result.system for one in nap] == ["NAP 0", "NAP 1", "NAP 2"]
    assert accuracy(nap) == pytest.approx(widened(solved(24, 26, 28)))
    assert accuracy(base) == pytest.approx((base[0].result.accuracy, *accuracy(base)[1:]))  # type: ignore[index]
    # Seed by seed 8, 6 and 10 problems of 40.
    assert gain(nap, long_cot) == pytest.approx(widened(more((24, 26, 28), (16, 20, 18))))
    against_base = widened(more((24, 26, 28), (10, 10, 10)))
    assert gain(nap, base) == pytest.approx(against_base), "the base is every one's"
    assert gain_of_arness(nap, long_cot) == (0.0, 0.0, 0.0)
    change = change_of_gain((nap, base), (long_cot, base))
    assert change == pytest.approx(widened(more((24, 26, 28), (16, 20, 18))))
    (row,) = titled(cells)["Table 3. Accuracy by steps: tiny"].rows
    assert row[5] == "65.0 [46.2, 83.2]" and row[6] == "+20.0 [+4.1, +36.5]"
    note = titled(cells)["Table 3. Accuracy by steps: tiny"].note
    assert "tiny, NAP of 3 (3 trainings, seeds 0, 1, 2); tiny, Long-CoT (3 trainings" in note
    (row,) = (
        one for one in titled(cells)["Table 4. Data and decoding apart"].rows if one[1] == "39"
    )
    assert row[8] == "65.0 [46.2, 83.2]"
    trained = [row[2] for row in titled(cells)["Every cell"].rows]
    assert trained == ["base", *(f"NAP, seed {n}" for n in range(3))] + [
        f"Long-CoT, seed {n}" for n in range(3)
    ]


def test_one_seed_is_as_it_was(tmp_path: Path) -> None:
    cells = EvaluationCells([write_run(tmp_path, seeded((24,), (16,)))])
    nap, long_cot = (cells.find(SUBJECT, *one, 39) for one in (NAP, LONG_COT))
    expected = paired_difference([*nap[0].right.values()], [*long_cot[0].right.values()])
    assert gain(nap, long_cot) == expected
    assert "seeds" not in claims(cells).header
    assert "several seeds" not in claims(cells).note + titled(cells)["Every cell"].note
    assert claims(cells).note.endswith("They say nothing of other seeds of the fine-tuning.")


def test_only_seeds_of_both_are_compared(tmp_path: Path) -> None:
    cells = EvaluationCells([write_run(tmp_path, seeded((24, 26, 28), (16, 20)))])
    nap, long_cot = (cells.find(SUBJECT, *one, 39) for one in (NAP, LONG_COT))
    assert [[one.result.system for one in pair] for pair in matched(nap, long_cot)] == [
        ["NAP 0", "Long-CoT 0"],
        ["NAP 1", "Long-CoT 1"],
    ]
    assert gain(nap, long_cot) == pytest.approx(widened(more((24, 26), (16, 20))))
    unlike = dataclasses.replace(long_cot[1].result, masks=100)
    other = (long_cot[0], dataclasses.replace(long_cot[1], result=unlike))
    assert gain(nap, other) is None, "one pair cannot be compared"


@pytest.mark.parametrize(
    ("nap", "long_cot", "verdict"),
    [
        ((24, 26, 28), (16, 20, 18), "holds"),
        ((16, 20, 18), (24, 26, 28), "contradicted"),
        ((24, 26, 28), (16, 25, 27), "open"),  # +7.5, and +20, +2.5, +2.5 of the seeds
        ((24, 24, 24), (16, 16, 16), "holds"),  # no seed differs, and 8 of 40 are many
        ((21, 21, 21), (16, 16, 16), "open"),  # no test over five problems can be passed
        ((20, 21, 21), (16, 16, 16), "open"),  # nor where the seeds differ a little
        ((22,), (20,), "open"),  # a sign test over two problems
        ((28,), (16,), "holds"),
    ],
)
def test_a_claim_is_about_seeds(
    tmp_path: Path, nap: Sequence[int], long_cot: Sequence[int], verdict: str
) -> None:
    cells = EvaluationCells([write_run(tmp_path, seeded(nap, long_cot))])
    table = claims(cells)
    (row,) = (row for row in table.rows if row[0] == "NAP > Long-CoT at 39 steps")
    assert row[-1] == verdict
    if len(nap) > 1:
        assert table.header[2] == "seeds" and row[2] == str(len(nap))
        assert "without a sign test" in table.note


def test_a_claim_about_the_gap_is_about_seeds(tmp_path: Path) -> None:
    few = seeded((24, 26, 28), (14, 17, 19))
    many = seeded((25, 26, 27), (23, 25, 24), steps=156)
    cells = EvaluationCells([write_run(tmp_path, [*few, *many])])
    (row,) = (row for row in claims(cells).rows if row[0].startswith("the gap is wider"))
    gaps = zip(more((24, 26, 28), (14, 17, 19)), more((25, 26, 27), (23, 25, 24)), strict=True)
    change = widened([[a - b for a, b in zip(*pair, strict=True)] for pair in gaps])
    assert change.value == pytest.approx(((10 - 2) + (9 - 1) + (9 - 3)) / 3 / 40)
    low, high = 100 * change.low, 100 * change.high
    assert row[2:] == ("3", f"+18.3 [{low:+.1f}, {high:+.1f}]", "holds")


def test_the_gap_needs_no_order_of_problems(tmp_path: Path) -> None:
    few, many = seeded((24,), (14,)), seeded((26,), (24,), steps=156)
    backwards = [(result, problems[::-1]) for result, problems in many]
    found = [
        [
            row
            for row in claims(EvaluationCells([write_run(tmp_path / name, cells)])).rows
            if row[0].startswith("the gap is wider")
        ]
        for name, cells in (("alike", few + many), ("backwards", few + backwards))
    ]
    assert found[0] == found[1] and len(found[0]) == 1


def test_trainings_that_all_solve_the_same_keep_a_width(tmp_path: Path) -> None:
    cells = EvaluationCells([write_run(tmp_path, seeded((40, 40, 40), (0, 0, 0)))])
    nap, long_cot = (cells.find(SUBJECT, *one, 39) for one in (NAP, LONG_COT))
    assert accuracy(nap) == wilson(40, 40) and accuracy(long_cot) == wilson(0, 40)


def test_what_differs_in_more_than_the_seed_is_no_group(tmp_path: Path) -> None:
    for number, change in enumerate(
        ({"training_seed": 0}, {"training_seed": None}, {"training_seed": 1, "seed": 5})
    ):
        pair = [
            cell("one", canvases(20), *NAP, training_seed=0),
            cell("other", canvases(21), *NAP, **change),  # type: ignore[arg-type]
        ]
        cells = EvaluationCells([write_run(tmp_path / str(number), pair)])
        with pytest.raises(UserError, match="are one cell of the tables"):
            cells.find(SUBJECT, *NAP, 39)


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        (LONG_COT, {}, {"first": 40}),
        (LONG_COT, {}, {"first": 39}),
        (LONG_COT, {"tuned_paths": 3}, {"tuned_paths": 1}),
        (NAP, {"variant": "hints"}, {"variant": "hints", "path_hints": 4}),
    ],
    ids=["other problems", "one problem in common", "other paths", "other hints"],
)
def test_trainings_of_one_kind_differ_in_the_seed_alone(
    tmp_path: Path, kind: tuple[Training, Order], first: Any, second: Any
) -> None:
    pair = []
    for seed, changes in enumerate((first, second)):
        start = changes.pop("first", 0)
        some = [canvas(n, ["1", "2", "2"], right=True) for n in range(start, start + 40)]
        pair.append(cell(f"seed {seed}", some, *kind, training_seed=seed, **changes))
    cells = EvaluationCells([write_run(tmp_path, pair)])
    with pytest.raises(UserError, match="are one cell of the tables"):
        cells.find(SUBJECT, *kind, 39, variant=second.get("variant", ""))


def test_cells_with_hints_change_no_table_but_those_of_single_cells(tmp_path: Path) -> None:
    plain = seeded((24,), (16,))
    four = [canvas(n, ["1"] * 4, right=n < 10) for n in range(40)]
    hinted = [
        cell("hints", four, *NAP, training_seed=1, path_hints=4, paths=4, steps=20),
        cell("hints, fill last", four, *NAP, path_hints=4, paths=4, fill=Fill.LAST),
    ]
    before = EvaluationCells([write_run(tmp_path / "plain", plain)])
    cells = EvaluationCells([tmp_path / "plain", write_run(tmp_path / "hinted", hinted)])
    now, then = titled(cells), titled(before)
    for title, table in then.items():
        if title.startswith("Table"):
            assert now[title] == dataclasses.replace(table, title=now[title].title)
    assert claims(cells).rows == claims(before).rows
    assert {"hints", "hints, fill last"} < {row[0] for row in now["Every cell"].rows}


def test_variants_are_beside_the_plain_training_and_nowhere_else(tmp_path: Path) -> None:
    plain = [*seeded((24,), (16,)), *seeded((26,), (18,), steps=156)]
    shuffled = [
        cell("shuffled", canvases(right), *NAP, variant="shuffled paths", training_seed=0, steps=n)
        for n, right in ((39, 30), (156, 25), (312, 20))
    ]
    before = EvaluationCells([write_run(tmp_path / "plain", plain)])
    cells = EvaluationCells([write_run(tmp_path / "all", [*plain, *shuffled])])
    now, then = titled(cells), titled(before)
    assert "Variants of NAP's training" not in then
    for title, table in then.items():
        if title.startswith("Table"):
            assert now[title].rows == table.rows
    assert claims(cells).rows == claims(before).rows
    table = now["Variants of NAP's training"]
    assert [(row[1], row[4]) for row in table.rows] == [
        *(("39", "plain"), ("39", "shuffled paths")),
        *(("156", "plain"), ("156", "shuffled paths")),
        *(("312", "plain"), ("312", "shuffled paths")),
    ]
    assert table.rows[0][5].startswith("60.0 [") and table.rows[0][6] == "-"
    assert table.rows[1][5].startswith("75.0 [") and table.rows[1][6].startswith("+15.0 [")
    assert table.rows[3][6].startswith("-2.5 [")
    assert table.rows[4][5:] == ("-",) * 8 and table.rows[5][6] == "-", "no plain one to compare"
    path, vote, oracle, diversity, copies, more = table.rows[1][7:]
    assert table.rows[0][12] == "-" and more == "+0.0 [+0.0, +0.0]"
    assert path.startswith("66.7") and vote.startswith("100.0") and oracle.startswith("100.0")
    assert diversity.startswith("0.67") and copies.startswith("0.0")
    assert "NAP, shuffled paths, seed 0" in {row[2] for row in now["Every cell"].rows}


def test_copies_and_votes_are_compared_canvas_by_canvas(tmp_path: Path) -> None:
    """Of 40 canvases 20 hold copies, with hints the first 10 of these; votes are the first 30."""
    alike, unlike = ["1", "1", "1"], ["1", "1", "2"]

    def some(copies: int, **changes: Any) -> Any:
        made = [
            canvas(
                n, alike if n < copies else unlike if n < 30 else ["2"] * 2 + ["3"], right=n < 24
            )
            for n in range(40)
        ]
        return cell(changes.get("variant", "NAP"), made, *NAP, training_seed=0, **changes)

    run = write_run(tmp_path, [some(20), some(10, variant="hints"), cell("AO", rows(9), *BASE)])
    cells = EvaluationCells([run])
    plain, hints = (cells.find(SUBJECT, *NAP, 39, variant=name) for name in ("", "hints"))
    copied = [float(n < 10) - float(n < 20) for n in range(40)]
    assert gain_of_copies(hints, plain) == mean(copied)
    assert gain_over_vote(plain) == mean([float(n < 24) - float(n < 30) for n in range(40)])
    base = cells.find(SUBJECT, *BASE, 39)
    assert gain_of_copies(plain, base) is None and gain_over_vote(base) is None
    shown = titled(cells)
    assert shown["Variants of NAP's training"].rows[1][-1].startswith("-25.0 [-40.0, ")
    assert shown["Paths of a canvas"].rows[0][8].startswith("-15.0 [")


def test_fill_last_is_a_line_of_tables_1_and_2_and_has_claims_of_its_own(tmp_path: Path) -> None:
    plain = seeded((24,), (16,))
    last = [
        cell("AO, fill last", rows(12), *BASE, fill=Fill.LAST, arness=0.75, arness_high=0.8),
        cell("NAP, fill last", canvases(22), *NAP, fill=Fill.LAST, training_seed=0, arness=0.25),
    ]
    before = EvaluationCells([write_run(tmp_path / "plain", plain)])
    cells = EvaluationCells([tmp_path / "plain", write_run(tmp_path / "last", last)])
    now, then = titled(cells), titled(before)
    for title, table in then.items():
        if title.startswith(("Table 3", "Table 4", "Table 5")):
            assert now[title].rows == table.rows
    former = claims(before).rows
    assert tuple(row for row in claims(cells).rows if "fill last" not in row[0]) == former
    (own,) = (row for row in claims(cells).rows if row not in former)
    assert own[0].startswith("NAP parallel-forced has less ARness than the base's AO, at ")
    assert own[0].endswith(" steps, fill last") and own[1] == "tiny, tiny problems"
    (one,) = (
        row
        for row in now["Table 1. ARness and accuracy of base models"].rows
        if row[0] == "fill last"
    )
    assert one[5] == "0.75 [0.40, 0.80]" and one[7].startswith("30.0 [")
    title = "Table 2. ARness by training: base model and Long-CoT under AO, NAP parallel-forced"
    *_, raw, content, two = now[title].rows
    assert (raw[0], content[0], two[0]) == ("tiny, tiny problems", "its content alone", "fill last")
    assert raw[7] == "0.50 [0.40, 0.60]" and content[7] == "0.25"
    assert two[1] == "0.75 [0.40, 0.80]" and two[3] == "-" and two[7].startswith("0.25 [")
    assert "parallel_forced, fill last" in {row[3] for row in now["Every cell"].rows}


def test_a_page_of_fill_last_alone_is_about_it(tmp_path: Path) -> None:
    run = write_run(tmp_path, seeded((24,), (16,), fill=Fill.LAST))
    shown = titled(EvaluationCells([run]))
    (row,) = shown["Table 3. Accuracy by steps: tiny"].rows
    assert row[5].startswith("60.0 [")
    assert (
        "Fill is committed last: tiny, tiny problems."
        in shown["Table 3. Accuracy by steps: tiny"].note
    )
    title = "Table 2. ARness by training: base model and Long-CoT under AO, NAP parallel-forced"
    assert "fill last" not in {row[0] for row in shown[title].rows}
