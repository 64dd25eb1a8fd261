"""A build end to end: the flow through the command line, and its stages without Prefect."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from curation import pipeline
from curation.context import Job
from curation.release.verify import find_problems
from curation.run_store import shards
from curation.run_store.shards import ShardMarker
from curation.stages import prompt_stage, trace_stage
from curation.teachers import Request, SampleOutcome, Shortfall
from flows.page import page
from schemas.manifest import UNFINISHED_FILE
from schemas.recipe import load_recipe
from schemas.records import Stage
from support.paths import ROOT
from tests.builds import RECIPES, BuiltRuns, contents, make, rejected
from tests.flows.commands import polytrace, script
from tests.forked import begin

MEDIAN = "filters=[{kind: seqdep, level: step, quantile: 0.5}]"


@pytest.fixture(scope="module")
def small(built_runs: BuiltRuns) -> Path:
    """A small corpus made without Prefect, in four shards; not to be written to."""
    return built_runs.path("demo", "shard_rows=12", limit=40)


@pytest.mark.slow
def test_the_installed_command_builds_prints_one_object_and_does_nothing_twice(
    built_runs: BuiltRuns, tmp_path: Path
) -> None:
    """From a foreign folder that holds packages of our names, with a Prefect server of its own."""
    script = Path(sys.executable).with_name("polytrace")
    if installed_from() != ROOT.as_uri():
        pytest.skip(f"{script} runs another copy of the project than this one")
    for name in ("flows", "schemas", "curation"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('of a foreign folder')")
    args = ("build", "demo", "--limit", "24", "--out", "run", "--json")
    environment = os.environ | {"PREFECT_HOME": str(tmp_path / ".prefect")}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [script, *args],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    said = json.loads(done.stdout)
    assert list(said) == ["run_dir", "prompts", "traces", "canvases", "seconds"]
    assert said["prompts"]["in"] == 24 == said["prompts"]["released"] + said["prompts"]["rejected"]
    assert said["traces"]["in"] == 24 * 6 == said["traces"]["kept"] + said["traces"]["rejected"]
    assert said["canvases"] == said["prompts"]["released"] > 8
    assert find_problems(tmp_path / "run") == []
    assert (tmp_path / "run/report.html").read_text() == page(tmp_path / "run")
    before = contents(tmp_path / "run")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.parquet")}
    again = json.loads(polytrace(*args, cwd=tmp_path).stdout)
    assert {**again, "seconds": 0} == {**said, "seconds": 0}
    assert contents(tmp_path / "run") == before
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.parquet")} == times
    # What Prefect conducts is what the stages make without it.
    plain = built_runs.path("demo", limit=24)
    assert contents(plain / "release") == contents(tmp_path / "run" / "release")


def test_inspect_and_verify_read_a_run_and_name_what_is_damaged(
    built_runs: BuiltRuns, tmp_path: Path
) -> None:
    run = built_runs.copy(tmp_path / "run", "demo", limit=24)
    shown = polytrace("inspect", "run", cwd=tmp_path)
    assert shown.returncode == 0 and "24" in shown.stdout
    assert polytrace("verify", "run", cwd=tmp_path).stdout == "run: sound\n"
    shard = next((run / "release/data").glob("train-*.parquet"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    damaged = polytrace("verify", "run", cwd=tmp_path)
    assert damaged.returncode == 1
    assert shard.name in damaged.stderr


def installed_from() -> str | None:
    """The address of the folder that was installed into this environment."""
    try:
        said = distribution("polytrace").read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    return str(json.loads(said)["url"]) if said else None


def test_conservation_and_reasons(small: Path) -> None:
    manifest = json.loads((small / "manifest.json").read_text())
    found = rejected(small)
    by_kind = Counter[str]()
    for (kind, reason), count in found.items():
        assert reason
        by_kind[kind] += count
    assert by_kind["prompt"] == manifest["prompts"]["rejected"]
    assert by_kind["trace"] == manifest["traces"]["rejected"]
    assert manifest["prompts"]["in"] == 40
    assert find_problems(small) == []


@pytest.mark.slow
def test_same_recipe_same_bytes(small: Path, tmp_path: Path) -> None:
    make(tmp_path / "run", "demo", "shard_rows=12", limit=40)
    assert contents(tmp_path / "run" / "release") == contents(small / "release")
    assert (tmp_path / "run/manifest.json").read_bytes() == (small / "manifest.json").read_bytes()


def test_a_new_threshold_re_runs_the_filter_onward_only(
    built_runs: BuiltRuns, tmp_path: Path
) -> None:
    run = built_runs.copy(tmp_path / "run", "demo", limit=24)
    first = contents(run)
    times = {p: p.stat().st_mtime_ns for p in run.glob("*/[0-9]*")}
    strict = make(run, "demo", MEDIAN, limit=24)
    assert {p: p.stat().st_mtime_ns for p in run.glob("*/[0-9]*")} == times
    former = [path for path in run.glob("release.*") if path.is_dir()]
    assert len(former) == 1
    kept = {f"release/{name}": sha for name, sha in contents(former[0]).items()}
    assert kept == {name: sha for name, sha in first.items() if name.startswith("release/")}
    assert strict.prompts.released < json.loads((former[0] / "stats.json").read_text())["rows"]
    assert find_problems(run) == []
    make(run, limit=24)
    assert contents(run / "release") == contents_of(first, "release/")


def contents_of(files: dict[str, str], folder: str) -> dict[str, str]:
    return {n.removeprefix(folder): sha for n, sha in files.items() if n.startswith(folder)}


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_killed_in_the_middle_then_the_same_bytes(
    small: Path, tmp_path: Path, seconds: float
) -> None:
    process = begin(partial(make, limit=40), tmp_path / "run", "demo", "shard_rows=12")
    traces = tmp_path / "run" / "traces"
    deadline = time.monotonic() + 120
    while not any(traces.glob("*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(seconds)
    process.kill()
    process.join()
    make(tmp_path / "run", "demo", "shard_rows=12", limit=40)
    assert contents(tmp_path / "run" / "release") == contents(small / "release")


@pytest.mark.slow
def test_a_damaged_shard_is_made_again(small: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(small, run)
    for stage in ("graded", "canvases", "scored", "traces", "prompts"):
        path = run / stage / "00001.parquet"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        make(run, "demo", "shard_rows=12", limit=40)
        assert contents(run / "release") == contents(small / "release")
        assert path.read_bytes() == (small / stage / "00001.parquet").read_bytes()


def bad_inputs() -> Sequence[tuple[str, bytes | None, list[str], str]]:
    good = b'{"question": "What is 1 + 1?", "answer": "2"}\n'
    return [
        ("missing file", None, [], "in.jsonl"),
        ("empty file", b"", [], "in.jsonl"),
        ("wrong column", good, ["source.columns.prompt=problem"], "problem"),
        ("unknown field", good, ["pathz=3"], "pathz"),
        ("unknown kind", good, ["source.kind=jsonll"], "did you mean 'jsonl'"),
        ("no model", good, ["teacher.path=."], "teacher"),
        ("no scorer", good, ["scorer.path=."], "."),
        ("no tokenizer", good, ["canvas.tokenizer=."], "tokenizer"),
        ("bad filter", good, ["filters=[{kind: seqdep, quantile: 2}]"], "quantile"),
    ]


@pytest.mark.parametrize(
    ("name", "data", "overrides", "says"), bad_inputs(), ids=lambda v: str(v)[:20]
)
def test_mistakes_are_one_line(
    tmp_path: Path, name: str, data: bytes | None, overrides: list[str], says: str
) -> None:
    if data is not None:
        (tmp_path / "in.jsonl").write_bytes(data)
    sets = [part for one in ["source.path=in.jsonl", *overrides] for part in ("--set", one)]
    done = polytrace("build", "demo", *sets, "--out", "run", cwd=tmp_path)
    assert done.returncode == 2, (name, done.stderr)
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("polytrace: ")
    assert says in line


def test_hostile_rows_are_counted_rejections(tmp_path: Path) -> None:
    rows = [
        b'{"question": "What is 1 + 1?", "answer": "2"}',
        b"{broken",
        b'{"question": "", "answer": "2"}',
        b'{"question": "No gold?"}',
        b'{"question": "' + b"x" * 5_000_000 + b'", "answer": "2"}',
        b'{"question": "nul \\u0000 here", "answer": "2"}',
        b'{"question": "half \\ud800 pair", "answer": "2"}',
        b'{"question": "bytes \xff\xfe", "answer": "2"}',
        b"[1, 2]",
        b'{"question": "What is  1 + 1 ?", "answer": "2"}',
        b'{"question": "<think 1> <|im_end|>", "answer": "</summary>"}',
    ]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(rows))
    outcome = make(tmp_path / "run", "demo", f"source.path={tmp_path / 'in.jsonl'}")
    assert outcome.prompts.in_ == len(rows)
    assert outcome.prompts.released + outcome.prompts.rejected == len(rows)
    reasons = {reason for kind, reason in rejected(tmp_path / "run") if kind == "prompt"}
    assert {"broken_json", "missing_prompt", "missing_gold", "too_long"} <= reasons
    assert find_problems(tmp_path / "run") == []


def test_nothing_released_is_exit_1_with_reasons(tmp_path: Path, prefect_api: str) -> None:
    (tmp_path / "in.jsonl").write_bytes(
        b'{"question": "What is the meaning of it?", "answer": "42"}\n'
    )
    args = (
        "--set",
        "source.path=in.jsonl",
        "--set",
        "groups.min_correct=3",
        "--out",
        "run",
        "--json",
    )
    done = polytrace("build", "demo", *args, cwd=tmp_path, PREFECT_API_URL=prefect_api)
    assert done.returncode == 1
    assert json.loads(done.stdout)["prompts"] == {"in": 1, "released": 0, "rejected": 1}
    assert "too_few" in done.stderr.splitlines()[-1]
    code = "import datasets, sys; datasets.load_dataset(sys.argv[1])"
    env = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code, str(tmp_path / "run" / "release")]
    loaded = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert loaded.returncode != 0  # an empty release must not pass its statistics for data


def test_real_samples_of_four_models(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "gsm8k" / "example_model_solutions.jsonl"
    outcome = make(tmp_path / "run", "gsm8k_recorded", f"source.path={path}", "scorer=null")
    assert (outcome.prompts.in_, outcome.traces.in_) == (1319, 5276)
    assert outcome.canvases > 600
    assert find_problems(tmp_path / "run") == []
    for name in ("release/README.md", "manifest.json"):
        assert "evaluation prompts, not for training" in (tmp_path / "run" / name).read_text()


def test_recorded_traces_lose_their_evaluation_prompts(shared_data: Path, tmp_path: Path) -> None:
    overrides = [
        f"source.path={shared_data / 'traces/recorded_traces.jsonl'}",
        f"decontaminate.0.path={shared_data / 'gsm8k/test.jsonl'}",
        f"decontaminate.1.path={shared_data / 'math500/test.jsonl'}",
        "scorer=null",
    ]
    outcome = make(tmp_path / "run", "recorded_traces", *overrides)
    assert outcome.prompts.in_ == 450
    found = rejected(tmp_path / "run")
    assert found["prompt", "contaminated_exact"] >= 305
    assert outcome.canvases > 50


def test_two_openr1_rows_are_two_counted_rejections(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "openr1" / "openr1_real_traces.jsonl"
    overrides = [f"source.path={path}", "decontaminate=[]", "scorer=null"]
    outcome = make(tmp_path / "run", "openr1_recorded", *overrides)
    assert (outcome.prompts.in_, outcome.prompts.rejected, outcome.canvases) == (2, 2, 0)
    assert rejected(tmp_path / "run") == {
        ("prompt", "missing_gold"): 2,
        ("trace", "prompt_rejected"): 2,
    }


def test_traces_are_bought_once_wherever_their_prompt_stands(tmp_path: Path) -> None:
    run = tmp_path / "run"
    make(run, "demo", "shard_rows=12", "samples=3", limit=24)
    for rows in (5, 24):
        job = Job(
            recipe=load_recipe(RECIPES / "demo.yaml", [f"shard_rows={rows}", "samples=3"]),
            run=run,
            limit=24,
        )
        source_index = prompt_stage.read_prompts(job)
        job.teacher.sample = _never  # type: ignore[method-assign]
        trace_stage.sample_traces(job, source_index)
        job.close()
        found = sum(shards.read(run, Stage.TRACES, i).num_rows for i in range(source_index.shards))
        assert found == 24 * 3


async def _never(requests: Iterable[Request], shortfall: Shortfall) -> AsyncIterator[SampleOutcome]:
    for request in requests:
        assert not request.missing, request
    return
    yield


def test_a_changed_census_or_journal_is_not_believed(small: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(small, run)
    source_index = run / "prompts" / "census.json"
    source_index.write_text(source_index.read_text().replace('"rows": 40', '"rows": 41', 1))
    make(run, "demo", "shard_rows=12", limit=40)
    assert contents(run / "release") == contents(small / "release")
    journal = run / "traces" / "00001.jsonl.done"
    journal.write_text(journal.read_text().replace("The answer is", "The answer was", 1))
    (run / "traces" / "00001.parquet").unlink()
    make(run, "demo", "shard_rows=12", limit=40)
    assert contents(run / "release") == contents(small / "release")
    assert find_problems(run) == []


def test_a_second_build_that_is_interrupted_leaves_a_sound_run(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(small, run)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(pipeline.WORK, pipeline.Step.SAMPLE_TRACES, interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(run, "demo", "shard_rows=12", "teacher.temperature=0.5", limit=40)
    assert find_problems(run) == []


def test_a_second_build_that_is_killed_between_shards_is_called_unfinished_not_damaged(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release stays whole, and either recipe's command makes the run sound."""
    run, second = tmp_path / "run", ("demo", "shard_rows=12", "scorer.step_tokens=32")
    shutil.copytree(small, run)
    score = pipeline.WORK[pipeline.Step.SCORE]

    def killed(job: Job, index: int) -> ShardMarker:
        if index == 2:
            raise KeyboardInterrupt
        marker: ShardMarker = score(job, index)
        return marker

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setitem(pipeline.WORK, pipeline.Step.SCORE, killed)
        make(run, *second, limit=40)
    (said,) = find_problems(run)
    assert said.startswith("a second build has begun and not ended")
    assert "the same polytrace build command finishes it" in said
    assert contents(run / "release") == contents(small / "release")
    (data,) = (run / "release" / "data").glob("train-*.parquet")
    whole = data.read_bytes()
    data.write_bytes(whole[:-1])
    assert find_problems(run)[1].startswith(f"release/data/{data.name}: ")
    data.write_bytes(whole)
    recipe = run / "recipe.yaml"
    first = recipe.read_text()
    recipe.write_text(f"{first}# changed\n")
    assert find_problems(run)[1].startswith("recipe.yaml: ")
    recipe.write_text(first)

    back = tmp_path / "back"
    shutil.copytree(run, back)
    make(back, "demo", "shard_rows=12", limit=40)
    assert contents(back) == contents(small)
    make(run, *second, limit=40)
    assert find_problems(run) == [] and not (run / UNFINISHED_FILE).exists()


def test_a_page_of_a_former_build_is_written_anew(tmp_path: Path, prefect_api: str) -> None:
    """A kill may come between the two; the clock may have been set back in between."""
    args = ("build", "demo", "--limit", "6", "--out", "run")
    built = polytrace(*args, cwd=tmp_path, PREFECT_API_URL=prefect_api)
    assert built.returncode == 0, built.stderr
    page = tmp_path / "run" / "report.html"
    whole = page.read_text()
    page.write_text("of a former build")
    os.utime(page, (time.time() + 3600,) * 2)
    assert polytrace(*args, cwd=tmp_path).returncode == 0, "nothing is built: no server is asked"
    assert page.read_text() == whole


def test_a_server_of_prefect_that_is_gone_is_said_in_a_sentence(tmp_path: Path) -> None:
    done = polytrace(
        *("build", "demo", "--limit", "3", "--out", "run"),
        cwd=tmp_path,
        PREFECT_API_URL="http://me:hunter2@127.0.0.1:9/api",
    )
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert "PREFECT_API_URL: no Prefect server answers at http://127.0.0.1:9/api" in last
    assert "which the variable names" in last and "hunter2" not in done.stderr


def test_an_address_of_a_prefect_profile_is_said_to_be_one(tmp_path: Path) -> None:
    profile = 'active = "prod"\n[profiles.prod]\nPREFECT_API_URL = "http://me:hunter2@at:9/api"\n'
    (tmp_path / "profiles.toml").write_text(profile)
    env = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    done = subprocess.run(
        [sys.executable, "-c", "from flows.runtime import session; print(session._unreachable())"],
        env=env | {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "answers at http://at:9/api, which the Prefect profile names" in done.stdout
    assert "(prefect config unset PREFECT_API_URL)" in done.stdout


def test_a_key_in_place_of_a_variables_name_is_kept_nowhere(tmp_path: Path) -> None:
    sets = [
        "source={kind: jsonl, path: a.jsonl}",
        "teacher.endpoints=http://127.0.0.1:9/v1",
        "teacher.model=x",
        "teacher.api_key_env=skabcdefghONLY",
    ]
    (tmp_path / "a.jsonl").write_text('{"prompt": "1+1?", "gold": "2"}\n')
    args = [part for one in sets for part in ("--set", one)]
    done = polytrace("build", "gsm8k_vllm", *args, "--out", "run", cwd=tmp_path)
    assert done.returncode == 2 and "api_key_env" in done.stderr, done.stderr
    assert "skabcdefghONLY" not in done.stderr + done.stdout
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in kept if b"skabcdefghONLY" in path.read_bytes()]


def test_without_models_a_build_imports_no_pytorch(tmp_path: Path) -> None:
    """It would take seconds of every process, and hundreds of megabytes; so would the flow's."""
    code = """
import sys
from pathlib import Path
import flows.deployed
from tests.curation.test_remote import SETS, recorded
from tests.builds import make
folder = Path(sys.argv[1])
(folder / "rows.jsonl").write_bytes(recorded(20))
made = make(folder / "run", "recorded_traces", f"source.path={folder}/rows.jsonl", *SETS)
print(made.canvases, "torch" in sys.modules)
"""
    done = script(code, str(tmp_path), cwd=tmp_path)
    assert done.stdout.split() == ["20", "False"]


def test_what_does_nothing_imports_nothing_heavy(small: Path, tmp_path: Path) -> None:
    """A build that is up to date, and looking at it: PyTorch and Prefect take seconds each."""
    shutil.copytree(small, tmp_path / "run")
    code = """
import sys
from flows import cli
from support.errors import PolytraceError
def heavy(*args):
    try:
        cli.app(list(args), standalone_mode=False)
    except (SystemExit, PolytraceError):
        pass
    return sorted({"torch", "transformers", "prefect", "datasets"} & set(sys.modules))
of = ("demo", "--set", "shard_rows=12", "--limit", "40", "--out", "run")
asked = (("--help",), ("build", "demmo"), ("verify", "run"), ("inspect", "run"), ("build", *of))
print(*(f"{args[0]} {heavy(*args)}" for args in asked), sep="\\n", file=sys.stderr)
"""
    done = script(code, cwd=tmp_path)
    said = done.stderr.splitlines()
    assert said == ["--help []", "build []", "verify []", "inspect []", "build []"]
    assert "run: sound" in done.stdout and "up to date, nothing to do" in done.stdout
