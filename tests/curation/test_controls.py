"""The controls of the path level: when they tell, what is said, and what a build measures."""

import json
from pathlib import Path

import numpy as np
import pytest

from curation.filters import SeesControls, seqdep
from curation.inspect import terminal_view
from curation.release.verify import find_problems
from curation.seqdep_report import controls
from curation.seqdep_report.documents import Document
from curation.stages import measure_controls
from flows.page import page
from schemas.canvas import long_cot
from schemas.facts import ControlFacts
from schemas.manifest import MANIFEST_FILE, Manifest
from schemas.recipe import Part, ScorerSpec
from schemas.records import Level, Scores, SeqDep
from scorers.seqdep import measurement, packing
from scorers.seqdep.curve import Interval
from scorers.seqdep.loader import load_scorer
from scorers.seqdep.measurement import ScoredInstance, SeqDepSettings
from support.paths import ROOT
from tests.builds import BuiltRuns, make
from tests.curation import samples
from tests.flows.commands import polytrace

ROWS = 48  # of which over 30 end on a canvas


def facts(others: float, repeated: float, half: float = 0.05) -> ControlFacts:
    means = [Interval(value, value - half, value + half) for value in (0.1, others, repeated)]
    return controls.compared(60, *means)


def test_where_one_path_repeated_gains_no_more_path_level_says_nothing() -> None:
    found = facts(0.4, 0.45)
    assert not found.tells
    said = controls.sentence(found)
    assert said.startswith("Path level says nothing here")
    assert "gains 0.45 [0.4, 0.5] nats" in said and "of other prompts 0.4 [0.35, 0.45]," in said
    assert said.endswith("the interval of the first does not lie above that of the second.")
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


def test_a_filter_above_unrelated_paths_has_the_control_as_its_zero() -> None:
    canvas = samples.canvas(1)

    def kept(nats: float, seen: ControlFacts | None) -> bool:
        rule = seqdep.build(above_unrelated=0.2)
        assert isinstance(rule, SeesControls)
        rule.see(seen)
        rule.fit(())
        told = seen is not None and seen.tells
        assert rule.frozen() == (repr(0.1 + 0.2) if told else "")
        level = SeqDep(level=Level.PATH, nats=nats, nats_per_token=nats, gains=(), tokens=())
        return rule.judge(canvas, Scores(prompt_id=canvas.prompt.id, path=level)).keep

    assert kept(0.29, facts(0.1, 1.1)) and not kept(0.31, facts(0.1, 1.1))
    for silent in (facts(0.1, 0.12), None):  # nothing is dropped, and the build says so
        assert kept(9.0, silent)
        part = Part.model_validate({"kind": "seqdep", "above_unrelated": 0.2})
        (told,) = controls.idle_filters(silent, [part])
        assert told.startswith("filters.0 dropped nothing")
    assert not list(controls.idle_filters(facts(0.1, 1.1), [part]))


def test_the_share_between_the_controls_has_an_interval_over_prompts() -> None:
    rng = np.random.default_rng(0)
    prompts = rng.normal(0, 5, 40)  # what prompts have in common cancels out
    others = dict(enumerate(prompts))
    repeated = dict(enumerate(prompts + 1))
    own = dict(enumerate(prompts + 0.25 + rng.normal(0, 0.1, 40)))
    found = controls.share_between(own, others, repeated)
    assert found is not None and found.low is not None and found.high is not None
    assert 0.2 < found.low < found.value < found.high < 0.35
    said = controls.sentence(facts(0.0, 1.0), found)
    assert f"{found.value:.0%} [{found.low:.0%}, {found.high:.0%}] of the way" in said
    few = {row: own[row] for row in range(29)}
    assert controls.share_between(few, others, repeated) is None


def test_few_canvases_and_no_controls_say_so() -> None:
    point = Interval(0.1, None, None)
    assert "fewer than 30 canvases" in controls.sentence(controls.compared(5, point, point, point))
    assert "undefined" in controls.sentence(controls.compared(5, None, point, point))
    assert "were not measured" in controls.sentence(None)


def test_a_build_measures_its_controls_and_says_so_everywhere(built_runs: BuiltRuns) -> None:
    """The bundled scorer does not tell one path repeated from paths of other prompts."""
    run = built_runs.path("demo", limit=ROWS)
    manifest = Manifest.load(run / MANIFEST_FILE)
    assert manifest.scorer is not None
    found = manifest.scorer.controls
    assert found is not None and found.others is not None and found.repeated is not None
    said = controls.sentence(found)
    assert said in (run / "release" / "README.md").read_text(encoding="utf-8")
    shown = dict(terminal_view.facts(manifest))
    assert shown["path level"] == said.removeprefix("Path level").lstrip(": ")
    assert not found.tells and found.documents >= 30
    assert said.startswith(
        "Path level says nothing here: under this scorer one path repeated gains"
    )


@pytest.mark.parametrize("number", [0, 60])
def test_the_number_of_canvases_is_a_key_of_the_recipe(number: int) -> None:
    assert (
        ScorerSpec.model_validate({"path": "tiny/teacher", "controls": number}).controls == number
    )


@pytest.mark.parametrize(
    ("most", "canvases", "size"),
    [(60, 3, 30), (60, 600, 30), (60, 1000, 50), (60, 100_000, 60), (20, 1000, 20), (0, 1000, 0)],
)
def test_one_canvas_in_twenty_is_in_the_sample(most: int, canvases: int, size: int) -> None:
    assert measure_controls.sample_size(most, canvases) == size


def test_the_controls_take_under_five_percent_of_the_tokens() -> None:
    """Those of one canvas take fewer than its own scoring, and one in twenty is taken."""
    scorer = load_scorer(str(ROOT / "tiny" / "teacher"))
    step = "Then {0} + {1} = {2}, so there are {2} of them.\n"
    paths = [
        tuple(step.format(i, j, i + j) * (1 + (i + j) % 4) for j in range(3)) for i in range(20)
    ]
    documents = [
        Document(row=i, prompt=f"What is {i} + 1?", paths=one) for i, one in enumerate(paths, 1)
    ]

    def tokens(item: ScoredInstance, *levels: Level) -> int:
        settings = SeqDepSettings(levels=levels)
        parts = measurement._parts(scorer, item, settings).documents()
        return sum(len(row.ids_T) for part in parts for row in packing._rows(scorer, 0, part))

    own = sum(
        tokens(
            ScoredInstance(
                prompt=doc.prompt,
                text=long_cot(doc.paths, "The answer is 2."),
                paths=doc.paths,
                summary="The answer is 2.",
            ),
            *Level,
        )
        for doc in documents
    )
    kinds: tuple[controls.ControlKind, ...] = ("others", "repeated")
    theirs = sum(
        tokens(ScoredInstance(prompt=doc.prompt, paths=doc.paths), Level.PATH)
        for kind in kinds
        for doc in controls.control_canvases(documents, kind)
    )
    assert 0 < theirs / measure_controls.ONE_IN <= 0.05 * own


def test_controls_are_measured_once_and_with_the_same_bytes(
    built_runs: BuiltRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed filter and a second build score nothing; a lost file comes back as it was."""
    run = built_runs.copy(tmp_path / "run", "demo", limit=ROWS)
    file = run / measure_controls.CONTROLS
    before, manifest = file.read_bytes(), (run / MANIFEST_FILE).read_bytes()
    file.unlink()
    make(run, "demo", limit=ROWS)
    assert (file.read_bytes(), (run / MANIFEST_FILE).read_bytes()) == (before, manifest)

    def scored(*_: object, **__: object) -> None:
        raise AssertionError("nothing is to be scored again")

    monkeypatch.setattr("scorers.seqdep.measurement.measure", scored)
    said = make(run, "demo", "filters=[{kind: seqdep, quantile: 0.5}]", limit=ROWS).said
    assert file.read_bytes() == before
    assert said[0].startswith("Path level says nothing here")
    assert said[1].startswith("filters.0 chooses canvases by path level, which says nothing here")
    assert len(make(run, "demo", "scorer.controls=0", limit=ROWS).said) == 1
    assert find_problems(run) == []


def test_the_page_says_what_the_controls_say(built_runs: BuiltRuns) -> None:
    run = built_runs.path("demo", limit=ROWS)
    scorer = Manifest.load(run / MANIFEST_FILE).scorer
    assert scorer is not None
    said = controls.sentence(scorer.controls).removeprefix("Path level ")
    assert f'<tr><th scope="row">path level</th><td>{said}</td></tr>' in page(run)


def test_a_build_ends_in_what_its_controls_say(built_runs: BuiltRuns, tmp_path: Path) -> None:
    built_runs.copy(tmp_path / "run", "demo", limit=ROWS)
    args = ("build", "demo", "--limit", str(ROWS), "--out", "run")
    said = "Path level says nothing here: under this scorer"
    done = polytrace(*args, cwd=tmp_path)
    assert "nothing to do" in done.stdout and said in done.stdout.splitlines()[-1]
    done = polytrace(*args, "--json", cwd=tmp_path)
    assert "said" not in json.loads(done.stdout) and said in done.stderr
