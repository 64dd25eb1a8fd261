"""Recipes that are meant to do harm: one line, at once, and nothing of it is run."""

import time
from pathlib import Path

import pytest

from schemas.recipe import load_recipe
from support.errors import UserError

NINE = range(9)
LAUGHS = "a0: &a0 [x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join(f'*a{i - 1}' for _ in NINE)}]\n" for i in range(1, 30)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join(f'*a{i - 1}' for _ in NINE)}]}}\n" for i in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: !!python/object/apply:os.system ['touch CANARY']", "not valid YAML: could not"),
        ("name: !!python/name:os.system", "not valid YAML: could not"),
        ("name: !!python/object/new:os.system [touch CANARY]", "not valid YAML: could not"),
        (LAUGHS, "more than 10000 values"),
        (MERGES, "merges (<<) of more than 10000 values"),
        ("name: &a [*a]", "more than 10000 values"),
        ("name: &a {<<: *a}", "not valid YAML"),
        ("name: " + "[" * 100_000, "not valid YAML"),
        ("seed: " + "9" * 100_000, "not valid YAML"),
        ("seed: 1" + ":59" * 80_000, "missing"),
        ("name: [" + "1, " * 200_000 + "]", "more than 262144 bytes"),
        ('name: "../../outside"', "name: "),
        ('name: "a\\0b"', "NUL"),
    ],
    ids=lambda value: value[:24],
)
def test_a_recipe_that_means_harm_is_refused_in_one_line(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(text)
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        load_recipe(tmp_path / "recipe.yaml")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1500
    assert time.monotonic() - began < 20
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_an_override_that_means_harm_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: x")
    with pytest.raises(UserError, match="is not a YAML value"):
        load_recipe(tmp_path / "recipe.yaml", ["seed=!!python/object/apply:os.system [ls]"])


def test_merges_of_a_real_recipe_still_work(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(
        "name: x\nteacher: {kind: recorded}\nsource:\n"
        "  - &one {kind: jsonl, path: a.jsonl, label: a}\n"
        "  - {<<: *one, label: b}\n  - {<<: [*one, {license: mit}], label: c}\n"
    )
    made = load_recipe(tmp_path / "recipe.yaml")
    assert [s.options["path"] for s in made.source] == ["a.jsonl"] * 3
    assert [s.options["label"] for s in made.source] == ["a", "b", "c"]
