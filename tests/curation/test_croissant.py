"""`croissant.json` against MLCommons' own reader, and the facts that it states."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlcroissant
import pyarrow.parquet as pq
import pytest

from curation.pipeline import run_build
from curation.release.documents.croissant import CONFORMS_TO, CROISSANT_FILE, FILES, RECORDS
from schemas import arrow
from schemas.manifest import Manifest
from schemas.recipe import Recipe, load_recipe
from support.files import sha256
from support.paths import ROOT
from tests.curation import samples

STATED = {
    "teacher_license": "Example License 2.0",
    "intended_use": "Trials of one kind.",
    "source_datasets": ["openai/gsm8k"],
    "energy": {"watts": 400, "tokens_per_second": 1000, "grams_per_kwh": 300},
}


def made(run: Path, recipe: Recipe | None = None, count: int = 40) -> dict[str, Any]:
    samples.write_run(run, samples.corpus(count), recipe)
    text = (run / "release" / CROISSANT_FILE).read_text(encoding="utf-8")
    facts: dict[str, Any] = json.loads(text)
    return facts


def loaded(run: Path) -> mlcroissant.Dataset:
    dataset = mlcroissant.Dataset(jsonld=str(run / "release" / CROISSANT_FILE))
    assert not dataset.metadata.ctx.issues.errors
    return dataset


def test_mlcroissant_finds_no_error_and_reads_what_is_responsible(tmp_path: Path) -> None:
    facts = made(tmp_path)
    metadata = loaded(tmp_path).metadata
    # A build does not know when it will be published.
    warned = metadata.ctx.issues.warnings
    assert all("datePublished" in warning for warning in warned), warned
    assert facts["conformsTo"] == list(CONFORMS_TO)
    assert "synthetic" in metadata.keywords
    responsible = {key for key in facts if key.startswith("rai:")}
    read = metadata.to_json()
    assert {key for key in read if key.startswith("rai:")} == responsible
    for key in responsible:
        assert read[key] == facts[key] or [read[key]] == facts[key], key
    assert metadata.license == ["mit"]
    assert metadata.version == f"1.0.0+{samples.BUILD}"


def test_every_file_has_its_size_and_its_sha256(tmp_path: Path) -> None:
    facts = made(tmp_path)
    objects = [one for one in facts["distribution"] if one["@type"] == "cr:FileObject"]
    folder = tmp_path / "release"
    data = sorted(path.relative_to(folder).as_posix() for path in folder.glob("data/*.parquet"))
    assert sorted(one["contentUrl"] for one in objects) == data
    for one in objects:
        assert one["sha256"] == sha256(folder / one["contentUrl"])
        assert one["contentSize"] == f"{(folder / one['contentUrl']).stat().st_size} B"
    (several,) = (one for one in facts["distribution"] if one["@type"] == "cr:FileSet")
    assert sorted(p for g in several["includes"] for p in map(str, folder.glob(g))) == sorted(
        str(folder / path) for path in data
    )
    manifest = Manifest.load(tmp_path / "manifest.json")
    assert f"release/{CROISSANT_FILE}" in {file.path for file in manifest.files}


def plain(value: Any) -> Any:
    """A value without the types of pandas: text for bytes, None for what is no number."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def by_columns(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of mlcroissant as a row: it names fields by their ids."""

    def short(value: Any) -> Any:
        if isinstance(value, dict):
            return {key.rpartition("/")[2]: short(item) for key, item in value.items()}
        return [short(item) for item in value] if isinstance(value, list) else plain(value)

    found: dict[str, Any] = {}
    for key, value in record.items():
        found[key.removeprefix(f"{RECORDS}/")] = short(value)
    traces = found.pop("paths/trace")  # it reads a struct in a list as a struct of lists
    for number, path in enumerate(found["paths"]):
        path["trace"] = {name: values[number] for name, values in traces.items()}
    return found


def rows(run: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((run / "release" / "data").glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            yield {**row, "split": path.name.partition("-")[0]}


def test_records_are_the_rows_of_the_parquet_files(tmp_path: Path) -> None:
    made(tmp_path)
    read = [by_columns(record) for record in loaded(tmp_path).records(RECORDS)]
    wanted = list(rows(tmp_path))
    assert len(read) == len(wanted) == 40
    of_rows = {row["id"]: row for row in wanted}
    for one in read:
        assert one == of_rows[one["id"]]
    assert {one["split"] for one in read} == {"train", "validation"}


def test_every_column_is_a_field_with_its_type(tmp_path: Path) -> None:
    (records,) = made(tmp_path)["recordSet"]
    named = {field["name"]: field for field in records["field"]}
    assert list(named) == ["split", *arrow.RELEASE.names]
    assert named["response"]["dataType"] == "sc:Text"
    assert named["response"]["source"] == {
        "fileSet": {"@id": FILES},
        "extract": {"column": "response"},
    }
    assert named["seqdep_path_gains"]["repeated"] and named["seqdep_path_gains"]["dataType"]
    paths = {part["name"]: part for part in named["paths"]["subField"]}
    trace = {part["name"]: part for part in paths["trace"]["subField"]}
    assert trace["seed"]["source"]["transform"] == {"jsonPath": "trace.seed"}
    ids = re.findall(r'"@id": "([^"]+)"', json.dumps(named))
    assert len([one for one in ids if one != FILES]) == len({*ids} - {FILES}), "ids are unique"


def test_twice_gives_the_same_bytes_without_time_or_place(tmp_path: Path) -> None:
    made(tmp_path / "a")
    made(tmp_path / "b")
    first, second = (tmp_path / name / "release" / CROISSANT_FILE for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    text = first.read_text(encoding="utf-8")
    assert str(tmp_path) not in text and not re.search(r"20\d\d-\d\d-\d\d", text)


def test_statements_of_the_makers_and_what_is_estimated_from_them(tmp_path: Path) -> None:
    price = {"prompt": 2.0, "completion": 8.0, "currency": "USD"}
    recipe = samples.recipe(card=STATED, price=price, release={"validation": 0, "license": None})
    facts = made(tmp_path, recipe)
    card = (tmp_path / "release" / "README.md").read_text(encoding="utf-8")
    # Three traces on each of 40 canvases: 20 tokens read and 30 written, each.
    cost = facts["rai:dataSocialImpact"]
    assert "the teacher read 2,400 and wrote 3,600." in cost
    assert "Money: 0.0336 USD, at the recipe's prices" in cost
    assert "0.0004 kWh, as 3,600 tokens at 1,000 tokens a second and 400 W" in cost
    assert "0.12 g of CO2 at 300 g for a kWh." in cost
    assert facts["rai:dataUseCases"][0] == "Trials of one kind."
    for text in (cost.partition("cost. ")[2].partition(" Money")[0], "0.12 g of CO2"):
        assert text in card
    assert "Its license, as the makers of this dataset state: Example License 2.0." in card
    assert "- Trials of one kind." in card


def test_labels_of_sources_are_not_said_to_be_grades_of_a_program(tmp_path: Path) -> None:
    """Also where a scorer measured the paths, which is no grading."""
    label: dict[str, Any] = {"kind": "label"}
    facts = made(tmp_path / "label", samples.recipe(grader=label))
    said = facts["rai:dataAnnotationProtocol"]
    assert "labels of the sources, taken over unchecked. SeqDep was measured with" in said
    assert "graded" not in said
    several = {"kind": "first_of", "graders": [{"kind": "math"}, label]}
    said = made(tmp_path / "both", samples.recipe(grader=several))["rai:dataAnnotationProtocol"]
    assert "math, label; label takes over" in said and "every path" not in said


def test_what_nobody_stated_is_said_to_be_unknown(tmp_path: Path) -> None:
    facts = made(tmp_path, samples.recipe(source={"kind": "jsonl", "path": "p.jsonl"}))
    card = (tmp_path / "release" / "README.md").read_text(encoding="utf-8")
    for text in ("Money: not known;", "Energy: not known;"):
        assert text in facts["rai:dataSocialImpact"] and text in card
    assert "The recipe does not state these (`card.teacher_license`)" in card
    assert "Not examined: nothing searched" in card
    assert "datePublished" not in facts and "creator" not in facts and "url" not in facts


def test_a_release_without_rows_is_described_too(tmp_path: Path) -> None:
    facts = made(tmp_path, count=0)
    assert "distribution" not in facts and "recordSet" not in facts
    assert loaded(tmp_path).metadata.name == "sample"


@pytest.mark.parametrize("field", ["watts", "tokens_per_second"])
def test_energy_needs_figures_above_zero(field: str) -> None:
    energy = {"watts": 1, "tokens_per_second": 1, field: 0}
    with pytest.raises(ValueError, match=field):
        samples.recipe(card={"energy": energy})


def test_a_statement_alone_writes_the_documents_anew(tmp_path: Path) -> None:
    recipe = ROOT / "tests" / "former_run" / "recipe.yaml"
    stated = ["card={teacher_license: mit}"]

    def built(*overrides: str) -> tuple[bool, dict[str, str]]:
        outcome = run_build(load_recipe(recipe, overrides), tmp_path / "run", None)
        files = sorted((tmp_path / "run" / "release").rglob("*.*"))
        return outcome.reused, {path.name: sha256(path) for path in files}

    _, before = built()
    assert built() == (True, before)
    is_reused, after = built(*stated)
    assert not is_reused and before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == {"README.md"}
    assert built(*stated) == (True, after)
