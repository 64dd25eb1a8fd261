"""What version 0.1 wrote with `licence` is read: a run and a recipe of that time are kept here."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curation.context import Job
from curation.inspect.query import Query, find
from curation.release import verify
from curation.release.reader import ReleaseReader, rows
from curation.stages import fingerprints, prompt_stage, release_stage, snapshots
from curation.stages.shard_stages import load_canvases
from diffusion.data import corpus
from schemas import arrow, recipe
from schemas.manifest import MANIFEST_FILE, RELEASE_FOLDER, Manifest
from schemas.records import Released, Stage
from support.errors import DamagedError, UserError

KEPT = Path(__file__).parents[1] / "former_run"
LICENSES = ["mit", "cc-by-4.0", "mit"]
GRADING = 4  # of that time


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(KEPT / "run", tmp_path / "run"))


@pytest.fixture
def job(run: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setitem(fingerprints.VERSION, Stage.GRADED, GRADING)
    return Job(recipe.load_recipe(KEPT / "recipe.yaml"), run, shown=False)


def test_it_is_verified_inspected_and_trained_on(run: Path) -> None:
    assert verify.find_problems(run) == []
    assert [source.license for source in Manifest.load(run / MANIFEST_FILE).sources] == ["other"]
    found = ReleaseReader(run)
    shown = list(rows(find(found, Query(limit=3)).places))
    assert [table.column("license")[0].as_py() for _, table in shown] == LICENSES
    assert [row.license for _, table in shown for row in arrow.records(Released, table)] == LICENSES
    assert len(ReleaseReader(run / RELEASE_FOLDER)) == 3
    assert len(list(corpus.rows(run / RELEASE_FOLDER, "train"))) == 3


def test_a_changed_character_shows_all_the_same(run: Path) -> None:
    path = run / MANIFEST_FILE
    path.write_text(path.read_text().replace('"licence": "other"', '"licence": "apart"'))
    with pytest.raises(DamagedError, match="checksum"):
        Manifest.load(path)


def test_what_was_read_stays(run: Path, job: Job) -> None:
    assert (source_index := prompt_stage.up_to_date_index(job)) is not None
    assert [prompt.license for prompt in fingerprints.load_prompts(job, 0)] == LICENSES
    assert [prompt.license for prompt in fingerprints.load_bare_prompts(job, 0)] == LICENSES
    assert [one.prompt.license for one in load_canvases(job, 0)] == LICENSES
    assert all(
        fingerprints.up_to_date_marker(job, s, 0) for s in fingerprints.stages_by_shard(job.recipe)
    )
    assert (
        snapshots.edition_builds(job, source_index)[0][0]
        != Manifest.load(run / MANIFEST_FILE).build
    )
    release_stage.check_previous_release(job)  # it may grow


def test_a_release_is_made_anew_with_the_column_alone_renamed(run: Path, job: Job) -> None:
    (old,) = (run / RELEASE_FOLDER / "data").glob("*.parquet")
    before = pq.read_table(old)
    source_index = prompt_stage.read_prompts(job)
    assert release_stage.up_to_date_outcome(job) is None
    release_stage.make_release(job, source_index)
    (new,) = (run / RELEASE_FOLDER / "data").glob("*.parquet")
    table = pq.read_table(new)
    assert table.select(arrow.WITHOUT_DRAWS.names).equals(arrow.under_todays_names(before))
    assert all(table[name].null_count == table.num_rows for name in arrow.ADDED)
    assert pq.read_schema(new).metadata == before.schema.metadata
    assert verify.find_problems(run) == []
    assert release_stage.up_to_date_outcome(job) is not None
    assert Manifest.load(run / MANIFEST_FILE).recipe_digest == job.recipe.digest()


def test_keys_of_that_time_mean_those_of_today() -> None:
    former = recipe.load_recipe(KEPT / "recipe.yaml")
    today = recipe.load_recipe(
        KEPT / "recipe.yaml",
        [
            "source={kind: jsonl, path: tests/former_run/problems.jsonl, license: other, "
            "columns: {prompt: problem, gold: answer, license: licence}, "
            "traces: {column: solutions}}",
            "release={validation: 0.0, license: cc-by-4.0}",
        ],
    )
    assert former == today
    assert (
        former.digest() == today.digest() == Manifest.load(KEPT / "run/manifest.json").recipe_digest
    )


@pytest.mark.parametrize("key", ["source", "source.columns", "release"])
def test_a_key_under_both_names_is_an_error(key: str) -> None:
    with pytest.raises(UserError) as caught:
        recipe.load_recipe(KEPT / "recipe.yaml", [f"{key}.license=mit"])
    (line,) = str(caught.value).splitlines()
    assert f"{key}.licence: the former name of license, which is there too" in line


def test_a_run_s_recipe_takes_the_key_of_today(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        (KEPT / "recipe.yaml").read_text().replace("licence: cc-by-4.0", "licence: null")
    )
    assert recipe.load_recipe(path, ["release.license=mit"]).release.license == "mit"
