"""Decoding with hints in headers: rows of several layouts in a batch, drawn hints, a whole run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from diffusion.data.canvas_layouts import CanvasLayouts
from diffusion.data.layout import CanvasLayout, Form
from diffusion.decoding import Rule
from diffusion.decoding.decode import Decoded, Request, Sampling, decode
from diffusion.decoding.kv_cache import CachedPositions, CacheSettings
from diffusion.decoding.rules.blockwise import Blockwise
from diffusion.decoding.rules.fast_dllm import FastDllm
from diffusion.decoding.rules.parallel_forced import ParallelForced
from diffusion.decoding.rules.random_order import RandomOrder
from diffusion.evaluation.answers import draw_hints, layout_for, requests_of
from diffusion.evaluation.benchmarks import Problem
from diffusion.evaluation.evaluate import evaluate_cells
from diffusion.evaluation.settings import Cell, Evaluation, System
from diffusion.models.network.denoiser import Dlm
from diffusion.settings import ModelReference, Precision, Settings
from diffusion.training.train import fine_tune
from support.errors import UserError
from tests.diffusion.checkpoints import write_corpus
from tests.diffusion.decodes import ASKED, canvas, decoder, order, requests

HINTS = ("Go", "Go step by step.", "We need 2 numbers first, and then their sum:", "12 * 4")
PROBLEMS = [Problem(f"p{n}", text, "5") for n, text in enumerate(ASKED)]


@pytest.fixture(scope="module", params=("llada", "dream"))
def dlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dlm:
    return decoder(request.param, tmp_path_factory.mktemp(request.param))


def same(one: Decoded, other: Decoded) -> bool:
    return order(one) == order(other) and one.ids_C.tolist() == other.ids_C.tolist()


def test_hints_are_drawn_by_seed_and_problem_without_replacement() -> None:
    drawn = [draw_hints(HINTS, 3, 0, f"p{n}") for n in range(200)]
    assert all(len(set(one)) == 3 and set(one) <= set(HINTS) for one in drawn)
    assert {one[slot] for one in drawn for slot in range(3)} == set(HINTS)
    assert len(set(drawn)) == 4 * 3 * 2, "in any order"
    assert drawn == [draw_hints(HINTS, 3, 0, f"p{n}") for n in range(200)]
    assert drawn != [draw_hints(HINTS, 3, 1, f"p{n}") for n in range(200)]


@pytest.mark.parametrize(
    ("rule", "steps", "caching", "sampling"),
    [
        (ParallelForced(), 6, None, Sampling()),
        (ParallelForced(), 6, CacheSettings(kind=CachedPositions.PROMPT), Sampling()),
        (ParallelForced(), 6, None, Sampling(guidance=1.5)),
        (RandomOrder(), 6, None, Sampling(temperature=0.7)),
        (Blockwise(block=5), 7, CacheSettings(kind=CachedPositions.PREFIX), Sampling()),
        (
            FastDllm(block=5, threshold=0.02),
            0,
            CacheSettings(kind=CachedPositions.DUAL),
            Sampling(),
        ),
    ],
)
def test_a_row_with_hints_decodes_in_a_batch_as_by_itself(
    dlm: Dlm, rule: Rule, steps: int, caching: CacheSettings | None, sampling: Sampling
) -> None:
    layout = canvas(dlm)
    asked = requests_of(dlm, layout, PROBLEMS, HINTS, 0)
    tokens = {request.layout.tokens for request in asked if request.layout}
    assert len(tokens) > 1 and min(tokens) > layout.tokens

    def found(some: Sequence[Request], layout: CanvasLayout) -> list[Decoded]:
        return decode(dlm, layout, some, rule, steps=steps, sampling=sampling, caching=caching)

    together = found(asked, layout)
    for request, row in zip(asked, together, strict=True):
        assert same(row, found([request], layout)[0])
        assert request.layout is not None
        if not isinstance(rule, RandomOrder):  # whose noise is drawn for columns
            # The same as a batch whose only layout is the row's own, in other columns.
            plain = request._replace(layout=None)
            (own,) = found([plain], request.layout)
            columns = layout.columns_in(request.layout)
            assert order(own) == [(s, columns[c], token) for s, c, token in order(row)]
            assert own.ids_C[columns].tolist() == row.ids_C.tolist()
            contents = (request.layout.contents(own.ids_C), layout.contents(row.ids_C))
            assert all(map(np.array_equal, *contents))
    mixed = found([asked[0], *requests(dlm, 1)], layout)
    assert same(mixed[0], together[0]), "beside a row without hints"
    assert not same(together[0], found([asked[0]._replace(layout=None)], layout)[0])


def test_a_block_causal_model_and_its_cache_see_hints(tmp_path: Path) -> None:
    dlm = decoder("sdar", tmp_path)
    layout, rule = canvas(dlm), Blockwise(block=4)
    asked = requests_of(dlm, layout, PROBLEMS, HINTS, 0)
    together = decode(dlm, layout, asked, rule, steps=12)
    caching = CacheSettings(kind=CachedPositions.FINISHED)
    kept = decode(dlm, layout, asked, rule, steps=12, caching=caching)
    for request, row, other in zip(asked, together, kept, strict=True):
        assert same(row, decode(dlm, layout, [request], rule, steps=12)[0])
        assert same(row, other)


def test_headers_are_those_of_training(dlm: Dlm) -> None:
    layout = layout_for(dlm, Form.CANVAS, paths=3, masks=34, summary_tokens=4)
    for request in requests_of(dlm, layout, PROBLEMS, HINTS, 5):
        hints = draw_hints(HINTS, 3, 5, request.name)
        assert request.layout == CanvasLayouts(dlm.tokenizer, layout).layout(hints)
    assert all(one.layout is None for one in requests_of(dlm, layout, PROBLEMS, (), 5))


def test_a_small_model_is_trained_and_evaluated_with_hints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(
        name="small",
        model=ModelReference(path="tiny/dlm"),
        corpus=str(write_corpus(tmp_path / "corpus", rows=8, validation=2)),
        path_hints=tuple(f"{n} +" for n in range(3, 12)),
        slot_tokens=30,
        summary_tokens=12,
        epochs=1,
        batch=4,
        precision=Precision.FLOAT32,
    )
    fine_tune(settings, tmp_path / "trained", say=lambda _: None)
    monkeypatch.setattr("diffusion.evaluation.shards.plan.LEAST_ROWS", 1)
    system = System(
        name="NAP + hints",
        model=ModelReference(path=str(tmp_path / "trained" / "model")),
        rule={"kind": "parallel_forced"},
        path_hints=settings.path_hints,
    )
    evaluation = Evaluation(
        name="hints",
        benchmark={"kind": "tiny"},
        systems=(system, replace(system, name="plain", path_hints=())),
        steps=(12,),
        masks=102,
        summary_tokens=12,
        limit=4,
        batch=4,
        precision=Precision.FLOAT32,
    )
    hinted, plain = evaluate_cells(evaluation, tmp_path / "a", say=lambda _: None)
    assert (hinted.count, hinted.path_hints, plain.path_hints) == (4, 9, 0)
    rows = pq.read_table(tmp_path / "a" / hinted.rows).to_pylist()
    assert rows != pq.read_table(tmp_path / "a" / plain.rows).to_pylist()
    assert all(len(set(row["positions_K"])) == 102 for row in rows)
    (again,) = evaluate_cells(
        replace(evaluation, systems=(system,), batch=1), tmp_path / "b", say=lambda _: None
    )
    alone = pq.read_table(tmp_path / "b" / again.rows).to_pylist()
    for name in ("id", "texts", "tokens_K", "positions_K"):
        assert [row[name] for row in rows] == [row[name] for row in alone]


def test_the_context_counts_a_row_with_its_hints(tmp_path: Path) -> None:
    evaluation = Evaluation(
        name="hints",
        benchmark={"kind": "tiny"},
        systems=(
            System(
                name="long",
                model=ModelReference(path="tiny/dlm"),
                rule={"kind": "parallel_forced"},
                path_hints=tuple(f"{n} " + "Why? " * 200 for n in range(3)),
            ),
        ),
        steps=(1,),
        masks=102,
        summary_tokens=12,
        limit=1,
    )
    with pytest.raises(UserError, match=r"systems\.long: problem '.*': a prompt .* the model sees"):
        evaluate_cells(evaluation, tmp_path / "run", say=lambda _: None)


def test_hints_that_cannot_be_drawn_are_refused() -> None:
    system = System(name="a", model=ModelReference(path="m"), rule={"kind": "parallel_forced"})
    assert replace(system, path_hints=HINTS[:3]).path_hints
    with pytest.raises(ValueError, match="path_hints: 2 hints for 3 paths, which get one each"):
        replace(system, path_hints=HINTS[:2])
    with pytest.raises(ValueError, match="path_hints: form long_cot has one text without paths"):
        replace(system, path_hints=HINTS, form=Form.LONG_COT)
    with pytest.raises(ValueError, match=r"path_hints\.1: blank"):
        replace(system, path_hints=("Go", ""))


def test_digests_of_cells_without_hints_are_those_of_earlier_versions() -> None:
    system = System(name="a", model=ModelReference(path="m"), rule={"kind": "parallel_forced"})
    evaluation = Evaluation(name="e", benchmark={}, systems=(system,), steps=(2,))
    hinted = replace(system, path_hints=HINTS)
    assert evaluation.digest(Cell(system, 2), []) == "fe372e998f4a8af3"
    assert evaluation.digest(Cell(hinted, 2), []) != "fe372e998f4a8af3"
