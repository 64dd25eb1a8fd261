"""Parts of other people's packages are found like ours, and their mistakes are named."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffusion import models
from diffusion.evaluation.settings import RULES, System
from diffusion.settings import ModelReference
from flows.cli.doctor.examine import as_json, examine, text
from schemas.manifest import Manifest
from schemas.recipe import load_recipe
from support import plugins
from support.errors import UserError
from support.paths import ROOT
from tests.builds import make, rejected
from tests.diffusion import checkpoints
from tests.distributions import install

FILTERS = "curation.filters"
SHORT = '''
from curation.filters.length import LengthFilter

def build(most: int = 40) -> LengthFilter:
    """A filter."""
    return LengthFilter(min_total=None, max_total=most, min_path=None)
'''


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path of this process; what was imported from it is forgotten."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if name.startswith("acme_"):
            del sys.modules[name]


def acme(site: Path, kinds: dict[str, str], *, version: str = "1.0", code: str = SHORT) -> None:
    install(site, "acme-parts", version, {"acme_parts.py": code}, {"polytrace.filters": kinds})


LISTS = '''
from curation.filters.length import LengthFilter

def build(most: tuple[int, ...] | None = None, pairs: list[tuple[str, float]] = []) -> LengthFilter:
    """A filter."""
    return LengthFilter(min_total=None, max_total=most[0] if most else 1, min_path=None)
'''


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"most": [1, True]}, r"^filters\.0\.most\.1 is true; give a number"),
        ({"most": [False]}, r"^filters\.0\.most\.0 is false; give a number"),
        ({"pairs": [["a", 1], ["b", True]]}, r"^filters\.0\.pairs\.1\.1 is true; give a number"),
    ],
)
def test_a_flag_within_a_list_of_numbers_is_no_number(
    site: Path, options: dict[str, object], says: str
) -> None:
    acme(site, {"lists": "acme_parts:build"}, code=LISTS)
    with pytest.raises(UserError, match=says):
        plugins.build(FILTERS, "lists", options, "filters.0")
    assert plugins.build(FILTERS, "lists", {"most": [1, 2]}, "filters.0").max_total == 1


def test_a_filter_of_another_package_is_built_like_ours(site: Path) -> None:
    acme(site, {"short": "acme_parts:build", "as_module": "acme_parts"})
    assert plugins.options(FILTERS, "short", "filters.0") == ("most",)
    assert plugins.effective(FILTERS, "as_module", {}) == {"most": 40}
    assert plugins.build(FILTERS, "short", {"most": 7}, "filters.0").max_total == 7
    assert plugins.build(FILTERS, "as_module", {}, "filters.0").max_total == 40
    with pytest.raises(UserError, match=r"^filters\.0\.most is 'x'; give .* \(kind 'short'\)$"):
        plugins.build(FILTERS, "short", {"most": "x"}, "filters.0")
    with pytest.raises(UserError, match=r"filters\.0\.mots: unknown option of 'short'"):
        plugins.build(FILTERS, "short", {"mots": 7}, "filters.0")
    with pytest.raises(UserError) as caught:
        plugins.build(FILTERS, "shrot", {}, "filters.0")
    said = str(caught.value)
    assert "filters.0.kind: no filter 'shrot'; did you mean 'short'? choices: correctness" in said
    assert said.endswith("seqdep, as_module (acme-parts 1.0), short (acme-parts 1.0)")


def test_ours_win(site: Path) -> None:
    acme(site, {"length": "acme_parts:build"})
    assert plugins.options(FILTERS, "length", "x") == ("min_total", "max_total", "min_path")
    assert plugins.origin(FILTERS, "length") is None
    assert [one.is_hidden for one in plugins.installed(FILTERS)] == [True]
    assert "acme_parts" not in sys.modules


def test_two_packages_of_one_name_are_told_when_it_is_asked_for(site: Path) -> None:
    acme(site, {"short": "acme_parts:build", "brief": "acme_parts:build"})
    install(site, "other", "2.0", {}, {"polytrace.filters": {"short": "acme_parts:build"}})
    assert plugins.build(FILTERS, "brief", {}, "x").max_total == 40
    with pytest.raises(UserError, match=r"is a filter of acme-parts 1\.0 and other 2\.0"):
        plugins.build(FILTERS, "short", {}, "x")


@pytest.mark.parametrize(
    ("code", "target", "says"),
    [
        ("import nowhere_to_be_found", "acme_parts", "cannot be imported (ModuleNotFoundError:"),
        ("raise SystemExit('no license')", "acme_parts", "imported (SystemExit: no license)"),
        ("x = 1", "acme_parts", "has no build(...) of named options"),
        ("x = 1", "acme_parts:x", "has no build(...) of named options"),
        ("x = 1", "acme_parts:build", "cannot be imported (AttributeError:"),
        ("class Build:\n    pass", "acme_parts:Build", "has options of no known type"),
    ],
)
def test_a_faulty_package_is_named_when_its_part_is_asked_for(
    site: Path, code: str, target: str, says: str
) -> None:
    acme(site, {"short": target}, code=code)
    assert plugins.build(FILTERS, "count", {"most": 3}, "filters.0").most == 3
    with pytest.raises(UserError) as caught:
        plugins.build(FILTERS, "short", {}, "filters.0")
    said = str(caught.value)
    assert said.startswith("filters.0.kind: 'short' of acme-parts 1.0 ") and says in said
    assert "\n" not in said and said.endswith("; update or uninstall it")


def test_a_corpus_says_which_package_filtered_it(site: Path, tmp_path: Path) -> None:
    run, short = tmp_path / "run", "filters=[{kind: short, most: 100}]"
    acme(site, {"short": "acme_parts:build"})
    assert make(run, "demo", short, "scorer=null", limit=24).canvases
    first = Manifest.load(run / "manifest.json")
    assert {"acme-parts": "1.0"}.items() <= {p.name: p.version for p in first.packages}.items()
    assert rejected(run)["prompt", "length_above"]
    (site / "acme_parts-1.0.dist-info").rename(site / "acme_parts-1.1.dist-info")
    metadata = site / "acme_parts-1.1.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.0", "1.1"))
    make(run, "demo", short, "scorer=null", limit=24)
    again = Manifest.load(run / "manifest.json")
    assert again.build != first.build and again.recipe_digest == first.recipe_digest


def test_what_is_installed_changes_no_recipe(site: Path) -> None:
    recipe = ROOT / "flows" / "recipes" / "demo.yaml"
    before = load_recipe(recipe).digest()
    acme(site, {"short": "acme_parts:build"})
    assert load_recipe(recipe).digest() == before


RULE = "from diffusion.decoding.rules.ar_order import ArOrder as build\n"


def test_a_rule_of_another_package_decodes(site: Path) -> None:
    rules = {"polytrace.rules": {"mine": "acme_parts"}}
    install(site, "acme-parts", "1.0", {"acme_parts.py": RULE}, rules)
    system = System(name="mine", model=ModelReference(path="x"), rule={"kind": "mine"})
    assert system.made_rule().has_steps
    origin = plugins.origin(RULES, "mine")
    assert origin is not None and origin.owner == "acme-parts 1.0"


FAMILY = "from diffusion.models.masked_lm import *\n"


def test_a_model_family_of_another_package_loads_and_saves(site: Path, tmp_path: Path) -> None:
    files = {"acme_parts.py": FAMILY, "acme_broken.py": "SHIFT = True"}
    folder = checkpoints.make("masked_lm", tmp_path / "model")
    kind = models.read_config(folder)["model_type"]
    families = {kind: "acme_parts", "broken": "acme_broken"}
    install(site, "acme-parts", "1.0", files, {"polytrace.models": families})
    dlm = models.load_model(str(folder))
    assert dlm.family == kind
    models.save(dlm, tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").is_file()
    with pytest.raises(UserError, match=r"'broken' of acme-parts 1\.0 has no build"):
        models.family_of({"model_type": "broken"})


def test_doctor_names_the_parts_of_other_packages(site: Path) -> None:
    acme(site, {"short": "acme_parts:build", "length": "acme_parts:build"})
    facts = examine()
    said = " ".join(text(facts).split())
    assert "plug-in filter short of acme-parts 1.0" in said
    assert "filter length of acme-parts 1.0; not used, because Polytrace has one" in said
    assert '"kind": "short", "package": "acme-parts", "version": "1.0"' in as_json(facts)
    assert "acme_parts" not in sys.modules
