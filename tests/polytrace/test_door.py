"""What `import polytrace` offers: the names, what they take, and every example of their texts."""

import doctest
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import polytrace
from support.errors import DamagedError
from tests.builds import BuiltRuns

NAMES = {
    "PolytraceError": None,
    "Run": ["path"],
    "UserError": None,
    "__version__": None,
    "arness": ["commits"],
    "arness_of_log": ["log", "mask_id", "end_ids"],
    "build": ["recipe", "overrides", "out", "limit"],
    "decode": [
        *("model", "prompts", "rule", "steps", "form", "paths", "slot_tokens", "summary_tokens"),
        *("temperature", "seed", "top_p", "top_k", "tempered", "guidance", "suppress", "defer"),
        *("precision", "batch"),
    ],
    "evaluate": ["recipe", "overrides", "out"],
    "grade": ["text", "gold", "prompt"],
    "load_model": ["model", "device", "trust_remote_code", "base_model"],
    "load_recipe": ["recipe", "overrides"],
    "load_scorer": ["model", "device", "chat", "trust_remote_code"],
    "parse_canvas": ["text"],
    "render_canvas": ["paths", "summary"],
    "score_texts": [
        *("texts", "scorer", "prompts", "step_tokens", "window_tokens", "batch_tokens"),
    ],
    "train": ["recipe", "overrides", "out"],
}
DOCUMENTED = [name for name, taken in NAMES.items() if taken is not None]
SLOW = ("evaluate", "train")
EXAMPLES = [
    example
    for name in DOCUMENTED
    for example in doctest.DocTestFinder().find(getattr(polytrace, name), name)
]


def test_the_names_and_what_they_take() -> None:
    assert polytrace.__all__ == sorted(NAMES)
    for name in DOCUMENTED:
        taken = list(inspect.signature(getattr(polytrace, name)).parameters)
        assert taken == NAMES[name], name
    assert polytrace.__version__
    assert set(polytrace.__all__) <= set(dir(polytrace))
    with pytest.raises(AttributeError, match="has no attribute 'bild'"):
        _ = polytrace.bild


def test_import_is_light() -> None:
    code = (
        "import sys, json, polytrace\n"
        "polytrace.render_canvas(['a'], 'b'), polytrace.Run, polytrace.UserError\n"
        "print(json.dumps(sorted(set(m.split('.')[0] for m in sys.modules))))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "prefect", "matplotlib", "pyarrow", "datasets", "polars"}
    assert not heavy & set(json.loads(run.stdout))


@pytest.fixture
def home(built_runs: BuiltRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a finished run in `runs/demo`, where the examples are run."""
    built_runs.copy(tmp_path / "runs" / "demo", "demo", limit=24)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_name_has_an_example() -> None:
    shown = {example.name.partition(".")[0] for example in EXAMPLES if example.examples}
    assert shown == set(DOCUMENTED)


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(one, id=one.name, marks=pytest.mark.slow if one.name in SLOW else ())
        for one in EXAMPLES
        if one.examples
    ],
)
def test_examples(example: doctest.DocTest, home: Path) -> None:
    example.globs = {name: getattr(polytrace, name) for name in NAMES}
    said: list[str] = []
    found = doctest.DocTestRunner().run(example, out=said.append)
    assert not found.failed and found.attempted, "".join(said)


def test_a_run_tells_what_was_dropped(home: Path) -> None:
    run = polytrace.Run("runs/demo")
    assert repr(run) == f"Run('runs/demo'): {run.manifest.canvases} canvases"
    assert run.recipe.name == "demo" and "seqdep" in str(run.stats)
    assert len(run.prompts()) == 24 and len(run.traces()) == 24 * 6
    dropped = run.rejections()
    assert len(dropped) == run.manifest.prompts.rejected + run.manifest.traces.rejected
    slug = dropped["reason"][0]
    assert set(run.rejections(slug)["reason"]) == {slug}
    with pytest.raises(polytrace.UserError, match="nothing was rejected as 'no_such'"):
        run.rejections("no_such")
    parts = [run.canvases("train"), run.canvases("validation")]
    assert sum(map(len, parts)) == len(run.canvases()) and parts[0].schema == parts[1].schema
    with pytest.raises(polytrace.UserError, match="split: 'test' is none"):
        run.canvases("test")  # type: ignore[arg-type]


def test_a_build_writes_its_page_and_says_why_nothing_is_left(home: Path) -> None:
    page = home / "runs" / "demo" / "report.html"
    assert not page.exists()
    polytrace.build("demo", out="runs/demo", limit=24)
    assert page.is_file()
    strict = "filters=[{kind: length, min_path: 999}]"
    with pytest.raises(polytrace.PolytraceError, match="nothing was released; top reasons: "):
        polytrace.build("demo", strict, out="runs/demo", limit=24)


def test_mistakes_are_told(home: Path) -> None:
    with pytest.raises(polytrace.UserError, match="no complete run"):
        polytrace.Run("runs/nothing")
    with pytest.raises(polytrace.UserError, match="did you mean 'demo'"):
        polytrace.load_recipe("dmeo")
    with pytest.raises(polytrace.UserError, match="give overrides to load_recipe"):
        polytrace.build(polytrace.load_recipe("demo"), "paths=2")
    with pytest.raises(polytrace.UserError, match="only the command polytrace build"):
        polytrace.build("demo", "task_runner=dask")
    with pytest.raises(polytrace.UserError, match="1 for 2 texts"):
        polytrace.score_texts(["a", "b"], "tiny/teacher", prompts=["x"])
    (Path("runs/demo/manifest.json")).write_text("{}")
    with pytest.raises(DamagedError):
        polytrace.Run("runs/demo")


def test_texts_are_scored_as_canvases_where_they_are(home: Path) -> None:
    canvas = polytrace.render_canvas(["2 + 2 = 4. It is 4.", "Two and two is 4."], "It is 4")
    plain, joined, empty = polytrace.score_texts(["2 + 2 = 4.", canvas, " "], "tiny/teacher")
    assert plain.path is None and joined.path is not None and joined.summary_gain is not None
    assert empty.reason == "missing_text"
