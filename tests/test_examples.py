"""Every file of `examples/` runs by itself, and its parts work from recipes once installed."""

import importlib
import json
import runpy
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import polytrace
from support.paths import ROOT
from tests.distributions import install

EXAMPLES = ROOT / "examples"
FILES = sorted(file.name for file in EXAMPLES.glob("*.py"))
SAYS = {
    "own_filter.py": "'answers_alike': ",
    "own_rule.py": "weight 5.0: ARness ",
    "own_source.py": "2. 4 bags hold 13 apples, 50 apples, 30 apples, 20 apples.",
    "own_teacher.py": "The answer is 57.",
    "score_my_corpus.py": "36 of 40 texts have two steps or more",
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own to work in; the examples are installed as their pyproject.toml says."""
    project = tomllib.loads((EXAMPLES / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    files = {name: (EXAMPLES / name).read_text(encoding="utf-8") for name in FILES}
    site = tmp_path / "site"
    install(site, project["name"], project["version"], files, project["entry-points"])
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cells() -> list[dict[str, Any]]:
    notebook = json.loads((EXAMPLES / "walkthrough.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    found: list[dict[str, Any]] = notebook["cells"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_every_example_runs(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [file])
    runpy.run_path(str(EXAMPLES / file), run_name="__main__")
    assert SAYS[file] in capsys.readouterr().out
    assert not list(tmp_path.iterdir()), "an example leaves nothing behind"


def test_a_recipe_of_installed_parts_needs_no_model(installed: Path) -> None:
    recipe = installed / "mine.yaml"
    recipe.write_text(
        "name: mine\nscorer: null\nsamples: 6\ncanvas: {slot_tokens: 64}\n"
        "source: {kind: sums, count: 30}\nteacher: {kind: adder, slips: 0.2}\n"
        "filters: [{kind: distinct_answers, least: 2}]\n"
    )
    run = polytrace.build(recipe)
    assert run.path == Path("runs/mine") and run.verify() == []
    canvases = run.canvases()
    assert len(canvases) > 5
    for row in canvases.iter_rows(named=True):
        assert len({path["answer"] for path in row["paths"]}) > 1
    assert len(run.rejections("answers_alike")) > 0
    assert ("polytrace-examples", "1.0") in {(p.name, p.version) for p in run.manifest.packages}
    with pytest.raises(polytrace.UserError, match=r"teacher\.slips: 2\.0 is no share"):
        polytrace.build(recipe, "teacher.slips=2", out="runs/other")


def test_an_installed_teacher_draws_in_rounds(installed: Path) -> None:
    recipe = installed / "rounds.yaml"
    recipe.write_text(
        "name: mine\nscorer: null\ncanvas: {slot_tokens: 64}\n"
        "samples: {per_round: 1, most: 9, until: {correct: [1, 2], give_up: 5}}\n"
        "source: {kind: sums, count: 20}\nteacher: {kind: adder, slips: 0.2}\n"
    )
    run = polytrace.build(recipe)
    assert run.verify() == []
    drawn = set(run.canvases()["samples_drawn"])
    assert drawn <= set(range(3, 10)) and len(drawn) > 2


def test_a_teacher_that_draws_no_rounds_is_refused(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_teacher = importlib.import_module("own_teacher")

    def all_at_once(block: Any, shortfall: Any, sample: Any) -> Any:
        return sample([(one, range(one.wanted.maximum)) for one in block])

    monkeypatch.setattr(own_teacher, "sample_block", all_at_once)
    recipe = installed / "rounds.yaml"
    recipe.write_text(
        "name: mine\nscorer: null\ncanvas: {slot_tokens: 64}\nsamples: {per_round: 1, most: 9}\n"
        "source: {kind: sums, count: 20}\nteacher: {kind: adder}\n"
    )
    with pytest.raises(polytrace.UserError, match="the teacher adder does not draw in rounds"):
        polytrace.build(recipe)


def test_an_installed_rule_is_evaluated_beside_the_tables(installed: Path) -> None:
    rule = "systems=[{name: mine, model: {path: tiny/dlm}, rule: {kind: left_leaning, weight: 5}}]"
    small = ("limit=2", "steps=[12]", "masks=84", "summary_tokens=12", rule)
    [result] = polytrace.evaluate("tiny_base", *small, out="runs/mine")
    assert result.order == "other" and result.rule == "left_leaning (weight=5)"
    assert result.arness is not None and result.chance is not None
    assert result.arness > result.chance
    before = {folder.name for folder in Path("runs/mine/cells").iterdir()}
    (info,) = (installed / "site").glob("*.dist-info")
    metadata = (info / "METADATA").read_text().replace("Version: 1.0", "Version: 1.1")
    (info / "METADATA").write_text(metadata)
    info.rename(info.with_name(info.name.replace("1.0", "1.1")))
    polytrace.evaluate("tiny_base", *small, out="runs/mine")
    assert len({folder.name for folder in Path("runs/mine/cells").iterdir()} - before) == 1


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells()):
        if cell["cell_type"] == "code":
            source = "".join(cell["source"])
            exec(compile(source, f"walkthrough.ipynb, cell {number}", "exec"), names)
    assert names["run"].verify() == []


def test_the_notebook_shows_pictures() -> None:
    outputs = [output for cell in cells() for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", ()) for output in outputs) >= 2
    assert not any(output["output_type"] == "error" for output in outputs)
    text = (EXAMPLES / "walkthrough.ipynb").read_text(encoding="utf-8")
    assert str(ROOT) not in text and len(text) < 400_000
