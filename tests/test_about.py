"""The files that tell programs about the project: llms.txt, CITATION.cff and the site's list."""

import re
import tomllib
from typing import Any

import yaml

from support.paths import ROOT

LLMS = (ROOT / "llms.txt").read_text(encoding="utf-8")
ITEMS = re.findall(r"^- \[([^\]]+)\]\(([^)]+)\): (.+)$", LLMS, re.MULTILINE)
DOCS = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}


def test_llms_txt_has_the_form_of_llmstxt_org() -> None:
    first, *rest = LLMS.split("\n\n")
    assert first == "# Polytrace" and rest[0].startswith("> ")
    sections = LLMS.split("\n## ")[1:]
    assert [one.partition("\n")[0] for one in sections][-1] == "Optional"
    lines = [line for one in sections for line in one.splitlines()[1:] if line]
    assert len(lines) == len(ITEMS), "a section holds nothing but links with a text"


def test_every_link_of_llms_txt_exists_and_every_page_is_in_it() -> None:
    links = [link for _, link, _ in ITEMS]
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert DOCS - set(links) == set() and len(set(links)) == len(links)


def test_every_page_is_in_the_list_of_the_documentation() -> None:
    listed = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert [page for page in DOCS if f"({page[5:]})" not in listed] == ["docs/README.md"]


def test_the_citation_names_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "type"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    (paper,) = citation["references"]
    assert "2602.23225" in paper["url"] and paper["url"] in (ROOT / "README.md").read_text()
