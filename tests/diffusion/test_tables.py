"""Tables and figures: every system of the paper runs and has its row; figures are the cells'."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from diffusion.data.layout import Form
from diffusion.decoding import Order
from diffusion.decoding.decode import Fill
from diffusion.evaluation.evaluate import evaluate_cells
from diffusion.evaluation.settings import Evaluation, Training
from diffusion.paper import reference
from diffusion.paper.cells import EvaluationCell, EvaluationCells, ModelOnBenchmark
from diffusion.paper.claims import claims, verdict
from diffusion.paper.figures import draw
from diffusion.paper.tables import tables
from diffusion.paper.tables_page import in_short, write_page
from diffusion.paper.trainings import change_of_gain, gain, gain_of_arness
from diffusion.settings import ModelReference, Precision
from support.errors import UserError
from support.paths import ROOT
from support.stats import Interval
from support.yaml_file import load
from tests.diffusion.checkpoints import make

RECIPES = Path(__file__).parents[2] / "flows" / "recipes" / "evaluate"
GSM8K = Path(__file__).parents[2].parent / "shared" / "data" / "gsm8k" / "test.jsonl"


def small(recipe: str, folder: Path, **changes: Any) -> Evaluation:
    """A recipe as it is, on random checkpoints of its architecture and few masks."""
    read = load(RECIPES / f"{recipe}.yaml", [], Evaluation)
    family = "llada" if recipe == "paper_llada" else "dream"
    names = sorted({system.model.path for system in read.systems})
    models = {
        name: ModelReference(path=str(make(family, folder / f"{recipe}-{number}", seed=number)))
        for number, name in enumerate(names)
    }
    systems = tuple(
        dataclasses.replace(system, model=models[system.model.path]) for system in read.systems
    )
    return dataclasses.replace(
        read,
        **{
            "systems": systems,
            "masks": 28,
            "summary_tokens": 4,
            "limit": 5,
            "precision": Precision.FLOAT32,
            **changes,
        },
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Both of the paper's models and the tiny one."""
    if not GSM8K.exists():
        pytest.skip(f"{GSM8K} is not there")
    folder = tmp_path_factory.mktemp("runs")
    made = []
    for recipe, benchmark in (
        ("paper_llada", {"kind": "gsm8k", "path": str(GSM8K)}),
        ("paper_dream", {"kind": "gsm8k", "path": str(GSM8K)}),
        ("tiny_smoke", {"kind": "tiny"}),
    ):
        evaluation = small(recipe, folder, benchmark=benchmark, steps=(7, 28))
        evaluate_cells(evaluation, folder / recipe, say=lambda _: None)
        made.append(folder / recipe)
    return made


def test_every_row_of_the_paper_is_there_and_ran(runs: list[Path]) -> None:
    cells = EvaluationCells(runs)
    one, two, llada, dream, tiny, four, five, paths, everything = tables(cells)
    assert [row[0] for row in one.rows] == [
        *("LLaDA-8B, GSM8K", "+ Fast-dLLM", "Dream-7B, GSM8K", "+ Fast-dLLM"),
        *("tiny, tiny problems", "+ Fast-dLLM"),
    ]
    for at, base in ((0, reference.LLADA), (2, reference.DREAM)):
        row = one.rows[at]
        assert row[1] == "1.00 [1.00, 1.00]" and row[2] == "1.00"
        assert row[4] == f"{reference.TABLE_1[base, Order.AR].accuracy}"
        assert row[6] == f"{reference.TABLE_1[base, Order.AO].arness:.2f}"
        assert one.rows[at + 1][8] == f"{reference.TABLE_1[base, Order.FAST].accuracy}"
        assert "-" not in row and one.rows[at + 1].count("-") == 2  # no AR order of Fast-dLLM
        assert one.rows[at + 1][4] == {reference.LLADA: "71.9", reference.DREAM: "78.3"}[base]
    assert [row[6] for row in two.rows] == ["0.08", "-", "0.01", "-", "-", "-"]
    assert two.header[7] == "NAP + PF" and all(row[7] != "-" for row in two.rows)
    assert two.rows[1][0] == "its content alone" and "[" in two.rows[1][5]
    for table, base in ((llada, reference.LLADA), (dream, reference.DREAM)):
        assert base in table.title
        by_steps = {(row[0], row[1]): row for row in table.rows}
        assert ("MATH-500", "1024") in by_steps and ("GPQA", "336") in by_steps
        row = by_steps["GSM8K", "256"]
        assert row[3:11] == (
            *("-", f"{reference.TABLE_3[base, 'gsm8k', 256, Training.BASE]}"),
            *("-", f"{reference.TABLE_3[base, 'gsm8k', 256, Training.LONG_COT]}"),
            *("-", f"{reference.TABLE_3[base, 'gsm8k', 256, Training.NAP]}"),
            *("-", "2.0" if base == reference.LLADA else "14.4"),
        )
        for steps, tokens in (("7", "4.0"), ("28", "1.0")):  # what was evaluated here
            row = by_steps["GSM8K", steps]
            assert row[2] == tokens
            assert all("[" in row[column] for column in (3, 5, 7, 9))
    columns = ("base", "Long-CoT", "NAP", "NAP - Long-CoT")
    assert tiny.header[3:] == (*columns, "vote of NAP's paths", "copies of NAP")
    assert len(four.rows) == 2 + 5 + 2 and all(len(row) == len(four.header) for row in four.rows)
    assert [(row[0], row[1]) for row in five.rows if row[1] == "28"] == [
        (text, "28")
        for name in ("LLaDA-8B, GSM8K", "Dream-7B, GSM8K", "tiny, tiny problems")
        for model in ("a model for each", "the model of 3 paths")
        for text in (f"{name}: {model}", "vote of its paths", "its copies")
    ]
    canvases = [one for one in cells.all if one.result.form is Form.CANVAS]
    assert len(paths.rows) == len(canvases) and all("[" in row[6] for row in paths.rows)
    (own,) = (row for row in five.rows if row[:2] == ("LLaDA-8B, GSM8K: a model for each", "28"))
    assert all("[" in row for row in (own[2], own[4], own[6])) and own[7] != "-"
    assert len(everything.rows) == len(cells.all) == 2 * (11 * 2 + 1) + 9 * 2 + 1
    assert all("(a trial, n = 5)" in table.title for table in tables(cells))


def test_cells_are_what_was_found_and_pairs_are_of_the_same_problems(runs: list[Path]) -> None:
    cells = EvaluationCells(runs)
    subject = ModelOnBenchmark("tiny", "tiny")
    found = cells.find(subject, Training.NAP, Order.FORCED, 28)
    other = cells.find(subject, Training.LONG_COT, Order.AO, 28)
    (nap,), (long_cot,) = found, other
    assert nap.result.system == "NAP + PF" and long_cot.result.system == "Long-CoT + AO"
    assert sum(nap.right.values()) == nap.result.right
    assert sum(nap.arness.values()) / 5 == pytest.approx(nap.result.arness)
    assert gain(found, found) == (0.0, 0.0, 0.0)
    assert gain_of_arness(found, other) is not None
    assert change_of_gain((found, other), (found, other)) == (0.0, 0.0, 0.0)
    theirs = cells.find(ModelOnBenchmark(reference.DREAM, "gsm8k"), Training.NAP, Order.FORCED, 28)
    assert gain(found, theirs) is None and gain(found, ()) is None
    assert cells.find(subject, Training.NAP, Order.FORCED, 5) == ()


def test_one_cell_of_a_table_is_one_cell(runs: list[Path]) -> None:
    with pytest.raises(UserError, match="are one cell of the tables; print them apart"):
        tables(EvaluationCells([runs[2], runs[2]]))


def test_ao_is_block_wise_only_where_nothing_else_is(runs: list[Path]) -> None:
    cells = EvaluationCells(runs[2:])
    subject = ModelOnBenchmark("tiny", "tiny")
    (confidence,) = cells.find(subject, Training.BASE, Order.AO, 28)
    other = dataclasses.replace(confidence.result, order=Order.BLOCKWISE, system="block-wise")
    blockwise = EvaluationCell(confidence.run, other)
    cells.all.append(blockwise)
    assert cells.find(subject, Training.BASE, Order.AO, 28) == (confidence,)
    cells.all = [one for one in cells.all if one.result.order is not Order.AO]
    assert cells.find(subject, Training.BASE, Order.AO, 28) == (blockwise,)


def test_what_was_decoded_otherwise_is_not_compared(runs: list[Path]) -> None:
    cells = EvaluationCells(runs)
    subject = ModelOnBenchmark("tiny", "tiny")
    first = cells.find(subject, Training.NAP, Order.FORCED, 28)
    second = cells.find(subject, Training.LONG_COT, Order.AO, 28)
    assert gain(first, second) is not None
    changes: list[dict[str, Any]] = [
        {"masks": 64},
        {"temperature": 0.7},
        {"fill": Fill.LAST},
        *({name: "another"} for name in ("device", "device_name", "attention", "dtype", "torch")),
        {"batch": 1},
        {"device": None},  # of the former version, which did not say it
    ]
    for change in changes:
        (cell,) = second
        other = (EvaluationCell(cell.run, dataclasses.replace(cell.result, **change)),)
        assert gain(first, other) is None and gain_of_arness(first, other) is None
        assert change_of_gain((first, other), (first, second)) is None


def test_the_table_of_all_cells_says_what_computed_them(runs: list[Path]) -> None:
    cells = EvaluationCells(runs[2:])
    first = cells.all[0]
    assert f"Computed on {first.result.computed}." in tables(cells)[-1].note
    other = dataclasses.replace(first.result, device_name="another")
    cells.all[0] = EvaluationCell(first.run, other)
    note = tables(cells)[-1].note
    assert f"on {other.computed}: {other.system};" in note
    assert note.endswith("Only cells that were computed alike are compared.")


def test_a_picture_of_one_point_is_words(runs: list[Path], tmp_path: Path) -> None:
    """A base model under one order is one bar; one order alone is nothing to look at."""
    cells = EvaluationCells(runs[2:])
    cells.all = [
        one
        for one in cells.all
        if (one.result.training, one.result.order) == (Training.BASE, Order.AO)
    ]
    drawn = {figure.caption.partition(".")[0]: figure for figure in draw(cells, tmp_path)}
    bars = drawn["Figure 2"]
    assert bars.name is None
    assert bars.missing == "Not drawn, because it has one point: tiny, tiny problems, AO."
    assert drawn["Figure 1"].name == "figure_1" and not drawn["Figure 1"].missing
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure_1.png", "figure_1.svg"]


def test_the_page_says_why_a_picture_is_missing(tmp_path: Path) -> None:
    page = write_page([ROOT / "docs" / "short_miniature" / "evaluation"], tmp_path)
    text = page.read_text()
    assert "Not drawn, because it has one point: tiny, tiny problems, AO." in text
    assert not (tmp_path / "figure_2.png").exists() and "figure_2" not in text
    assert (tmp_path / "figure_4.png").exists()


def test_few_discordant_problems_prove_nothing() -> None:
    sure = Interval(0.02, 0.005, 0.04)
    assert verdict(sure, rises=True, count=200, is_sure=False) == "open"
    assert verdict(sure, rises=True, count=200, is_sure=True) == "holds"


def test_claims_say_what_their_intervals_say(runs: list[Path]) -> None:
    table = claims(EvaluationCells(runs))
    assert len({row[0] for row in table.rows if row[1].startswith("tiny")}) >= 10
    assert {"NAP > Long-CoT at 7 steps", "3 paths > 2 at 28 steps"} <= {r[0] for r in table.rows}
    assert {row[3] for row in table.rows} == {"too few problems"}
    for interval, rises, says in (
        ((0.1, 0.01, 0.2), True, "holds"),
        ((0.1, 0.01, 0.2), False, "contradicted"),
        ((-0.1, -0.2, -0.01), False, "holds"),
        ((-0.1, -0.2, -0.01), True, "contradicted"),
        ((0.1, -0.01, 0.2), True, "open"),
        ((0.0, 0.0, 0.0), True, "open"),
    ):
        assert verdict(Interval(*interval), rises=rises, count=30) == says
        assert verdict(Interval(*interval), rises=rises, count=29) == "too few problems"


def test_the_page_has_every_picture_and_the_same_bytes(runs: list[Path], tmp_path: Path) -> None:
    page = write_page(runs, tmp_path / "a")
    write_page(runs, tmp_path / "b")
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(
        ["tables.md", *(f"figure_{n}.{kind}" for n in (1, 2, 4) for kind in ("png", "svg"))]
    )
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    text = page.read_text()
    assert all(f"]({name})" in text for name in files if name.endswith("png"))
    assert "Table 5" in text and "nan" not in text


def test_a_dollar_in_a_name_is_a_dollar(tmp_path: Path) -> None:
    read = small("tiny_smoke", tmp_path, benchmark={"kind": "tiny"}, steps=(7,), limit=2)
    systems = tuple(dataclasses.replace(s, base=r"$\no_such{math$") for s in read.systems)
    evaluate_cells(dataclasses.replace(read, systems=systems), tmp_path / "out", say=lambda _: None)
    assert r"$\no_such{math$" in write_page([tmp_path / "out"], tmp_path / "page").read_text()


def test_in_short_only_what_was_evaluated_is_printed(runs: list[Path]) -> None:
    text = in_short(runs[2:])
    assert "LLaDA-8B" not in text and "paper" not in text.replace("Claims of the paper", "")
    for number in (1, 2, 3, 4, 5):
        assert f"Table {number}." in text
    (line,) = [line for line in text.splitlines() if line.startswith("  tiny problems   28 ")]
    assert line.count("[") == 4


def test_what_was_not_evaluated_stays_empty(runs: list[Path], tmp_path: Path) -> None:
    text = write_page(runs[2:], tmp_path).read_text()
    row = next(line for line in text.splitlines() if line.startswith("| Dream-7B, GSM8K | -"))
    assert row == "| Dream-7B, GSM8K | - | 1.00 | - | 78.2 | - | 0.92 | - | 78.2 |"


def test_a_folder_without_results_or_report_is_the_users_mistake(
    runs: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"holds no results\.parquet"):
        write_page([tmp_path], tmp_path / "page")
    shutil.copytree(runs[0], tmp_path / "experiment" / "evaluation")
    with pytest.raises(UserError, match=r"that of this experiment is in .*evaluation$"):
        write_page([tmp_path / "experiment"], tmp_path / "page")
    (tmp_path / "broken_off" / "cells").mkdir(parents=True)
    with pytest.raises(UserError, match="the same polytrace evaluate command goes on"):
        write_page([tmp_path / "broken_off"], tmp_path / "page")
    with pytest.raises(UserError, match="polytrace seqdep-report"):
        write_page(runs, tmp_path / "page", seqdep=tmp_path)
    assert not (tmp_path / "page").exists()
