"""Evaluation: every problem has its row, a stop costs what was not written, figures follow."""

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from diffusion.data.layout import Form
from diffusion.decoding.decode import decode
from diffusion.decoding.sampling import Fill
from diffusion.evaluation.arness import global_arness
from diffusion.evaluation.computed import computed
from diffusion.evaluation.evaluate import evaluate_cells
from diffusion.evaluation.results import read_results, result
from diffusion.evaluation.rows import DecodedProblem, read_rows
from diffusion.evaluation.settings import Cell, Evaluation, System, Training
from diffusion.paper.cells import EvaluationCells
from diffusion.paper.decode_page import evaluated
from diffusion.paper.tables import tables
from diffusion.settings import ModelReference, Precision, digest_of
from schemas.records import Grade
from support.errors import DamagedError, UserError
from support.paths import ROOT
from support.yaml_file import load
from tests.diffusion.checkpoints import make

MINIATURE = ROOT / "docs" / "short_miniature" / "evaluation"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("dream", tmp_path_factory.mktemp("model"))


@pytest.fixture
def evaluation(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    monkeypatch.setattr("diffusion.evaluation.shards.plan.LEAST_ROWS", 1)  # a file a batch
    file = tmp_path / "problems.jsonl"
    rows = [
        {"question": f"What is {n} + 1?" + " Why?" * (n % 3), "answer": str(n + 1)}
        for n in range(9)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = ModelReference(path=str(model))
    return Evaluation(
        name="small",
        benchmark={"kind": "tiny", "path": str(file)},
        systems=(
            System(name="AO", model=path, rule={"kind": "confidence"}, form=Form.LONG_COT),
            System(name="NAP + PF", model=path, rule={"kind": "parallel_forced"}),
            System(
                name="fast",
                model=path,
                rule={"kind": "fast_dllm", "block": 9, "threshold": 0.0},
                paths=2,
            ),
        ),
        steps=(3, 5),
        masks=34,
        summary_tokens=4,
        batch=3,
        precision=Precision.FLOAT32,
    )


def files(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()
    }


def test_every_problem_has_its_row_and_every_commit_is_there(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    results = evaluate_cells(evaluation, tmp_path / "run", say=lambda _: None)
    assert [(one.system, one.steps) for one in results] == [
        *(("AO", 3), ("AO", 5), ("NAP + PF", 3), ("NAP + PF", 5), ("fast", None)),
    ]
    assert all(one.count == 9 for one in results)
    assert [one.nfe for one in results[:4]] == [3, 5, 3, 5]
    assert results[0].tokens_per_step == pytest.approx(34 / 3)
    assert len(results[2].by_slot) == 4
    written = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [one["right"] for one in written] == [one.right for one in results]
    assert pq.read_table(tmp_path / "run" / "results.parquet").num_rows == 5
    cells = sorted((tmp_path / "run" / "cells").iterdir())
    assert cells == sorted(tmp_path / "run" / one.rows for one in results)
    for file in cells:
        rows = pq.read_table(file).to_pylist()
        assert [row["id"] for row in rows] == [str(n) for n in range(1, 10)]
        for row in rows:
            masks = 34
            assert len(set(row["positions_K"])) == len(row["tokens_K"]) == masks
            assert row["scored"] == row["texts"][-1]
            assert len(row["texts"]) == 1 + max(row["slots_K"])


def test_a_stop_costs_only_what_was_not_written(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate_cells(evaluation, tmp_path / "whole", say=lambda _: None)
    calls = Counter[str]()

    def stopped(*args: Any, **kwargs: Any) -> Any:
        calls["decode"] += 1
        if calls["decode"] == 2:
            raise KeyboardInterrupt
        return decode(*args, **kwargs)

    monkeypatch.setattr("diffusion.evaluation.answers.decode", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate_cells(evaluation, tmp_path / "parts", say=lambda _: None)
    assert not list((tmp_path / "parts").rglob("*.part"))
    assert [path.name for path in (tmp_path / "parts").rglob("rows-*")] == ["rows-00000.parquet"]
    evaluate_cells(evaluation, tmp_path / "parts", say=lambda _: None)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    before = calls["decode"]
    evaluate_cells(evaluation, tmp_path / "parts", say=lambda _: None)
    assert calls["decode"] == before, "nothing is decoded twice"
    more = replace(evaluation, steps=(3, 5, 7))
    evaluate_cells(more, tmp_path / "parts", say=lambda _: None)
    assert calls["decode"] == before + 2 * 3, "two new cells of three batches each"


def test_batches_change_nothing(evaluation: Evaluation, tmp_path: Path) -> None:
    one = evaluate_cells(replace(evaluation, batch=1), tmp_path / "a", say=lambda _: None)
    other = evaluate_cells(evaluation, tmp_path / "b", say=lambda _: None)
    for a, b in zip(one, other, strict=True):
        assert (a.right, a.nfe, a.unread) == (b.right, b.nfe, b.unread)
        assert a.arness == pytest.approx(b.arness)


def test_strict_rows_have_no_neighbours_whatever_the_batch(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    """In bfloat16, to the last digit; it is the cell of `batch: 1`."""
    half = replace(evaluation, precision=Precision.BFLOAT16)
    evaluate_cells(replace(half, batch=1), tmp_path / "one", say=lambda _: None)
    evaluate_cells(replace(half, batch=4, strict=True), tmp_path / "strict", say=lambda _: None)
    assert files(tmp_path / "strict") == files(tmp_path / "one")


def test_results_say_what_computed_them(evaluation: Evaluation, tmp_path: Path) -> None:
    said: list[str] = []
    results = evaluate_cells(evaluation, tmp_path, say=said.append)
    (one, *_) = json.loads((tmp_path / "results.json").read_text())
    assert one["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert one["device_name"] and one["attention"] == "sdpa"
    assert (one["dtype"], one["torch"], one["batch"]) == ("float32", torch.__version__, 3)
    assert read_results(tmp_path) == results
    assert one["device_name"] in said[0] and "float32" in said[0] and "3 rows at once" in said[0]
    assert str(results[0].computed) in said[0]


def test_half_precision_on_a_processor_has_an_attention_of_its_own(evaluation: Evaluation) -> None:
    half = replace(evaluation, precision=Precision.BFLOAT16)
    assert computed(half, "sdpa", 3, "cpu").attention == "sdpa or products"
    assert computed(half, "eager", 3, "cpu").attention == "eager"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("device", "cuda"),
        ("device_name", "another"),
        ("attention", "eager"),
        ("torch", "9.9"),
        ("dtype", "bfloat16"),
        ("threads", 99),
    ],
)
def test_a_cell_of_another_machine_is_decoded_anew(
    evaluation: Evaluation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    field: str,
    value: Any,
) -> None:
    small = replace(evaluation, systems=evaluation.systems[:1], steps=(3,))
    evaluate_cells(small, tmp_path, say=lambda _: None)
    (first,) = (tmp_path / "cells").iterdir()
    before = first.read_bytes()
    calls = Counter[str]()

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls["decode"] += 1
        return decode(*args, **kwargs)

    monkeypatch.setattr("diffusion.evaluation.answers.decode", counted)
    other = lambda *of: replace(computed(*of), **{field: value})  # noqa: E731
    monkeypatch.setattr("diffusion.evaluation.shards.plan.computed", other)
    (result_,) = evaluate_cells(small, tmp_path, say=lambda _: None)
    assert getattr(result_, field) == value
    assert calls["decode"] == 3, "every batch"
    assert first.read_bytes() == before, "what the other has made stays"
    assert result_.rows != f"cells/{first.name}"
    assert "AO-3: decoded anew; the rows there are of another" in capsys.readouterr().err


def test_rows_and_results_of_the_former_version_are_read() -> None:
    """The committed ones: they say neither what computed them nor what ends a turn."""
    one, *_ = EvaluationCells([MINIATURE]).all
    assert one.result.computed is None
    assert sum(one.content_arness.values()) / one.result.count == pytest.approx(
        one.result.content_arness
    )
    rows = read_rows(one.run / one.result.rows).slice(0, 1).to_pylist()
    assert rows[0]["end_ids"] == [rows[0]["fill_id"]]


def in_folders(run: Path) -> None:
    """Lay a finished evaluation out as Polytrace 0.1 did: a folder of several files for a cell."""
    for file in (run / "cells").glob("*.parquet"):
        folder = file.with_suffix("")
        folder.mkdir()
        rows = pq.read_table(file)
        for number in range(3):
            pq.write_table(rows.slice(3 * number, 3), folder / f"rows-{number:05d}.parquet")
        file.unlink()
    results = pq.read_table(run / "results.parquet").to_pylist()
    for one in results:
        one["rows"] = one["rows"].removesuffix(".parquet")
    table = pa.Table.from_pylist(results, pq.read_schema(run / "results.parquet"))
    pq.write_table(table, run / "results.parquet")


def test_cells_in_folders_are_read_and_become_files(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate_cells(evaluation, tmp_path / "run", say=lambda _: None)
    before = files(tmp_path / "run")
    rights = [one.right for one in EvaluationCells([tmp_path / "run"]).all]
    in_folders(tmp_path / "run")
    assert [one.right for one in EvaluationCells([tmp_path / "run"]).all] == rights
    monkeypatch.delattr("diffusion.evaluation.answers.decode")
    evaluate_cells(evaluation, tmp_path / "run", say=lambda _: None)
    assert files(tmp_path / "run") == before


def test_damaged_rows_are_named(evaluation: Evaluation, tmp_path: Path) -> None:
    evaluate_cells(evaluation, tmp_path / "run", say=lambda _: None)
    file = next((tmp_path / "run" / "cells").glob("AO-3-*.parquet"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    with pytest.raises(DamagedError, match=r"AO-3-.*\.parquet: cannot be read"):
        evaluate_cells(evaluation, tmp_path / "run", say=lambda _: None)
    file.write_bytes(whole)
    in_folders(tmp_path / "run")
    part = file.with_suffix("") / "rows-00001.parquet"
    part.write_bytes(part.with_name("rows-00000.parquet").read_bytes())
    with pytest.raises(DamagedError, match="other problems"):
        evaluate_cells(evaluation, tmp_path / "run", say=lambda _: None)


def test_a_canvas_that_the_model_cannot_see_is_refused(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    with pytest.raises(
        UserError, match=r"systems\.AO: problem '1': .* the model sees 512; lower masks"
    ):
        evaluate_cells(replace(evaluation, masks=600), tmp_path / "run", say=lambda _: None)


def row(grade: Grade, steps: list[int], tokens: list[int]) -> DecodedProblem:
    return DecodedProblem(
        id="1",
        gold="1",
        texts=("a",),
        scored="a",
        answer="1" if grade is not Grade.UNPARSED else None,
        grade=grade,
        nfe=len(set(steps)),
        fill_id=0,
        end_ids=(0,),
        steps_K=tuple(steps),
        positions_K=tuple(range(3, 3 + len(steps))),
        confidences_K=(1.0,) * len(steps),
        tokens_K=tuple(tokens),
        slots_K=(0,) * len(steps),
    )


def test_a_result_is_the_mean_of_its_rows(evaluation: Evaluation) -> None:
    rows = [
        row(Grade.CORRECT, [0, 1, 2, 3], [5, 6, 0, 0]),
        row(Grade.WRONG, [3, 2, 1, 0], [5, 6, 7, 0]),
        row(Grade.UNPARSED, [1, 0, 1, 0], [0, 0, 0, 0]),
    ]
    made = computed(evaluation, "sdpa", 3)
    found = result(evaluation, Cell(evaluation.systems[0], 4), "cells/x", rows, made)
    assert (found.order, found.benchmark, found.masks) == ("AO", "tiny", 34)
    assert found.base == Path(evaluation.systems[0].model.path).name
    assert (found.count, found.right, found.unread) == (3, 1, 1)
    assert found.accuracy == pytest.approx(1 / 3)
    assert found.tokens_per_step == 12 / 10
    assert found.content_tokens_per_step == 5 / 10
    raws = [global_arness(list(r.steps_K), list(r.positions_K)) for r in rows]
    assert raws[:2] == [1.0, 0.25]
    assert found.arness == pytest.approx(sum(raws) / 3)
    assert found.arness_low is not None and found.arness_high is not None
    assert found.arness is not None and found.arness_low < found.arness < found.arness_high
    assert found.content_arness == pytest.approx((1.0 + 1 / 3) / 2)
    assert list(found.by_slot) == pytest.approx([sum(raws) / 3])


def test_only_the_last_commit_of_a_position_counts(evaluation: Evaluation) -> None:
    """Position 3 was committed first, taken back, and committed again at the end."""
    again = replace(
        row(Grade.CORRECT, [0, 1, 2, 3, 4], [9, 6, 7, 8, 5]),
        positions_K=(3, 4, 5, 6, 3),
        taken_back_K=(1, None, None, None, None),
    )
    made = computed(evaluation, "sdpa", 3)
    cell = Cell(evaluation.systems[0], 5)
    found = result(evaluation, cell, "cells/x", [again], made)
    assert found.churn == pytest.approx(0.2)
    assert (found.nfe, found.tokens_per_step) == (5, 4 / 5)
    assert found.arness == global_arness([1, 2, 3, 4], [4, 5, 6, 3]) == 0.25
    assert found.content_tokens_per_step == 4 / 5
    guided = result(replace(evaluation, guidance=1.0), cell, "cells/x", [again], made)
    assert guided.tokens_per_step == 2 * found.tokens_per_step, "a step takes two passes"
    assert (found.sampling, guided.sampling) == ("", "guidance=1.0")


def test_every_rule_and_setting_is_evaluated_and_read_back(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    path = evaluation.systems[0].model
    rules: tuple[dict[str, Any], ...] = (
        {"kind": "confidence", "confidence": "margin"},
        {"kind": "blockwise", "confidence": "entropy", "block": 8},
        {"kind": "parallel_forced", "confidence": "entropy"},
        {"kind": "random_order", "is_independent": True},
        {"kind": "entropy_threshold", "threshold": 6.0, "block": 8},
        {"kind": "prophet", "block": 8, "early": 0.4, "middle": 0.3, "late": 0.2},
        {"kind": "p2", "eta": 1.5},
        {"kind": "remdm", "block": 8, "count": 2, "start": 0.5},
    )
    many = replace(
        evaluation,
        systems=tuple(System(name=str(rule), model=path, rule=rule) for rule in rules),
        steps=(11,),
        guidance=0.5,
        suppress=("4", 7),
        defer=(2,),
        limit=3,
    )
    found = evaluate_cells(many, tmp_path / "run", say=lambda _: None)
    assert [one.churn > 0 for one in found] == [False] * 6 + [True] * 2
    assert {one.sampling for one in found} == {"guidance=0.5, suppress=4+7, defer=2"}
    assert {one.order for one in found} == {"other"}
    assert read_results(tmp_path / "run") == found
    for one in found:
        for read in read_rows(tmp_path / "run" / one.rows).to_pylist():
            assert read["nfe"] % 2 == 0 and 7 not in read["tokens_K"]
            ends = [end for end in read["taken_back_K"] if end is not None]
            assert one.churn or not read["taken_back_K"]
            assert len(read["tokens_K"]) - len(ends) == 34
    for shown in evaluated(tmp_path / "run", {}).decodes:
        assert len(shown.taken_back) == len(shown.step) >= 34
        assert sum(map(len, shown.slots)) == 34, "a position has one place"
    cells = tables(EvaluationCells([tmp_path / "run"]))[-1]
    assert cells.header[-1] == "taken back"
    assert "prophet (block=8, early=0.4" in cells.rows[5][3]


def test_results_without_the_later_columns_are_read(evaluation: Evaluation, tmp_path: Path) -> None:
    found = evaluate_cells(evaluation, tmp_path, say=lambda _: None)
    file = tmp_path / "results.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["churn", "sampling", "path_hints"]), file)
    assert read_results(tmp_path) == found
    rows = tmp_path / found[0].rows
    before = read_rows(rows).to_pylist()
    pq.write_table(pq.read_table(rows).drop_columns(["taken_back_K"]), rows)
    later = ["taken_back_K", "path_answers", "path_grades"]
    pq.write_table(pq.read_table(rows).drop_columns(later[1:]), rows)
    assert read_rows(rows).select(later).to_pylist() == [{name: [] for name in later}] * 9
    assert [{**row, **{name: [] for name in later}} for row in before] == before
    assert evaluate_cells(evaluation, tmp_path, say=lambda _: None) == found


def test_paths_are_graded_as_the_summary_is(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A random model writes no answer, so texts are replaced: slot s says the gold plus s."""
    file = Path(str(evaluation.benchmark["path"]))
    file.write_text("".join(json.dumps({"question": f"{n}?", "answer": "4"}) + "\n" for n in "abc"))

    def texts(dlm: Any, layout: Any, rows: Any) -> list[tuple[str, ...]]:
        slots = range(1 + max(layout.slot_of()))
        return [tuple(f"The answer is {4 + slot}." for slot in slots) for _ in rows]

    monkeypatch.setattr("diffusion.evaluation.answers.texts_of", texts)
    one = replace(evaluation, systems=evaluation.systems[1:2], steps=(3,))
    (found,) = evaluate_cells(one, tmp_path / "run", say=lambda _: None)
    for row in read_rows(tmp_path / "run" / found.rows).to_pylist():
        assert row["path_answers"] == ["4", "5", "6"]
        assert row["path_grades"] == ["correct", "wrong", "wrong"]
        assert (row["answer"], row["grade"]) == ("7", "wrong")
    assert (found.copies, found.diversity, found.vote, found.oracle) == (0, 1, 1, 1)
    assert found.path_accuracy == pytest.approx(1 / 3) and found.accuracy == 0
    (text,) = evaluate_cells(
        replace(evaluation, systems=evaluation.systems[:1], steps=(3,)),
        tmp_path / "text",
        say=lambda _: None,
    )
    assert text.copies is text.vote is text.oracle is text.path_accuracy is text.diversity is None
    assert {
        len(r["path_grades"]) for r in read_rows(tmp_path / "text" / text.rows).to_pylist()
    } == {0}


def test_paths_of_rows_of_an_earlier_version_are_graded(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a part of a cell's rows is of one; nothing is decoded again."""
    one = replace(evaluation, systems=evaluation.systems[1:2], steps=(3,))
    whole = evaluate_cells(one, tmp_path / "run", say=lambda _: None)
    before = files(tmp_path / "run")
    monkeypatch.delattr("diffusion.evaluation.answers.decode")
    file = tmp_path / "run" / whole[0].rows
    later = ["path_answers", "path_grades"]
    pq.write_table(pq.read_table(file).drop_columns(later), file)
    (cell,) = EvaluationCells([tmp_path / "run"]).all
    assert cell.canvas.vote is None and cell.canvas.copies is not None
    assert evaluate_cells(one, tmp_path / "run", say=lambda _: None) == whole
    assert files(tmp_path / "run") == before
    in_folders(tmp_path / "run")
    part = file.with_suffix("") / "rows-00001.parquet"
    pq.write_table(pq.read_table(part).drop_columns(later), part)
    assert evaluate_cells(one, tmp_path / "run", say=lambda _: None) == whole
    assert files(tmp_path / "run") == before


def test_a_system_may_have_its_own_fill(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = evaluation.systems[0]
    last = replace(plain, name="AO, fill last", fill=Fill.LAST)
    both = replace(evaluation, systems=(plain, last), steps=(5,))
    first, second = (both.digest(cell, ["a"]) for cell in both.cells())
    assert first == evaluation.digest(Cell(plain, 5), ["a"]) != second
    whole = replace(evaluation, fill=Fill.LAST)
    assert second == whole.digest(Cell(plain, 5), ["a"]), "the rows of a whole such recipe"
    assert first == whole.digest(Cell(replace(plain, fill=Fill.FREE), 5), ["a"])
    used: list[Fill] = []

    def recorded(*args: Any, **kwargs: Any) -> Any:
        used.append(kwargs["sampling"].fill)
        return decode(*args, **kwargs)

    monkeypatch.setattr("diffusion.evaluation.answers.decode", recorded)
    found = evaluate_cells(both, tmp_path, say=lambda _: None)
    assert [one.fill for one in found] == ["free", "last"]
    assert used == [Fill.FREE] * 3 + [Fill.LAST] * 3, "three batches of each"


def test_what_names_a_training_changes_no_digest(evaluation: Evaluation, tmp_path: Path) -> None:
    plain = replace(evaluation.systems[1], training=Training.NAP)
    named = replace(plain, training_seed=2, variant="shuffled paths")
    assert evaluation.digest(Cell(plain, 5), []) == evaluation.digest(Cell(named, 5), [])
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "name: small\nbenchmark: {kind: tiny}\nsteps: [4]\nsystems:\n"
        "  - {name: a, model: {path: m}, rule: {kind: parallel_forced}, training: nap,\n"
        "     training_seed: 2, variant: shuffled paths, fill: last}\n"
    )
    (read,) = load(file, [], Evaluation).systems
    assert (read.training_seed, read.variant, read.fill) == (2, "shuffled paths", Fill.LAST)
    for change in ({"training_seed": 0}, {"variant": "hints"}):
        with pytest.raises(ValueError, match="is a base model, which has none"):
            replace(plain, training=Training.BASE, **change)
    with pytest.raises(ValueError, match="training_seed: -1 is not at least 0"):
        replace(plain, training_seed=-1)


def test_settings_that_are_not_used_change_no_digest(evaluation: Evaluation) -> None:
    """The names of cells of earlier versions stay."""
    cell = evaluation.cells()[0]
    shaping = asdict(evaluation)
    later = ("top_p", "top_k", "tempered", "guidance", "suppress", "defer")
    for name in ("name", "systems", "steps", "batch", "strict", "processes", *later):
        shaping.pop(name)
    system = asdict(cell.system)
    for name in ("name", "steps", "base", "training", "tuned_paths", "cache", "path_hints"):
        system.pop(name)
    for name in ("training_seed", "variant", "fill"):
        system.pop(name)
    for name in ("path", "base_model"):
        system["model"].pop(name)
    shaping |= {"system": system, "steps": cell.steps, "facts": ["a"]}
    assert evaluation.digest(cell, ["a"]) == digest_of(shaping)
    others = (
        replace(evaluation, top_k=1, tempered=True),
        replace(evaluation, top_p=0.5, tempered=True),
        replace(evaluation, guidance=1.0),
        replace(evaluation, suppress=(3,)),
    )
    changed = {one.digest(cell, ["a"]) for one in others}
    assert len(changed) == 4 and digest_of(shaping) not in changed


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"suppress": ("no such token",)}, r"systems\.AO: suppress: 'no such token' is \d+ tokens"),
        ({"defer": (99_999,)}, r"systems\.AO: defer: 99999 is no id; the model has ids from 0 to"),
    ],
)
def test_tokens_that_are_none_are_named(
    evaluation: Evaluation, tmp_path: Path, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        evaluate_cells(replace(evaluation, **settings), tmp_path, say=lambda _: None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"systems": ()}, "systems: empty"),
        ({"steps": (0,)}, r"steps: \[0\]"),
        ({"masks": 6}, "masks: 6 leave nothing for 3 paths"),
        ({"batch": 65}, "batch: 65 is not within 1 to 64"),
        ({"batch": "most"}, "batch: 'most' is neither a number nor auto"),
        ({"processes": 0}, "processes: 0 is not at least 1"),
        ({"name": "../up"}, "no name for a folder"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 0.0}, r"top_p: 0\.0 is not above 0 and at most 1"),
        ({"top_k": 0}, "top_k: 0 is not at least 1"),
        ({"top_k": 3}, "top_k: without effect at temperature 0, unless tempered"),
        ({"guidance": -1.0}, r"guidance: -1\.0 is not a number of at least 0"),
    ],
)
def test_settings_are_checked(evaluation: Evaluation, change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(evaluation, **change)
    with pytest.raises(ValueError, match="stands there twice"):
        replace(evaluation, systems=evaluation.systems[:1] * 2)
