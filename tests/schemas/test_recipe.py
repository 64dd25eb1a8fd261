"""The recipe: strict, with errors that help, and overrides."""

import tomllib
from pathlib import Path

import pytest
import yaml

from schemas.precision import Precision
from schemas.recipe import Recipe, ScorerSpec, Summary, load_recipe
from support import paths
from support.errors import UserError
from support.paths import ROOT, locate

MINIMAL = {
    "name": "x",
    "source": {"kind": "jsonl", "path": "a.jsonl"},
    "teacher": {"kind": "recorded"},
}


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    return path


def test_defaults_are_the_papers(minimal: Path) -> None:
    recipe = load_recipe(minimal)
    assert (recipe.paths, recipe.canvas.slot_tokens, recipe.canvas.summary_tokens) == (3, 330, 32)
    assert recipe.source[0].options == {"path": "a.jsonl"}


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("canvas.slot_token=3", "canvas.slot_token: unknown field; did you mean 'slot_tokens'?"),
        ("pats=3", "pats: unknown field; did you mean 'paths'?"),
        ("paths=0", "paths is 0; give 1 or more"),
        ("paths=three", "--set paths=three: paths is 'three'; give a whole number"),
        ("paths=99", "paths is 99; give 64 or less"),
        ("groups.similarity=high", "groups.similarity is 'high'; give a number"),
        ("summary.by=me", "summary.by is 'me'; give 'template' or 'teacher'"),
        ("scorer.dtype=half", "scorer.dtype is 'half'; give 'float32' or 'bfloat16'"),
        ("groups=3", "groups is 3; give a mapping of keys"),
        ("name=2026", "name is 2026; give a text in quotes"),
        ("grow=perhaps", "grow is 'perhaps'; give true or false"),
        ("teacher={path: x}", "teacher.kind: missing; add it"),
        ("groups.min_correct=4", "groups.min_correct is 4, but paths is 3"),
        ("samples=2", "samples is 2, fewer than paths (3)"),
        ("summary.template=none", "must end in {answer}"),
        ("summary.template='{answer} is right'", "must end in {answer}"),
        ("source=null", "source"),
        ("source.kind=[1", "is not a YAML value"),
        ("summary.template='</summary> {answer}'", "holds </summary>, a marker of the canvas"),
        ("paths=true", "paths is true or false; give a number"),
        (
            "samples={per_round: 1, most: 6, until: {correct: [true, 2]}}",
            "samples.until.correct.0 is",
        ),
        ("groups.similarity=yes", "groups.similarity is true or false; give a number"),
        ("groups={min_correct: 1, min_correct: 2}", "is not a YAML value"),
        ("noequals", "write key.sub=value"),
        ("name=a/b", "name"),
        ("seed.x=1", "seed"),
        ("paths.0.x=1", "paths"),
        ("filters.1.kind=length", "append with 0"),
    ],
)
def test_mistakes_are_named(minimal: Path, override: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(minimal, [override])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_file_is_named_for_its_own_mistakes(minimal: Path) -> None:
    minimal.write_text(minimal.read_text() + "\nseed: none\n")
    with pytest.raises(UserError, match=r"^\S*r\.yaml: seed is 'none'; give a whole number"):
        load_recipe(minimal, ["paths=2"])
    with pytest.raises(UserError, match=r"^\S*r\.yaml: .*(seed is .*paths is|paths is .*seed is)"):
        load_recipe(minimal, ["paths=two"])


def test_overrides_reach_lists_and_new_sections(minimal: Path) -> None:
    recipe = load_recipe(
        minimal,
        [
            "filters.0.kind=length",
            "filters.0.max_tokens=9",
            "decontaminate=[]",
            "groups.min_correct=2",
        ],
    )
    assert recipe.filters[0].options == {"max_tokens": 9}
    assert recipe.groups.min_correct == 2


def test_a_key_that_is_there_twice_is_asked_about(minimal: Path) -> None:
    minimal.write_text(minimal.read_text() + "\npaths: 3\ngroups: {min_correct: 1}\npaths: 2\n")
    with pytest.raises(UserError, match=r"line \d+: not valid YAML: 'paths' is there twice"):
        load_recipe(minimal)


@pytest.mark.parametrize("text", ["- a\n", "a: [1\n", "", "\x00"])
def test_damaged_files_are_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(UserError):
        load_recipe(path)


def test_digest_follows_the_corpus_only() -> None:
    recipe = Recipe.model_validate(MINIMAL)
    same = Recipe.model_validate({**MINIMAL, "task_runner": "threads"})
    other = Recipe.model_validate({**MINIMAL, "seed": 1})
    assert recipe.digest() == same.digest() != other.digest()


def test_a_dtype_of_the_scorer_shapes_the_corpus_and_null_is_as_before_that_key() -> None:
    def digest(**scorer: object) -> str:
        return Recipe.model_validate({**MINIMAL, "scorer": scorer}).digest()

    assert digest() == digest(dtype=None) == "146cf85baf70238a"  # before the key was there
    assert len({digest(), digest(dtype="float32"), digest(dtype="bfloat16")}) == 3
    kept = {*ScorerSpec.model_fields} - {"dtype", "devices", "path"}
    assert ScorerSpec().shaping("path").keys() == kept
    assert ScorerSpec(dtype=Precision.BFLOAT16).shaping("path").keys() == kept | {"dtype"}


def test_a_limit_of_the_grader_shapes_the_corpus_and_an_address_does_not() -> None:
    def digest(**grader: object) -> str:
        return Recipe.model_validate({**MINIMAL, "grader": grader}).digest()

    server = {"kind": "openai_server", "model": "m"}
    judge = {"kind": "judge", "teacher": server}
    moved = {"kind": "judge", "teacher": {**server, "endpoints": ["http://b/v1"]}}
    other = {"kind": "judge", "teacher": {**server, "model": "n"}}
    assert digest(kind="math") == Recipe.model_validate(MINIMAL).digest()
    assert digest(kind="math", timeout_seconds=1) != digest(kind="math", timeout_seconds=2)
    assert digest(**judge) == digest(**moved) != digest(**other)
    both = [digest(kind="first_of", graders=[{"kind": "math"}, one]) for one in (judge, moved)]
    assert both[0] == both[1]


@pytest.mark.parametrize(
    "template", ["The final answer is {answer}", r"so \boxed{{answer}}", "= {answer}."]
)
def test_summary_ends_in_the_answer(template: str) -> None:
    text = Summary(template=template).text(r"\frac{1}{2}")
    assert text.rstrip(".}").endswith(r"\frac{1}{2")


def test_bundled_paths_are_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("tiny/prompts/demo.jsonl") == str(ROOT / "tiny/prompts/demo.jsonl")
    assert locate("org/model") == "org/model"
    (tmp_path / "tiny" / "prompts").mkdir(parents=True)
    (tmp_path / "tiny" / "prompts" / "demo.jsonl").touch()
    assert locate("tiny/prompts/demo.jsonl") == "tiny/prompts/demo.jsonl"


def test_weights_that_a_wheel_lacks_are_said_to_be_in_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    left_out = config["tool"]["hatch"]["build"]["targets"]["wheel"]["exclude"]
    assert tuple(left_out) == paths.OF_CHECKOUTS
    monkeypatch.setattr(paths, "ROOT", tmp_path / "site-packages")
    for name in left_out:
        with pytest.raises(UserError, match=r"leaves these weights out.*clone of its repository"):
            locate(f"{name}/model")
    monkeypatch.chdir(ROOT)
    assert locate("tiny/tuned/nap") == "tiny/tuned/nap", "the command runs in a clone"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "flows" / "recipes").glob("*.yaml")), ids=lambda p: p.stem
)
def test_bundled_recipes_are_valid(path: Path) -> None:
    assert load_recipe(path).name == path.stem
