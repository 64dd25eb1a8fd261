"""The controls of the path level: when they tell, what is said, and what a build measures."""

import pytest

from curation import browse, controls
from schemas.facts import ControlFacts
from schemas.manifest import MANIFEST_FILE, Manifest
from schemas.recipe import Part, ScorerSpec
from scorers.curve import Estimate
from tests.builds import BuiltRuns


def facts(others: float, repeated: float, half: float = 0.05) -> ControlFacts:
    means = [Estimate(value, value - half, value + half) for value in (0.1, others, repeated)]
    return controls.compared(60, *means)


def test_where_one_path_repeated_gains_no_more_path_level_says_nothing() -> None:
    found = facts(0.4, 0.45)
    assert not found.tells
    said = controls.sentence(found)
    assert said.startswith("Path level says nothing here")
    assert "0.45 nats" in said and said.endswith("paths of other prompts 0.4.")
    (told,) = controls.idle_filters(found, [Part.model_validate({"kind": "seqdep", "max": 0.4})])
    assert told.startswith("filters.0 chooses canvases by path level")
    step = Part.model_validate({"kind": "seqdep", "level": "step", "max": 0.4})
    assert not list(controls.idle_filters(found, [step]))


def test_a_scorer_that_tells_the_controls_apart_places_the_paths_between_them() -> None:
    found = facts(0.1, 1.1)
    assert found.tells
    assert "0% of the way" in controls.sentence(found)
    assert not list(
        controls.idle_filters(found, [Part.model_validate({"kind": "seqdep", "max": 1})])
    )


def test_few_canvases_and_no_controls_say_so() -> None:
    point = Estimate(0.1, None, None)
    assert "under 30 canvases" in controls.sentence(controls.compared(5, point, point, point))
    assert "undefined" in controls.sentence(controls.compared(5, None, point, point))
    assert "were not measured" in controls.sentence(None)


def test_a_build_measures_its_controls_and_says_so_everywhere(built_runs: BuiltRuns) -> None:
    """The bundled scorer does not tell one path repeated from paths of other prompts."""
    run = built_runs.path("demo", limit=40)
    manifest = Manifest.load(run / MANIFEST_FILE)
    assert manifest.scorer is not None
    found = manifest.scorer.controls
    assert found is not None and found.others is not None and found.repeated is not None
    said = controls.sentence(found)
    assert said in (run / "release" / "README.md").read_text(encoding="utf-8")
    shown = dict(browse.facts(manifest))
    assert shown["path level"] == said.removeprefix("Path level").lstrip(": ")
    assert not found.tells


@pytest.mark.parametrize("number", [0, 60])
def test_the_number_of_canvases_is_a_key_of_the_recipe(number: int) -> None:

    assert (
        ScorerSpec.model_validate({"path": "tiny/teacher", "controls": number}).controls == number
    )
