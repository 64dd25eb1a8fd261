"""Paths of a canvas: copies, diversity, vote and oracle, by hand and against a count of its own."""

from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from diffusion.decoding import Order
from diffusion.evaluation.canvas_paths import canvas_figures, canvas_intervals
from diffusion.evaluation.rows import read_rows
from diffusion.evaluation.settings import Training
from diffusion.paper.cells import EvaluationCells
from diffusion.paper.tables import tables
from schemas.records import Grade
from scorers.answers.grade import Attempt, GradePool
from support.paths import ROOT
from support.stats import mean, wilson
from tests.diffusion.evaluated import canvas, cell, problem, write_run

MINIATURE = ROOT / "docs" / "short_miniature" / "evaluation"
GRADES = {"1": Grade.CORRECT, None: Grade.UNPARSED}


@pytest.mark.parametrize(
    ("answers", "diversity", "path", "vote", "oracle"),
    [
        (("1", "1", "1"), 0.0, 1.0, 1.0, 1.0),
        (("2", "2", "1"), 2 / 3, 1 / 3, 0.0, 1.0),
        (("2", "1", "1"), 2 / 3, 2 / 3, 1.0, 1.0),
        (("1", "2", "3"), 1.0, 1 / 3, 1.0, 1.0),  # as many votes each: the first path's
        (("2", "1", "3"), 1.0, 1 / 3, 0.0, 1.0),
        ((None, None, "1"), 2 / 3, 1 / 3, 1.0, 1.0),  # no answer is no vote
        ((None, None, None), 0.0, 0.0, 0.0, 0.0),  # and equals no answer
        (("2", None, "2"), 2 / 3, 0.0, 0.0, 0.0),
        (("1,000", "1000", "2"), 2 / 3, 0.0, 0.0, 0.0),  # one answer in two notations
        (("2", "1"), 1.0, 0.5, 0.0, 1.0),
        (("1",), None, 1.0, 1.0, 1.0),
    ],
)
def test_figures_of_a_canvas(
    answers: tuple[str | None, ...],
    diversity: float | None,
    path: float,
    vote: float,
    oracle: float,
) -> None:
    grades = [GRADES.get(answer, Grade.WRONG) for answer in answers]
    found = canvas_figures([f"It is {n}" for n, _ in enumerate(answers)], answers, grades)
    assert found[1:] == pytest.approx((diversity, path, vote, oracle))
    assert found.copies == (0.0 if len(answers) > 1 else None)


def test_a_notation_of_most_paths_wins_the_vote() -> None:
    grades = [Grade.WRONG, Grade.CORRECT, Grade.CORRECT]
    assert canvas_figures(["a", "b", "c"], ["2", "1,000", "1000"], grades).vote == 1.0


def test_copies_are_the_same_word_for_word() -> None:
    assert canvas_figures(["a b", "a  b\n", "a b"], (), ()).copies == 1.0
    assert canvas_figures(["a b", "a b", "ab"], (), ()).copies == 0.0
    assert canvas_figures(["a", "a"], (), ())[1:] == (None, None, None, None)


def test_means_have_intervals_and_one_row_without_a_figure_leaves_none() -> None:
    rows = [
        canvas_figures(["x", "x"], ["1", "1"], [Grade.CORRECT] * 2),
        canvas_figures(["x", "y"], ["1", "2"], [Grade.CORRECT, Grade.WRONG]),
        canvas_figures(["x", "y"], ["2", "1"], [Grade.WRONG, Grade.CORRECT]),
        canvas_figures(["x", "y"], ["2", "3"], [Grade.WRONG] * 2),
    ]
    found = canvas_intervals(rows)
    assert found.copies == wilson(1, 4) and found.vote == wilson(2, 4)
    assert found.oracle == wilson(3, 4)
    assert found.diversity == mean([0, 1, 1, 1]) and found.path == mean([1, 0.5, 0.5, 0])
    old = canvas_intervals([*rows, canvas_figures(["x", "y"], (), ())])
    assert old.copies == wilson(1, 5) and old[1:] == (None,) * 4


def test_the_committed_canvases_agree_with_a_count_of_its_own() -> None:
    """Rows of an earlier version say copies alone; graded here, they give the rest."""
    one = next(c for c in EvaluationCells([MINIATURE]).all if c.result.system == "NAP + PF")
    assert one.result.steps == 39
    assert one.canvas.copies is not None and one.canvas[1:] == (None,) * 4
    rows = read_rows(one.run / one.result.rows).slice(0, 300).to_pylist()
    with GradePool() as pool:
        graded = pool.grade(
            [Attempt(text, row["gold"]) for row in rows for text in row["texts"][:-1]]
        )
    figures, votes, copies, pairs = [], 0, 0, 0
    for n, row in enumerate(rows):
        three = graded[3 * n : 3 * n + 3]
        answers = [path.answer for path in three]
        figures.append(canvas_figures(row["texts"][:-1], answers, [path.grade for path in three]))
        if known := [answer for answer in answers if answer is not None]:
            ((winner, _),) = Counter(known).most_common(1)  # of ties the first
            votes += next(p.grade is Grade.CORRECT for p in three if p.answer == winner)
        pairs += sum(a != b for a, b in combinations(answers, 2))
        copies += len(set(row["texts"][:-1])) == 1
    found = canvas_intervals(figures)
    assert found.vote == wilson(votes, 300) and found.copies == wilson(copies, 300)
    assert found.diversity is not None
    assert found.diversity.value == pytest.approx(pairs / 900)
    right = [path.grade is Grade.CORRECT for path in graded]
    assert found.path is not None and found.path.value == pytest.approx(sum(right) / 900)
    assert found.oracle == wilson(sum(any(right[3 * n : 3 * n + 3]) for n in range(300)), 300)


def test_a_table_shows_the_paths_of_every_canvas(tmp_path: Path) -> None:
    graded = [
        canvas(1, ["1", "1", "1"], right=True),
        canvas(2, ["2", "1", "1"], right=False),
        canvas(3, ["2", "3", None], right=True),
        canvas(4, ["2", "2", "1"], right=False),
    ]
    old = [problem(n, right=True, texts=("a", "b", "b", "1")) for n in range(1, 5)]
    text = cell("AO", old, Training.BASE, Order.AO)
    run = write_run(tmp_path, [cell("NAP", graded), cell("old", old, base="old"), text])
    shown = {table.title.partition(" (")[0]: table for table in tables(EvaluationCells([run]))}
    new, former = shown["Paths of a canvas"].rows
    assert [figure.partition(" ")[0] for figure in new[5:]] == [
        *("50.0", "50.0", "50.0", "+0.0", "75.0"),  # summary, mean path, vote, the gain, oracle
        *("0.58", "25.0"),  # diversity (0 + 2 + 3 + 2) / 12, copies
    ]
    assert former[6:-1] == ("-",) * 5 and former[-1].startswith("0.0 [")
    every = shown["Every cell"]
    at = every.header.index("copies")
    assert every.header[at : at + 5] == ("copies", "diversity", "path", "vote", "oracle")
    assert [row[at : at + 5] for row in every.rows] == [
        ("0.25", "0.58", "0.50", "0.50", "0.75"),
        ("0.00", "-", "-", "-", "-"),
        ("-", "-", "-", "-", "-"),
    ]
    (row,) = shown["Table 3. Accuracy by steps: tiny"].rows
    assert row[-2:] == ("50.0", "25.0")
