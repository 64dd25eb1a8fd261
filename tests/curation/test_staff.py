"""The teachers of a recipe: what is filled in, and what is refused before any work."""

from pathlib import Path
from typing import Any

import pytest

from curation import components
from curation.context import Job
from curation.sampling.journal import Journal
from schemas.recipe import Recipe, validate_recipe
from schemas.records import FinishReason, Prompt, Stage, Trace
from scorers.revision import directory_revision
from support.errors import UserError
from support.paths import ROOT

PROMPT = Prompt(id="p", text="1 + 1?", gold="2", source="s", row=1, license="l")
SERVED = {"kind": "openai_server", "model": "m", "endpoints": ["http://h:1/v1"]}


def recipe(**changes: Any) -> Recipe:
    base = {"name": "r", "source": {"kind": "jsonl", "path": "x"}, "teacher": SERVED}
    return validate_recipe(base | changes, "recipe")


def key(one: Recipe) -> str:
    return components.teacher(one, ()).key(PROMPT, 0)


def test_the_recipes_seed_is_the_teachers_unless_it_has_its_own() -> None:
    seeded = {**SERVED, "seeds": True}
    assert key(recipe(seed=1, teacher=seeded)) != key(recipe(seed=2, teacher=seeded))
    own = {**seeded, "seed": 5}
    assert key(recipe(seed=1, teacher=own)) == key(recipe(seed=2, teacher=own))


def test_where_and_how_fast_a_teacher_is_asked_changes_no_digest() -> None:
    base = recipe()
    for changes in (
        {"endpoints": ["http://other:2/v1"]},
        {"in_flight": 9},
        {"timeout_seconds": 5},
        {"patience_seconds": 5},
        {"api_key_env": "KEY"},
        {"tokens_field": "max_completion_tokens"},
        {"kind": "openai_batch"},
    ):
        other = recipe(teacher={**SERVED, **changes})
        assert key(other) == key(base)
        assert "kind" in changes or other.digest() == base.digest()
        assert "endpoints" not in str(other.shaping())
    assert recipe(teacher={**SERVED, "max_tokens": 9}).digest() != base.digest()
    nested = {"kind": "recorded", "top_up": SERVED}
    moved = {"kind": "recorded", "top_up": {**SERVED, "endpoints": ["http://other:2/v1"]}}
    assert recipe(teacher=nested).digest() == recipe(teacher=moved).digest()


def test_a_served_directory_gives_its_revision() -> None:
    teacher = {"kind": "openai_server", "model": "tiny/teacher"}
    made = components.teacher(recipe(teacher=teacher, serve={}), ())
    stated = components.teacher(recipe(teacher={**teacher, "revision": "abc"}, serve={}), ())
    assert len(made.revision) == 12 and stated.revision == "abc"
    assert (ROOT / "tiny/teacher").is_dir()


def test_an_endpoint_of_the_model_that_was_served_buys_nothing_again(tmp_path: Path) -> None:
    model = {"model": "tiny/teacher"}
    serve = {"args": ["--dtype", "float32"]}
    served = Job(
        recipe=recipe(teacher={"kind": "openai_server", **model}, serve=serve), run=tmp_path
    )
    drawn = Trace(
        prompt_id="p",
        index=0,
        key=served.teacher.key(PROMPT, 0),
        text="2",
        teacher=served.teacher.name,
        revision=served.teacher.revision,
        temperature=1.0,
        top_p=1.0,
        max_tokens=9,
        seed=None,
        hint=None,
        prompt_tokens=None,
        completion_tokens=None,
        finish_reason=FinishReason.STOP,
    )
    asked = recipe(teacher={**SERVED, **model})
    assert Job(recipe=asked, run=tmp_path).teacher.key(PROMPT, 0) != drawn.key  # nothing is there
    kept = Journal(tmp_path / "traces" / "00000.jsonl")
    kept.append(drawn)
    kept.commit()
    kept.close()
    moved = Job(recipe=asked, run=tmp_path)
    assert moved.teacher.key(PROMPT, 0) == drawn.key
    assert moved.running_teacher(Stage.TRACES).key(PROMPT, 0) == drawn.key
    assert moved.teacher.revision == drawn.revision
    for other in ({"model": "other"}, {**model, "revision": "abc"}):
        one = Job(recipe=recipe(teacher={**SERVED, **other}), run=tmp_path)
        assert one.teacher.key(PROMPT, 0) != drawn.key


def test_a_reader_sees_what_the_revision_of_a_served_model_is_made_of() -> None:
    teacher = {"kind": "openai_server", "model": "tiny/teacher"}
    files = directory_revision(ROOT / "tiny" / "teacher")
    plain = recipe(teacher=teacher, serve={"args": ["--max-model-len", "512"]})
    assert components.shown_revision(plain, files) == files
    served = recipe(teacher=teacher, serve={"args": ["--dtype", "float32"]})
    digest = components.teacher(served, ()).revision
    shown = f"{digest} (of {files} with --dtype float32)"
    assert components.shown_revision(served, digest) == shown
    assert components.shown_revision(served, "abc") == "abc", "the recipe's own"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": {"kind": "openai_server", "model": "m"}}, r"teacher\.endpoints: none"),
        (
            {"teacher": {"kind": "recorded", "top_up": {"kind": "openai_server", "model": "m"}}},
            r"teacher\.top_up\.endpoints: none",
        ),
        ({"teacher": {"kind": "recorded"}, "serve": {}}, "serve: a teacher of kind 'recorded'"),
        ({"serve": {}}, r"teacher\.endpoints: serve: starts the servers"),
        (
            {"teacher": {"kind": "recorded"}, "summary": {"by": "teacher"}},
            r"summary\.by: a teacher of kind 'recorded' writes nothing",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        components.check_teacher(recipe(**changes))


def test_summaries_are_written_by_whoever_writes(tmp_path: Path) -> None:
    nested = {"kind": "recorded", "top_up": SERVED}
    one = recipe(teacher=nested, summary={"by": "teacher", "attempts": 4})
    assert (
        components.model(one) == "m"
        and components.model(recipe(teacher={"kind": "recorded"})) is None
    )
    writer = components.summariser(one, ())
    assert writer.name == "m" and writer.wanted(PROMPT, 1) == (1, 4)
    local = {"kind": "transformers_local", "path": "tiny/teacher"}
    assert (
        components.summariser(recipe(teacher=local, summary={"by": "teacher"}), ()).name
        == "teacher"
    )
    longer = recipe(teacher=SERVED, summary={"by": "teacher", "max_tokens": 900})
    assert components.summariser(longer, ()).key(PROMPT, 0) != writer.key(PROMPT, 0)
