"""The glossary: each term is used on the page that its entry links to."""

import re

import pytest

from support.paths import ROOT

DOCS = ROOT / "docs"
TEXT = (DOCS / "glossary.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^### ([^\n]+)\n\n(.+?)(?=\n\n#|\Z)", TEXT, re.MULTILINE | re.DOTALL)


def plain(text: str) -> str:
    """The words of a text, in small letters and without markup."""
    return re.sub(r"[\s*`]+", " ", text.lower().replace("-", ""))


def test_terms_stand_once() -> None:
    terms = [term for term, _ in ENTRIES]
    assert len(terms) == len(set(terms)) == TEXT.count("\n### ") > 50


@pytest.mark.parametrize(("term", "entry"), ENTRIES, ids=[term for term, _ in ENTRIES])
def test_a_term_is_used_on_the_page_that_it_links_to(term: str, entry: str) -> None:
    says, _, see = entry.partition("See [")
    assert 1 <= len(re.findall(r"[.!?](?:\s|$)", says)) <= 3, "one or two sentences"
    page = re.findall(r"\]\(([^)#]+)", see)[0]
    assert plain(term) in plain((DOCS / page).read_text(encoding="utf-8")), page
