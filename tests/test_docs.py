"""The pages: every relative link and anchor leads somewhere, every `polytrace` command parses.

Read are the pages of `FRONT` at the root, and docs/. Commands are those of bash blocks and of code
spans that begin with `polytrace`; recipes, long options and, for `build`, overridden keys must
exist.
"""

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from curation.pipeline import run_build
from curation.release.rows import read_rows
from curation.release.verify import find_problems
from flows import cli
from schemas.recipe import load_recipe
from schemas.records import StopReason

ROOT = Path(__file__).resolve().parents[1]
FRONT = ("README.md", "AGENTS.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "SECURITY.md")
PAGES = (*(ROOT / name for name in FRONT), *sorted((ROOT / "docs").rglob("*.md")))
FOLDERS = {"build": "", "train": "train", "evaluate": "evaluate", "finetune-eval": "experiments"}

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`(polytrace [^`]+)`")
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_RULE = re.compile(r"[^\w\- ]")  # what GitHub leaves out of an anchor

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def test_no_bundled_recipe_filters_by_path_level() -> None:
    for recipe in (ROOT / "flows/recipes").glob("*.yaml"):
        for one in load_recipe(recipe).filters:
            assert one.kind != "seqdep" or one.options.get("level", "path") != "path", recipe.name


def test_the_readme_claims_no_independence_that_the_controls_do_not_show() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "hardly depend" not in readme and "polytrace seqdep-report runs/demo" in readme


@pytest.mark.slow
def test_the_recipe_of_rounds_builds_what_its_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "sampling.md").read_text(encoding="utf-8")
    section = page.partition("## How many samples a prompt gets")[2]
    text = next(body for language, body in _BLOCK.findall(section) if language == "yaml")
    assert len(text.splitlines()) == 10
    recipe = tmp_path / "mixed.yaml"
    recipe.write_text(text)
    run = tmp_path / "run"
    run_build(load_recipe(recipe), run, 10)
    assert find_problems(run) == []
    rows = [row for file in run.glob("release/data/*.parquet") for row in read_rows(file)]
    assert rows and all(0 < row.correct_paths < 3 for row in rows)
    assert {row.stop_reason for row in rows} == {StopReason.GROUP_STANDS}


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of every `polytrace` command of a page."""
    blocks = [body for language, body in _BLOCK.findall(text) if language == "bash"]
    lines = [line for body in blocks for line in body.replace("\\\n", " ").splitlines()]
    for line in (*lines, *_SPAN.findall(_BLOCK.sub("", text))):
        words = shlex.split(line, comments=True)
        names = [n for n, word in enumerate(words) if word.split("/")[-1] == "polytrace"]
        start = names[0] if names[:1] == [0] or (names and "=" in words[0]) else None
        if words[:2] == ["accelerate", "launch"] and "flows.cli" in words:
            start = words.index("flows.cli")
        if start is not None:
            arguments = words[start + 1 :]
            yield arguments[: arguments.index("|")] if "|" in arguments else arguments


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {_RULE.sub("", title.lower()).replace(" ", "-") for title in titles}


def subcommands() -> dict[str, set[str]]:
    """The options of every subcommand: the command line's own account of itself."""
    group = typer.main.get_command(cli.app)
    assert isinstance(group, TyperGroup)
    return {
        name: {"--help", *(option for one in command.params for option in one.opts)}
        for name, command in group.commands.items()
    }


@pages
def test_links_resolve(page: Path) -> None:
    dead = []
    for link in _LINK.findall(_BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert not dead


@pages
def test_commands_parse(page: Path) -> None:
    known = subcommands()
    for arguments in commands(page.read_text(encoding="utf-8")):
        name, *rest = arguments
        if name.startswith("-") or name == "…":
            continue
        assert name in known, arguments
        given = {word.partition("=")[0] for word in rest if word.startswith("--")}
        assert given <= known[name], arguments


@pages
def test_recipes_exist(page: Path) -> None:
    for arguments in commands(page.read_text(encoding="utf-8")):
        name, rest = arguments[0], arguments[1:]
        if name not in FOLDERS or not rest or rest[0].startswith("-"):
            continue
        recipe = rest[0]
        if recipe.isupper() or recipe.endswith(".yaml"):  # a placeholder, a file of the reader's
            continue
        path = ROOT / "flows" / "recipes" / FOLDERS[name] / f"{recipe}.yaml"
        assert path.is_file(), arguments
        if name == "build":
            load_recipe(path, [b for a, b in pairwise(rest) if a == "--set"])


def test_commands_are_found() -> None:
    found = [one for page in PAGES for one in commands(page.read_text(encoding="utf-8"))]
    assert {one[0] for one in found} >= subcommands().keys()
