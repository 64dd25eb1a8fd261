"""AUP: by hand, as d3LLM's own code computes it, its interval, and its table."""

import dataclasses
import json
from math import exp
from pathlib import Path

import numpy as np
import pytest

from diffusion.data.layout import Form
from diffusion.evaluation.aup import CurvePoint, aup, aup_interval
from diffusion.evaluation.evaluate import evaluate_cells
from diffusion.evaluation.settings import Evaluation, System, Training
from diffusion.paper.cells import EvaluationCells, ModelOnBenchmark
from diffusion.paper.parallelism import parallelism
from diffusion.paper.tables import tables
from diffusion.paper.tables_page import in_short, write_page
from diffusion.settings import ModelReference, Precision
from tests.diffusion.checkpoints import make

PEERS = Path(__file__).parent / "peers"


def test_one_point_is_a_rectangle() -> None:
    assert aup([1.0], [72.55], best=74.1) == pytest.approx(72.55)


def test_by_hand() -> None:
    """Two tokens a pass at no loss, then four at three points less, whose weight is below 1."""
    weight = exp(-3 * (1 - 57 / 60))
    assert aup([1, 2, 4], [60, 60, 57], best=60) == pytest.approx(
        60 + 60 + (60 + 57 * weight) / 2 * 2
    )
    assert aup([4, 1, 2], [57, 60, 60], best=60) == aup([1, 2, 4], [60, 60, 57], best=60)


def test_of_a_better_method_all_weights_fall() -> None:
    weight = exp(-3 * (1 - 60 / 80))
    assert aup([1, 3], [60, 60], best=80) == pytest.approx(60 + 2 * 60 * weight)


def test_points_that_lost_more_than_five_are_left_out() -> None:
    assert aup([1, 2, 3], [60, 54.9, 60], best=60) == pytest.approx(60 + 2 * 60)
    assert aup([1, 2], [60, 54.9], best=60) == pytest.approx(60)
    exactly = 100 * 17 / 60, 100 * 20 / 60  # 5 points apart, and 5 + 4e-15 in floats
    assert exactly[1] - 5 > exactly[0]
    assert aup([1, 2], [exactly[1], exactly[0]], best=50) > aup([1], [exactly[1]], best=50)


def test_where_nothing_is_right_there_is_nothing() -> None:
    assert aup([1, 2], [0, 0], best=0) == 0


def test_wrong_calls_are_told() -> None:
    with pytest.raises(ValueError, match="0 speeds and 0 accuracies"):
        aup([], [], best=1)


def test_as_d3llm_computes_it() -> None:
    curves = json.loads((PEERS / "d3llm_aup.json").read_text())
    assert len(curves) >= 150
    for one in curves:
        ours = aup(one["parallelism"], one["accuracy"], one["best"])
        assert ours == pytest.approx(one["aup"], rel=1e-12)


def _point(right: int, tokens: float, count: int = 200, seed: int = 0) -> CurvePoint:
    right_N = np.zeros(count)
    right_N[np.random.default_rng(seed).permutation(count)[:right]] = 1
    return CurvePoint(
        right_N=right_N, tokens_N=np.full(count, tokens), passes_N=np.full(count, 10.0)
    )


def test_the_interval_is_that_of_the_same_problems_in_all_points() -> None:
    alone = aup_interval([_point(100, 20)])
    share = (alone.low / 200, alone.high / 200)  # the interval of a share of 0.5 among 200
    assert share == pytest.approx((0.43, 0.57), abs=0.01) and alone.value == pytest.approx(100)
    curve = [_point(100, 10), _point(100, 20)]  # the same problems solved twice as fast
    both = aup_interval(curve)
    assert both.value == pytest.approx(100)  # 1 * 50 + (2 - 1) * 50
    assert (both.low, both.high) == pytest.approx((alone.low, alone.high))
    better = aup_interval(curve, [_point(150, 10, seed=1)])
    assert better.value == pytest.approx(50 + 50 * exp(-3 * (1 - 50 / 75)))
    assert better.low < better.value < better.high


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One system at two numbers of steps, one at two thresholds, one at one speed."""
    folder = tmp_path_factory.mktemp("aup")
    model = ModelReference(path=str(make("dream", folder / "model")))

    def system(name: str, **rule: str | int | float | bool | None) -> System:
        return System(
            name=name,
            model=model,
            rule=rule,
            form=Form.LONG_COT,
            base="small",
            steps=(8,) if name == "once" else (),
        )

    evaluation = Evaluation(
        name="aup",
        benchmark={"kind": "tiny"},
        systems=(
            system("AO", kind="confidence"),
            system("low", kind="fast_dllm", block=8, threshold=0.001),
            system("high", kind="fast_dllm", block=8, threshold=0.9),
            system("once", kind="ar_order"),
        ),
        steps=(4, 8),
        masks=16,
        limit=4,
        precision=Precision.FLOAT32,
    )
    evaluate_cells(evaluation, folder / "run", say=lambda _: None)
    return folder / "run"


def test_a_curve_is_a_system_or_the_thresholds_of_a_rule(run: Path, tmp_path: Path) -> None:
    cells = EvaluationCells([run])
    (table,) = parallelism(cells)
    assert [row[1] for row in table.rows] == ["AO", "high, low"]
    for row in table.rows:
        speeds = [float(one) for one in row[3].split(" / ")]
        assert len(speeds) == 2 and speeds == sorted(speeds)
    for cell in cells.all:
        point, result = cell.curve_point, cell.result
        assert point.accuracy == pytest.approx(100 * result.accuracy)
        assert point.parallelism == pytest.approx(result.content_tokens_per_step)
    page = write_page([run], tmp_path).read_text()
    assert page.count("## Accuracy under parallelism") == 1
    assert "Accuracy under parallelism" in in_short([run])


def test_of_several_thresholds_the_tables_show_the_slowest(run: Path) -> None:
    cells = EvaluationCells([run])
    assert tables(cells)
    fast = [cell for cell in cells.all if cell.result.steps is None]
    found = cells.find(
        ModelOnBenchmark("small", "tiny"), Training.BASE, fast[0].result.order, steps=None
    )
    assert [one.result.system for one in found] == ["high"]
    assert found[0].result.nfe > min(cell.result.nfe for cell in fast)


def test_without_a_second_speed_there_is_no_table(run: Path) -> None:
    cells = EvaluationCells([run])
    cells.all = [one for one in cells.all if one.result.steps == 8]
    assert parallelism(cells) == ()


def test_two_models_under_one_base_are_two_curves(run: Path) -> None:
    cells = EvaluationCells([run])
    ao = [one for one in cells.all if one.result.system == "AO"]
    again = [
        dataclasses.replace(one, run=run.parent / ".." / run.parent.name / "run") for one in ao
    ]
    cells.all = ao + again
    (table,) = parallelism(cells)
    assert len(table.rows) == 2
